"""The dataset generator: coloured shapes on cluttered backgrounds, in YOLO folder layout.

Same arguments, same bytes: every random number comes from the frozen Mersenne Twister stream of
(seed, image number), every pixel from OpenCV's integer drawing, every file is a PNG without
metadata. The pictures are meant to be learned in minutes, not to be easy: shapes overlap,
leave the picture, and stand among lines, rings and noise that look like parts of them. Every
class has a quarter of the colour wheel of its own, while the clutter has all colours.
"""

from __future__ import annotations

import colorsys
import math
from pathlib import Path

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_folder
from yolo_core.progress import progress
from yolo_core.yaml_file import yaml_text
from yolo_core.yolo.drawing import encode_picture

NAMES = ("circle", "square", "triangle", "star")
#: Every fifth image validates.
VAL_STRIDE = 5
MAX_SHAPES = 5
#: Share of pictures that hold clutter alone.
_EMPTY = 0.06
#: Colours tried per shape, and how much of its quarter of the colour wheel a class uses.
_TRIES, _HUE_SPREAD = 4, 0.7
#: Sub-pixel bits of OpenCV's drawing functions.
_SHIFT = 4
#: Smallest share of a shape's box that must stay in the picture and in sight.
_MIN_VISIBLE = 0.6
_HEADER = "# made by yolo-train shapes"

Label = tuple[int, float, float, float, float]


def write_shapes(out: PathLike, images: int, imgsz: int, seed: int) -> Path:
    """Write `images` labelled pictures of imgsz x imgsz pixels; returns the data.yaml.

    images: at least 10; a fifth of them is for validation. imgsz: 32 to 4096. seed: 0 to 2**31.
    An `out` that exists is replaced only when all in it came from here. InputError otherwise.
    """
    if not 10 <= images <= 1_000_000:
        raise InputError("--images", f"is {images}", "10 to 1000000")
    if not 32 <= imgsz <= 4096:
        raise InputError("--imgsz", f"is {imgsz}", "32 to 4096")
    if not 0 <= seed < 2**31:
        raise InputError("--seed", f"is {seed}", "0 to 2147483647")
    out = Path(out)
    _refuse_foreign(out)
    with atomic_folder(out) as folder:
        for split in ("train", "val"):
            (folder / "images" / split).mkdir(parents=True)
            (folder / "labels" / split).mkdir(parents=True)
        for number in progress(range(images), "shapes", unit="images"):
            split = "val" if number % VAL_STRIDE == VAL_STRIDE - 1 else "train"
            picture, labels = shapes_image(imgsz, seed, number)
            name = f"{number:06d}"
            # cv2.imwrite hides a full disk behind a False, so the bytes are written here.
            (folder / "images" / split / f"{name}.png").write_bytes(encode_picture(picture, ".png"))
            lines = [f"{c} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for c, x, y, w, h in labels]
            (folder / "labels" / split / f"{name}.txt").write_text("".join(lines))
        config = {
            "path": ".",
            "train": "images/train",
            "val": "images/val",
            "names": dict(enumerate(NAMES)),
        }
        text = f"{_HEADER} --images {images} --imgsz {imgsz} --seed {seed}\n"
        (folder / "data.yaml").write_text(text + yaml_text(config))
    return out / "data.yaml"


def shapes_image(imgsz: int, seed: int, number: int) -> tuple[Array, list[Label]]:
    """Picture `number` of a seed: uint8 RGB [imgsz, imgsz, 3] and its labels.

    A label is class, centre x, centre y, width, height, as shares of the picture's side.
    """
    rng = np.random.RandomState([seed, number])
    picture = _background(rng, imgsz)
    _clutter(rng, picture)
    taken: list[tuple[float, float, float, float]] = []
    labels: list[Label] = []
    empty = rng.random_sample() < _EMPTY
    wanted = 0 if empty else int(rng.randint(1, MAX_SHAPES + 1))
    for _ in range(4 * wanted):
        if len(labels) == wanted:
            break
        kind = int(rng.randint(len(NAMES)))
        outline = _outline(rng, kind, imgsz)
        x1, y1 = outline.min(axis=0).tolist()
        x2, y2 = outline.max(axis=0).tolist()
        box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(imgsz)), min(y2, float(imgsz)))
        whole = (x2 - x1) * (y2 - y1)
        seen = max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
        if seen < _MIN_VISIBLE * whole or any(_covers(box, other) for other in taken):
            continue
        taken.append(box)
        _paint(rng, picture, outline, kind)
        labels.append(
            (
                kind,
                (box[0] + box[2]) / 2 / imgsz,
                (box[1] + box[3]) / 2 / imgsz,
                (box[2] - box[0]) / imgsz,
                (box[3] - box[1]) / imgsz,
            )
        )
    noise = rng.randint(-10, 11, size=picture.shape)
    return np.clip(picture.astype(np.int64) + noise, 0, 255).astype(np.uint8), labels


def _refuse_foreign(out: Path) -> None:
    """InputError when `out` holds something that this generator did not write."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    config = out / "data.yaml"
    if not config.is_file() or not config.read_bytes().startswith(_HEADER.encode()):
        raise InputError(out, "holds other files", "an empty folder or an earlier shapes dataset")


def _background(rng: np.random.RandomState, imgsz: int) -> Array:
    """Soft patches of dull colours: a coarse grid of greys with a tint, blown up."""
    import cv2

    cells = int(rng.randint(2, 7))
    grey = rng.randint(40, 216, size=(cells, cells, 1))
    tint = rng.randint(-30, 31, size=(cells, cells, 3))
    grid = np.clip(grey + tint, 0, 255).astype(np.uint8)
    result: Array = cv2.resize(grid, (imgsz, imgsz), interpolation=cv2.INTER_LINEAR)
    return result


def _clutter(rng: np.random.RandomState, picture: Array) -> None:
    """Lines, rings, dots and angles: parts of shapes, but no shape."""
    import cv2

    side = picture.shape[0]
    unit = side / 160.0
    for _ in range(int(rng.randint(6, 20))):
        color = _color(rng)
        (x1, y1, x2, y2, x3, y3) = (int(v) for v in rng.randint(0, side << _SHIFT, size=6))
        thickness = max(1, round(float(rng.randint(1, 4)) * unit))
        kind = int(rng.randint(4))
        if kind == 0:
            cv2.line(picture, (x1, y1), (x2, y2), color, thickness, cv2.LINE_AA, _SHIFT)
        elif kind == 1:
            radius = int(rng.randint(3, 24) * unit * (1 << _SHIFT))
            cv2.circle(picture, (x1, y1), radius, color, thickness, cv2.LINE_AA, _SHIFT)
        elif kind == 2:
            radius = int(rng.randint(1, 4) * unit * (1 << _SHIFT))
            cv2.circle(picture, (x1, y1), radius, color, -1, cv2.LINE_AA, _SHIFT)
        else:
            angle = np.array([(x1, y1), (x2, y2), (x3, y3)], np.int32)
            cv2.polylines(picture, [angle], False, color, thickness, cv2.LINE_AA, _SHIFT)


def _color(rng: np.random.RandomState) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in rng.randint(0, 256, size=3))
    return red, green, blue


def _outline(rng: np.random.RandomState, kind: int, side: int) -> Array:
    """Corners [n, 2] in pixels of a shape somewhere in the picture, its centre inside."""
    radius = side * (0.06 + 0.18 * rng.random_sample() ** 1.5)
    center = rng.random_sample(2) * side
    turn = rng.random_sample() * 2 * math.pi
    corners = {0: 48, 1: 4, 2: 3, 3: 10}[kind]
    points = []
    for corner in range(corners):
        reach = radius * (0.45 if kind == 3 and corner % 2 else 1.0)
        angle = turn + 2 * math.pi * corner / corners
        points.append((center[0] + reach * math.cos(angle), center[1] + reach * math.sin(angle)))
    # On the drawing grid, so that the label is the box of what is drawn.
    result: Array = np.round(np.array(points) * (1 << _SHIFT)) / (1 << _SHIFT)
    return result


def _hue(rng: np.random.RandomState, kind: int) -> tuple[int, int, int]:
    """A colour from the quarter of the colour wheel that belongs to a class."""
    hue = (kind + rng.random_sample() * _HUE_SPREAD) / len(NAMES)
    strength, value = 0.55 + 0.45 * rng.random_sample(2)
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, strength, value))
    return red, green, blue


def _paint(rng: np.random.RandomState, picture: Array, outline: Array, kind: int) -> None:
    """Fill the outline with the colour of its class that differs most from what lies under it."""
    import cv2

    side = picture.shape[0]
    x, y = np.clip(outline.mean(axis=0).astype(int), 0, side - 1)
    under = picture[y, x].astype(int)
    colors = [_hue(rng, kind) for _ in range(_TRIES)]
    color = max(colors, key=lambda color: sum(abs(int(u) - c) for u, c in zip(under, color)))
    # OpenCV puts pixel centres on whole numbers, labels put pixel edges there.
    corners = np.round((outline - 0.5) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(picture, [corners], color, cv2.LINE_AA, _SHIFT)
    if rng.random_sample() < 0.3:
        cv2.polylines(picture, [corners], True, _color(rng), 1, cv2.LINE_AA, _SHIFT)


def _covers(
    box: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    """Whether two boxes share more of the smaller one than may be hidden."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return False
    smaller = min(
        (box[2] - box[0]) * (box[3] - box[1]), (other[2] - other[0]) * (other[3] - other[1])
    )
    return width * height > 0.25 * smaller
