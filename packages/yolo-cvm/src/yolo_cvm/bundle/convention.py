"""How a picture becomes the model's input and its output becomes boxes, in words for the card.

Whoever has the card alone can follow it: every rule is stated and worked through for one pixel and
one row. The numbers of the examples are worked out by the rules of yolo_core.
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.boxes import decode
from yolo_core.yolo.elementary import sigmoid
from yolo_core.yolo.letterbox import FILL, Letterbox
from yolo_core.yolo.model_folder import Extension

#: The picture of the example, height and width in pixels, of this one colour (red, green, blue).
_PICTURE, _COLOUR = (480, 720), (200, 100, 50)
#: The row of the example: x, y, width, height, objectness and the first class, before the sigmoid.
_ROW = (0.5, -0.5, 0.25, -0.25, 2.0, 1.0)
_PLANES = {"rgb": "red, green, blue", "bgr": "blue, green, red"}


def input_lines(extension: Extension) -> list[str]:
    """How an RGB picture becomes the integers of the input, with an example."""
    height, width = extension.imgsz
    limit = (1 << (extension.input_precision - 1)) - 1
    return [
        *_fitted(extension),
        "resized bilinearly, each axis by itself: target i reads position (i + 0.5) * source / "
        "target - 0.5 (single precision) between its two neighbours, or the outermost pixel "
        "beyond an edge; the shares are rounded to 1/2048",
        "in integers: along x, s = left * a + right * b; along y, "
        "((a * (s0 >> 4) >> 16) + (b * (s1 >> 4) >> 16) + 2) >> 2; a, b: shares times 2048",
        f"planes in the order {_PLANES[extension.color]}, rows from the top",
        f"code = floor(pixel / 255 * {extension.input_scale:g} + 0.5) "
        f"{_signed(extension.input_zero_point)}, limited to -{limit} to {limit}",
        _input_example(extension, height, width),
    ]


def _fitted(extension: Extension) -> list[str]:
    height, width = extension.imgsz
    if extension.letterbox == "squash":
        return [f"the image is stretched to {width}×{height} (width×height)"]
    return [
        f"the image is scaled to fit, its proportions kept: r = min({height} / height, {width} / "
        "width); it becomes round(height * r) by round(width * r) pixels (a half goes to the even "
        "number; at least 1)",
        f"it is placed in the middle, with floor(({width} - its width) / 2) columns to its left "
        f"and floor(({height} - its height) / 2) rows above; the rest is grey ({FILL}, {FILL}, "
        f"{FILL})",
    ]


def _input_example(extension: Extension, height: int, width: int) -> str:
    image = np.broadcast_to(np.array(_COLOUR, np.uint8), (*_PICTURE, 3))
    pixels, placement = Letterbox(height, width, extension.letterbox).apply(image)
    codes = extension.quantize_input(pixels[None])[0]
    at = placement.top, placement.left
    text = (
        f"for example, a picture of {_PICTURE[1]}×{_PICTURE[0]} pixels of red {_COLOUR[0]}, green "
        f"{_COLOUR[1]}, blue {_COLOUR[2]} becomes {placement.resized[1]}×{placement.resized[0]}; "
        f"its first pixel is in row {at[0]}, column {at[1]}, with the codes "
        f"{_listed(codes[:, at[0], at[1]])}"
    )
    if at != (0, 0):
        text += f", and the grey in row 0, column 0 has the codes {_listed(codes[:, 0, 0])}"
    return text


def output_lines(extension: Extension) -> list[str]:
    """How a row of the output becomes a box and its scores, with an example."""
    architecture = extension.architecture
    levels = "; ".join(
        f"stride {stride}: " + ", ".join(f"{w:g}×{h:g}" for w, h in level)
        for stride, level in zip(architecture.strides, architecture.anchors)
    )
    scales = set(extension.output_scales)
    scale = f"{extension.output_scales[0]:g}" if len(scales) == 1 else "its column's scale"
    return [
        "a row per anchor: by level, then anchor, y, x, each from 0; columns x, y, width, height, "
        "objectness, then the classes, before the sigmoid",
        f"anchors (width×height in pixels of the input) by level: {levels}",
        f"value = integer / {scale}; s = 1 / (1 + exp(-value)); the scales of the columns are in "
        "`manifest.json` under `extension.detection.output_scales`",
        "centre = (2 s - 0.5 + x or y) * stride; width and height = (2 s)^2 * that of the anchor; "
        "score of a class = s of objectness * s of the class",
        _output_example(extension),
    ]


def to_picture(extension: Extension) -> str:
    """How pixels of the input become pixels of the picture."""
    height, width = extension.imgsz
    if extension.letterbox == "squash":
        return (
            f"in the picture: x * its width / {width}, y * its height / {height}, within its edges"
        )
    return (
        "in the picture: (x - columns to its left) * its width / its width in the input, y alike, "
        "within its edges"
    )


def _output_example(extension: Extension) -> str:
    architecture, imgsz = extension.architecture, extension.imgsz
    level, anchor = len(architecture.strides) - 1, 0
    cells = [
        (imgsz[0] // stride) * (imgsz[1] // stride) * len(anchors)
        for stride, anchors in zip(architecture.strides, architecture.anchors)
    ]
    stride = architecture.strides[level]
    rows, columns = imgsz[0] // stride, imgsz[1] // stride
    y, x = rows // 2, columns // 2
    row = sum(cells[:level]) + (anchor * rows + y) * columns + x
    integers = [round(value * scale) for value, scale in zip(_ROW, extension.output_scales)]
    values = np.array([[i / s for i, s in zip(integers, extension.output_scales)]])
    box = decode(values, np.array([row]), architecture, imgsz)[0]
    score = float(np.prod(sigmoid(values[0, 4:6])))
    return (
        f"for example, row {row} is of stride {stride}, anchor {anchor}, y {y}, x {x}; if it "
        f"begins with {_listed(np.array(integers))}, its box is x1 {box[0]:.2f}, y1 {box[1]:.2f}, "
        f"x2 {box[2]:.2f}, y2 {box[3]:.2f} in pixels of the input, and the score of its first "
        f"class {score:.4f}"
    )


def _listed(numbers: Array) -> str:
    return ", ".join(str(int(number)) for number in numbers)


def _signed(number: int) -> str:
    return f"+ {number}" if number >= 0 else f"- {-number}"
