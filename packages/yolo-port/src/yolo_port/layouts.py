"""Layouts of YOLOv5 that a file without a description may have, and which of them fits.

A state dict names its tensors by layer and does not say how wide or deep the network was meant:
those numbers are read off the tensors themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from yolo_core.arrays import Array
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.kinds import KINDS
from yolo_core.yolo.layout import Row

_LAYER = re.compile(r"model\.(\d+)\.(.+)")
#: The tensor whose first axis is a layer's output channels.
_WIDTH_OF = {
    "Conv": "conv.weight",
    "Focus": "conv.conv.weight",
    "C3": "cv3.conv.weight",
    "BottleneckCSP": "cv4.conv.weight",
    "SPPF": "cv2.conv.weight",
    "SPP": "cv2.conv.weight",
    "GhostConv": "cv1.conv.weight",
    "C3Ghost": "cv3.conv.weight",
}
#: The tensor that tells a kind from others whose output is called the same.
_MARK = {"C3": "m.0.cv1.conv.weight", "C3Ghost": "m.0.conv.0.cv1.conv.weight"}
_REPEAT = re.compile(r"m\.(\d+)\.")
_LEVEL = re.compile(r"m\.\d+\.weight")


def layouts() -> Iterator[tuple[str, tuple[Row, ...]]]:
    """The layouts that releases of YOLOv5 have shipped weights of, and those of its models/hub.

    Each comes with the name of its yaml in YOLOv5's repository.
    """
    for size, last in (("n", 9), ("n6", 11)):
        rows = Architecture.named(size).layout
        name = "yolov5n.yaml" if size == "n" else "hub/yolov5n6.yaml"
        yield name, rows
        yield f"{name} of release 5", before_6(rows, last)
        yield f"{name} of release 3", tuple(_csp(row) for row in before_6(rows, last))
        yield f"{name} with BottleneckCSP", tuple(_csp(row) for row in rows)
    rows = Architecture.named("n").layout
    yield "hub/yolov5-p2.yaml", p2(rows)
    yield "hub/yolov5s-ghost.yaml", tuple(_ghost(row) if at else row for at, row in enumerate(rows))
    bifpn = Row((-1, 14, 6), 1, "Concat", (1,))
    yield "hub/yolov5-bifpn.yaml", (*rows[:19], bifpn, *rows[20:])
    p34 = Row((17, 20), 1, "Detect", ("nc", "anchors"))
    yield "hub/yolov5-p34.yaml", (*rows[:21], p34)
    yield "hub/yolov5-fpn.yaml", _fpn(rows)
    yield "hub/yolov5-p7.yaml", _p7()


def _ghost(row: Row) -> Row:
    return replace(row, kind={"Conv": "GhostConv", "C3": "C3Ghost"}.get(row.kind, row.kind))


def _fpn(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Levels on the way up alone, the finest last."""
    up = Row((-1,), 1, "Upsample", (None, 2, "nearest"))
    head = [Row((-1,), 3, "C3", (1024, False))]
    for width, layer in ((512, 6), (256, 4)):
        head += [up, Row((-1, layer), 1, "Concat", (1,)), Row((-1,), 1, "Conv", (width, 1, 1)),
                 Row((-1,), 3, "C3", (width, False))]  # fmt: skip
    return (*rows[:10], *head, Row((18, 14, 10), 1, "Detect", ("nc", "anchors")))


def _p7() -> tuple[Row, ...]:
    """Five levels, up to stride 128."""
    widths = (256, 512, 768, 1024, 1280)
    rows = [Row((-1,), 1, "Conv", (64, 6, 2, 2))]
    for width in (128, *widths):
        rows += [Row((-1,), 1, "Conv", (width, 3, 2)), Row((-1,), 3, "C3", (width,))]
    rows.append(Row((-1,), 1, "SPPF", (1280, 5)))
    sideways, levels = [], []
    for width, layer in zip(widths[-2::-1], (10, 8, 6, 4)):
        sideways.append(len(rows))
        rows += [Row((-1,), 1, "Conv", (width, 1, 1)),
                 Row((-1,), 1, "Upsample", (None, 2, "nearest")),
                 Row((-1, layer), 1, "Concat", (1,)),
                 Row((-1,), 3, "C3", (width, False))]  # fmt: skip
    for before, width in zip(widths, widths[1:]):
        levels.append(len(rows) - 1)
        rows += [Row((-1,), 1, "Conv", (before, 3, 2)),
                 Row((-1, sideways.pop()), 1, "Concat", (1,)),
                 Row((-1,), 3, "C3", (width, False))]  # fmt: skip
    return (*rows, Row((*levels, len(rows) - 1), 1, "Detect", ("nc", "anchors")))


def before_6(rows: tuple[Row, ...], last: int) -> tuple[Row, ...]:
    """The layout of releases 2 to 5: Focus first, SPP before the last block of the backbone.

    last: index of the backbone's last layer.
    """
    pools = (5, 9, 13) if last == 9 else (3, 5, 7)
    width = rows[last].arguments[0]
    changed = list(rows)
    changed[0] = Row((-1,), 1, "Focus", (64, 3))
    changed[4] = replace(rows[4], repeats=9)
    changed[last - 1] = Row((-1,), 1, "SPP", (width, pools))
    changed[last] = Row((-1,), 3, "C3", (width, False))
    return tuple(changed)


def _csp(row: Row) -> Row:
    return replace(row, kind="BottleneckCSP") if row.kind == "C3" else row


def p2(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The layout with a fourth, finer level of stride 4."""
    up = Row((-1,), 1, "Upsample", (None, 2, "nearest"))

    def conv(width: int, kernel: int, stride: int) -> Row:
        return Row((-1,), 1, "Conv", (width, kernel, stride))

    def join(layer: int) -> Row:
        return Row((-1, layer), 1, "Concat", (1,))

    def block(width: int) -> Row:
        return Row((-1,), 3, "C3", (width, False))

    return (
        *rows[:18],
        conv(128, 1, 1), up, join(2), block(128),
        conv(128, 3, 2), join(18), block(256),
        conv(256, 3, 2), join(14), block(512),
        conv(512, 3, 2), join(10), block(1024),
        Row((21, 24, 27, 30), 1, "Detect", ("nc", "anchors")),
    )  # fmt: skip


def fitted(tensors: Mapping[str, Array]) -> Iterator[tuple[Row, ...]]:
    """The layouts whose layers have such tensors, with the widths and repeats that these have.

    Each comes with the order of its levels as YOLOv5 has it, and with the coarsest level first.
    """
    parts = _parts(tensors)
    for _, rows in layouts():
        if _first_other(rows, parts) is None:
            *sized, detect = (_sized(index, row, tensors) for index, row in enumerate(rows))
            yield (*sized, detect)
            yield (*sized, replace(detect, sources=detect.sources[::-1]))


def seen(tensors: Mapping[str, Array]) -> str:
    """What the layers of tensors are, and which known layout they follow for longest, in words."""
    parts = _parts(tensors)
    last = max(parts, default=-1)
    levels = sum(_LEVEL.fullmatch(part) is not None for part in parts.get(last, ()))
    known = [(_first_other(rows, parts), name, rows) for name, rows in layouts()]
    at, name, rows = max(known, key=lambda each: len(each[2]) if each[0] is None else each[0])
    text = f"layers 0 to {last}, {levels} detection levels"
    if at is None:
        return f"{text}, as {name}"
    kind = rows[at].kind if at < len(rows) else "no layer"
    return f"{text}, as {name} up to layer {at}: {_kind(parts.get(at, set()))} instead of {kind}"


def _kind(parts: set[str]) -> str:
    """The kind of layer that alone has such tensors, else the parts that they belong to."""
    for kind in ("Conv", "Focus", "C3", "C3Ghost", "BottleneckCSP"):
        if _WIDTH_OF[kind] in parts and _MARK.get(kind, _WIDTH_OF[kind]) in parts:
            return kind
    return ", ".join(sorted({part.partition(".")[0] for part in parts})[:6]) or "no tensors"


def _parts(tensors: Mapping[str, Array]) -> dict[int, set[str]]:
    """Index of each layer → the ends of its tensors' names."""
    parts: dict[int, set[str]] = {}
    for name in tensors:
        found = _LAYER.fullmatch(name)
        if found and len(found.group(1)) < 4:
            parts.setdefault(int(found.group(1)), set()).add(found.group(2))
    return parts


def _first_other(rows: tuple[Row, ...], parts: Mapping[int, set[str]]) -> int | None:
    """Index of the first layer that has other tensors than its kind; None where all agree."""
    for index, row in enumerate(rows):
        found = parts.get(index, set())
        if row.kind == "Detect":
            levels = {f"m.{level}.weight" for level in range(len(row.sources))}
            if {name for name in found if name.endswith("weight")} != levels:
                return index
        elif row.kind not in _WIDTH_OF:
            if found:
                return index
        elif _WIDTH_OF[row.kind] not in found or _MARK.get(row.kind, "") not in {"", *found}:
            return index
    return None if max(parts, default=-1) == len(rows) - 1 else len(rows)


def _sized(index: int, row: Row, tensors: Mapping[str, Array]) -> Row:
    if row.kind not in _WIDTH_OF:
        return row
    stem = f"model.{index}."
    (width,) = tensors[f"{stem}{_WIDTH_OF[row.kind]}"].shape[:1] or (0,)
    if row.kind == "GhostConv":
        width *= 2  # the other half is made of this one
    repeats = row.repeats
    if KINDS[row.kind].repeats:
        repeats = 1 + max(
            (
                int(found.group(1))
                for name in tensors
                if name.startswith(stem) and (found := _REPEAT.match(name[len(stem) :]))
            ),
            default=0,
        )
    return replace(row, repeats=min(repeats, 200), arguments=(width, *row.arguments[1:]))
