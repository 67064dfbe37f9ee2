"""The same picture with different boxes: one embedded JPEG, boxes as SVG on top.

Boxes stay sharp at any size, are readable as text, and the picture is in the page only once.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from yolo_core.errors import InputError
from yolo_core.files import sha256_file
from yolo_core.letterbox import opencv, read_image

#: Longest side of a panel in its own units, and the most pixels that an embedded picture has there;
#: a smaller picture keeps its pixels and is stretched, so that boxes and letters look alike.
LONGEST = 480
QUALITY = 80

#: With more boxes than this, only the boxes that differ carry their label; the rest keep it as
#: a tooltip and in the panel's description.
LABELLED = 12


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


def panel(picture: Picture, caption: str, boxes: Iterable[Drawn], first: bool) -> str:
    """A figure of the picture with boxes. first: the panel that carries the JPEG itself."""
    boxes = list(boxes)
    key = f"p{picture.number}"
    size = f'width="{picture.width}" height="{picture.height}"'
    if picture.data is None:
        image = f'<rect class="blank" {size}/>'
    elif first:
        fit = 'preserveAspectRatio="none"'
        image = f'<image id="{key}" {size} {fit} href="{picture.data}"/>'
    else:
        image = f'<use href="#{key}"/>'
    spoken = ", ".join(drawn.label for drawn in boxes) or "no boxes"
    # What differs and what is strong is drawn last and lies on top.
    order = boxes[::-1]
    order.sort(key=lambda drawn: drawn.tone == "only")
    crowded = len(boxes) > LABELLED
    shapes = "".join(
        _shape(drawn, picture, labelled=drawn.tone == "only" or not crowded) for drawn in order
    )
    return (
        f'<figure><svg viewBox="0 0 {picture.width} {picture.height}" role="img" '
        f'aria-label="{escape(caption)}, {escape(picture.name)}: {escape(spoken)}">'
        f"{image}{shapes}</svg><figcaption>{escape(caption)}</figcaption></figure>"
    )


def _shape(drawn: Drawn, picture: Picture, labelled: bool) -> str:
    x, y, width, height = (side * picture.scale for side in drawn.box)
    label = escape(drawn.label)
    frame = (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
        f"<title>{label}</title>"
    )
    if not labelled:
        return f'<g class="box {drawn.tone}">{frame}</g>'
    wide = 6.8 * len(drawn.label) + 6
    left = min(max(x, 0), max(0, picture.width - wide))
    up = y - 15 if y >= 15 else y
    return (
        f'<g class="box {drawn.tone}">{frame}<rect class="tag" x="{left:.1f}" y="{up:.1f}" '
        f'width="{wide:.1f}" height="15"/><text x="{left + 3:.1f}" y="{up + 11.5:.1f}">{label}'
        "</text></g>"
    )
