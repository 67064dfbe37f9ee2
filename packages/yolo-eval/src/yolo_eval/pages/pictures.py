"""The same picture with different boxes: one embedded JPEG, boxes as SVG on top.

Boxes stay sharp at any size, are readable as text, and the picture is in the page only once.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from yolo_core.errors import InputError
from yolo_core.files import sha256_file
from yolo_core.yolo.letterbox import opencv, read_image
from yolo_eval.pages.rendering import render

#: Longest side of a panel in its own units, and the most pixels that an embedded picture has there;
#: a smaller picture keeps its pixels and is stretched, so that boxes and letters look alike.
LONGEST = 480
QUALITY = 80

#: With more boxes than this, only the boxes that differ carry their label; the rest keep it as
#: a tooltip and in the panel's description.
LABELLED = 12
#: Height of a label, in panel units.
TAG = 15


@dataclass(frozen=True)
class Drawn:
    """One box to draw: x, y, width, height in original pixels, a short label, a CSS class."""

    box: Sequence[float]
    label: str
    tone: str


@dataclass(frozen=True)
class Picture:
    """A picture ready for a page. data: the JPEG as data URL, None where the file is not there.

    width, height: of its panel. scale: panel units per original pixel.
    """

    name: str
    number: int
    width: int
    height: int
    scale: float
    data: str | None


def load(
    path: Path, number: int, width: int, height: int, digest: str | None, embed: bool
) -> Picture:
    """Shrink a picture for the page. digest: its SHA-256 in the run, checked when known.

    width, height: its original size. embed: False draws an empty frame instead.
    """
    scale = LONGEST / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    data = None
    if embed:
        if digest is not None and sha256_file(path) != digest:
            raise InputError(path, "has changed since the run", f"SHA-256 {digest[:16]}…")
        cv2 = opencv()
        pixels = np.ascontiguousarray(read_image(path)[:, :, ::-1])
        if scale < 1:
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        done, coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        assert done
        data = "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")
    return Picture(path.name, number, size[0], size[1], scale, data)


@dataclass(frozen=True)
class Placed:
    """A frame or a label at its place in the panel, in panel units."""

    label: str
    tone: str
    x: float
    y: float
    width: float
    height: float


def panel(picture: Picture, caption: str, boxes: Iterable[Drawn], first: bool) -> Markup:
    """A figure of the picture with boxes. first: the panel that carries the JPEG itself."""
    boxes = list(boxes)
    # Small boxes lie on top, so that the pointer reaches all of them.
    by_area = sorted(boxes, key=lambda drawn: -drawn.box[2] * drawn.box[3])
    return render(
        "panel.html", picture=picture, caption=caption, first=first,
        spoken=", ".join(drawn.label for drawn in boxes) or "no boxes",
        frames=[_frame(drawn, picture.scale) for drawn in by_area], tags=_tags(boxes, picture),
    )  # fmt: skip


def _frame(drawn: Drawn, scale: float) -> Placed:
    x, y, width, height = (side * scale for side in drawn.box)
    return Placed(drawn.label, drawn.tone, x, y, width, height)


def _tags(boxes: Sequence[Drawn], picture: Picture) -> list[Placed]:
    """The labels that find room: those of boxes that differ first, then the strongest."""
    labelled = [drawn for drawn in boxes if drawn.tone == "only"]
    if len(boxes) <= LABELLED:
        labelled += [drawn for drawn in boxes if drawn.tone != "only"]
    tags: list[Placed] = []
    for drawn in labelled:
        wide = 6.8 * len(drawn.label) + 6
        for left, top in _positions(drawn, picture, wide):
            if all(
                abs(top - tag.y) >= TAG or left + wide <= tag.x or tag.x + tag.width <= left
                for tag in tags
            ):
                tags.append(Placed(drawn.label, drawn.tone, left, top, wide, TAG))
                break
    return tags


def _positions(drawn: Drawn, picture: Picture, wide: float) -> Iterator[tuple[float, float]]:
    """Left and top of a label: above its box, below it, inside; left side first."""
    x, y, width, height = (side * picture.scale for side in drawn.box)
    for top in (y - TAG, y + height, y):
        for left in (x, x + width - wide):
            yield (
                min(max(left, 0.0), max(0.0, picture.width - wide)),
                min(max(top, 0.0), max(0.0, float(picture.height - TAG))),
            )
