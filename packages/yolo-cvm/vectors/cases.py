"""The operator cases of our own vectors: every operator, and every corner of spec 8.6 item 8.

A case is one operator on small operands. Data of `MINIMUM` precision reach the operator as
-2^31 where the input says -(2^31 - 1): a `where`, whose declared precision is unsound, hides
their size from the checker, and -1 is added; so the corners that no honest program reaches can
be held still.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MINIMUM = 0


@dataclass(frozen=True)
class Case:
    """op and attributes; data: shape, precision and, where they matter, values of the input.

    operands: of the parameters in order, as (shape, precision) or (shape, precision, values).
    """

    op: str
    data: tuple
    operands: tuple = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    note: str = ""


def _halves(step: int) -> list[int]:
    """Multiples of half a step around 0: ties of a rounding shift, both signs."""
    return [k * step // 2 for k in range(-9, 10)]


_EDGES = [
    -(2**31),
    -(2**31) + 1,
    -(2**30) - 1,
    -(2**30),
    -3,
    -2,
    -1,
    0,
    1,
    2,
    3,
    2**30 - 1,
    2**30,
    2**31 - 2,
    2**31 - 1,
]
_EDGE = ((15,), MINIMUM, _EDGES)
_P32 = ((15,), 32, [*_EDGES[1:], 0])

ELEMENTWISE = [
    *(Case(op, _EDGE, note="-2^31") for op in ("relu", "abs", "negative", "cvm_precision")),
    *(Case(op, ((2, 3, 4), 8)) for op in ("relu", "abs", "negative", "cvm_precision")),
    Case("clip", ((3, 5), 8), attributes={"a_min": -7, "a_max": 100}),
    Case("clip", _EDGE, attributes={"a_min": -(2**31) + 2, "a_max": 2**31 - 2}, note="-2^31"),
    *(Case("cvm_clip", _EDGE, attributes={"precision": p}, note="-2^31") for p in (1, 2, 31, 32)),
    *(Case("cvm_right_shift", _EDGE, attributes={"precision": p, "shift_bit": s}, note="-2^31")
      for p, s in ((32, 1), (31, 1), (8, 24), (16, 16), (1, 31), (2, 31), (8, 31), (8, 32),
                   (32, 32), (1, 1))),
    *(Case("cvm_right_shift", ((19,), 16, _halves(2**s)),
           attributes={"precision": p, "shift_bit": s}, note="ties at halves, both signs")
      for p, s in ((8, 1), (8, 3), (3, 3), (16, 8))),
    *(Case("cvm_right_shift", ((15,), 32, [*_EDGES[1:], 0]),
           attributes={"precision": 32 - s, "shift_bit": s}, note="precision + shift = 32")
      for s in (4, 15, 24, 31)),
    Case("cvm_left_shift", ((9,), 4, [-7, -3, -2, -1, 0, 1, 2, 3, 7]),
         attributes={"precision": 8, "shift_bit": 28}, note="P + shift = 32"),
    Case("cvm_left_shift", ((9,), 8, [-127, -64, -3, -1, 0, 1, 3, 64, 127]),
         attributes={"precision": 32, "shift_bit": 24}),
    Case("cvm_left_shift", _EDGE, attributes={"precision": 32, "shift_bit": 1}, note="wraps"),
    Case("cvm_left_shift", ((4,), 1, [0, 0, 0, 0]),
         attributes={"precision": 32, "shift_bit": 31}, note="shift 31"),
    *(Case(op, ((2, 3, 2), 8), (((2, 3, 2), 12),)) for op in ("elemwise_add", "elemwise_sub")),
    *(Case(op, _EDGE, (((15,), 3, [-1] * 15),), note="wraps")
      for op in ("elemwise_add", "elemwise_sub")),
]  # fmt: skip

BROADCAST = [
    *(Case(op, ((2, 1, 3), 12), (((4, 1), 9),)) for op in (
        "broadcast_add", "broadcast_sub", "broadcast_mul", "broadcast_max", "broadcast_div",
        "broadcast_greater")),
    *(Case(op, _EDGE, (((1,), 3, [-3]),), note="-2^31, wraps") for op in (
        "broadcast_add", "broadcast_sub", "broadcast_mul", "broadcast_max", "broadcast_div",
        "broadcast_greater")),
    Case("broadcast_div", _EDGE, (((1,), 2, [-1]),), note="-2^31 / -1"),
    Case("broadcast_div", _P32, (((1,), 2, [0]),), note="by 0"),
    Case("broadcast_div", ((7,), 8, [-7, -5, -1, 0, 1, 5, 7]),
         (((4, 1), 4, [2, -2, 3, -3]),), note="truncates toward 0"),
]  # fmt: skip


def _conv(channels: int, kernel: tuple, **attributes: Any) -> dict[str, Any]:
    return {"channels": channels, "kernel_size": kernel, **attributes}


NETWORK = [
    Case("conv2d", ((1, 3, 6, 5), 8), (((4, 3, 3, 3), 8), ((4,), 20)),
         _conv(4, (3, 3), padding=(1, 1))),
    Case("conv2d", ((2, 4, 7, 8), 8), (((6, 2, 3, 2), 8),),
         _conv(6, (3, 2), strides=(2, 3), padding=(2, 0), dilation=(2, 3), groups=2,
               use_bias=False), note="groups, dilation, uneven strides"),
    Case("conv2d", ((1, 5, 4, 4), 7), (((10, 1, 2, 2), 5), ((10,), 12)),
         _conv(10, (2, 2), groups=5), note="depthwise, two per channel"),
    Case("conv2d", ((1, 2, 1, 3), 8), (((3, 2, 1, 1), 8), ((3,), 8)), _conv(3, (1, 1))),
    Case("conv2d", ((1, 1, 2, 2), 8), (((1, 1, 6, 6), 8),),
         _conv(1, (6, 6), padding=(2, 2), strides=(2, 2), use_bias=False), note="mostly padding"),
    Case("dense", ((3, 17), 8), (((5, 17), 8), ((5,), 24)), {"units": 5}),
    Case("dense", ((1, 4), 6), (((2, 4), 8),), {"units": 2, "use_bias": False}),
    Case("max_pool2d", ((1, 2, 6, 7), 8), (), {"pool_size": (5, 5), "padding": (2, 2)}),
    Case("max_pool2d", ((1, 1, 7, 9), 8), (),
         {"pool_size": (3, 2), "strides": (2, 3), "padding": (1,), "ceil_mode": True},
         note="ceil mode"),
    Case("conv2d", ((1, 1, 1, 4100), 8), (((1, 1, 1, 4097), 8),),
         _conv(1, (1, 4097), use_bias=False), note="a kernel beyond 4096"),
    Case("max_pool2d", ((1, 1, 3, 5), MINIMUM, _EDGES), (),
         {"pool_size": (2, 2), "padding": (1, 1)}, note="-2^31 against padding"),
    Case("upsampling", ((1, 2, 2, 3), 8), (), {"scale": 2}),
    Case("upsampling", ((2, 1, 1, 2), 20), (), {"scale": 3}),
]  # fmt: skip

REDUCE = [
    *(Case(op, ((2, 3, 1, 4), 10), (), attributes, note=note)
      for op in ("sum", "max")
      for attributes, note in (
          ({"axis": (1,)}, "a kept unit axis"),
          ({"axis": (0,), "keepdims": True}, "a kept unit axis"),
          ({"axis": (2,)}, "only a unit axis"),
          ({"axis": (-1, 1), "exclude": True}, "exclude"),
          ({"axis": (0, 1, 2, 3)}, "every axis listed"),
          ({"axis": (0, 1, 2, 3), "exclude": True}, "nothing left: a copy"),
          ({"keepdims": True}, "no axis: all"),
          ({"exclude": True}, "no axis: all, whatever exclude says"))),
    Case("max", ((2, 3), 8, [-5, -4, -3, -2, -7, -9]), (), {}, "no axis: never below 0"),
    Case("max", ((2, 3), 8, [-5, -4, -3, -2, -7, -9]), (), {"axis": (0, 1)}, "a true maximum"),
    Case("sum", ((3, 5), MINIMUM, _EDGES), (), {"axis": (0,)}, "wraps"),
]  # fmt: skip

SHAPE = [
    Case("repeat", ((2, 3), 8), (), {"repeats": 2, "axis": -1}),
    Case("repeat", ((2, 1, 2), 8), (), {"repeats": 3}),
    Case("tile", ((2, 3), 8), (), {"reps": (2, 1, 2)}),
    Case("tile", ((2, 1, 3), 8), (), {"reps": (2,)}),
    Case("flatten", ((2, 3, 2), 8)),
    Case("flatten", ((5,), 8)),
    Case("concatenate", ((1, 2, 3), 8), (((1, 4, 3), 12), ((1, 1, 3), 5)), {"axis": 1}),
    Case("concatenate", ((2, 2), 8), (((2, 2), 8),), {"axis": -2}),
    Case("expand_dims", ((2, 3), 8), (), {"axis": -3, "num_newaxis": 2}),
    Case("expand_dims", ((2, 3), 8), (), {"axis": 2}),
    *(Case("reshape", ((2, 3, 4), 8), (), {"shape": codes}) for codes in (
        (4, 0, 2), (0, -1), (-3, -2), (-4, -1, 2, 0, 4), (-2, 1), (1, -3, 2), (-4, 2, -1, -3))),
    Case("squeeze", ((1, 2, 1, 3), 8), (), {"axis": (-2,)}),
    Case("squeeze", ((1, 1), 8)),
    Case("transpose", ((2, 3, 4), 8)),
    Case("transpose", ((2, 3, 1, 4), 8), (), {"axes": (0, -1, 1, 2)}),
    Case("strided_slice", ((4, 3), 8), note="no attributes: the first row"),
    Case("strided_slice", ((5, 6), 8), (),
         {"begin": (-1, 1), "end": (-6, 100), "stride": (-2, 3)}, note="to the beginning"),
    Case("strided_slice", ((3, 4), 8), (), {"begin": (1,), "end": (3,)}),
    Case("slice_like", ((3, 4, 5), 8), (((2, 4, 1), 8),)),
    Case("slice_like", ((3, 4), 8), (((9, 2), 8),), {"axis": (-1,)}),
    Case("slice_like", ((3, 4, 5), 8), (((2, 3, 4), 8),), {"axis": (-2, 1, 0)},
         note="an axis twice"),
    Case("squeeze", ((1, 2, 1, 3), 8), (), {"axis": (2, -2, 2)}, note="an axis twice"),
    Case("take", ((3, 4), 8), (((2, 3), 8, [-9, -1, 0, 2, 3, 99]),), {"axis": 0}),
    Case("take", ((3, 4), 8), (((5,), 8, [-1, 0, 11, 12, 127]),), note="flattened"),
    Case("take", ((2, 3, 2), 8), (((1, 2), 4, [2, 0]),), {"axis": -2}),
    Case("cvm_lut", ((2, 8), 5), (((15,), 12),), {"in_dim": 15}, note="indices clamp"),
    Case("cvm_lut", _EDGE, (((3, 1), 8),), {"in_dim": 3}, note="-2^31"),
    Case("where", ((2, 3), 8), (((2, 3), 8), ((2, 3), 8)), note="precision of the condition"),
    Case("where", ((3,), 8, [0, 5, -2]), (((3,), 8), ((3,), 8)), note="one axis: elements"),
    Case("where", ((3,), 2, [0, 1, -1]), (((3, 8), 8), ((3, 8), 8)),
         note="one entry per row: the bytes that the original writes, then 0"),
    Case("where", ((2,), 2, [1, 0]), (((2, 2, 3), 20), ((2, 2, 3), 20)),
         note="one entry per row of 6: the last one is cut within an element"),
]  # fmt: skip

_BOXES = [
    0, 50, 0, 0, 10, 10, 0, 90, 1, 1, 11, 11, 1, 90, 1, 1, 11, 11, -1, 99, 0, 0, 10, 10,
    0, 90, 20, 20, 30, 30, 0, 10, 10, 10, 0, 0, 0, 50, 0, 0, 10, 10, 2, 5, 3, 3, 3, 3,
]  # fmt: skip


def _nms(valid: list[int], note: str, **attributes: Any) -> Case:
    boxes = _BOXES * len(valid)
    shape = (len(valid), 8, 6)
    return Case("non_max_suppression", (shape, 8, boxes), (((len(valid),), 8, valid),),
                attributes, note)  # fmt: skip


VISION = [
    Case("get_valid_counts", ((2, 5, 6), 8), (), {"score_threshold": 10}),
    Case("get_valid_counts", ((1, 4, 2), 8), (), {"score_threshold": 127}, "none is kept"),
    Case("get_valid_counts", ((2, 3, 3), 1, [0] * 18), (), {"score_threshold": -1}, "all kept"),
    Case("get_valid_counts", ((1, 2, 3), 1, [0] * 6), (), {}, "fill -1 beyond 1 bit"),
    _nms([8], "equal scores keep their order"),
    _nms([0, 8], "an empty batch first"),
    _nms([8, -3, 100], "counts out of range"),
    _nms([8], "any id", force_suppress=True, iou_threshold=60),
    _nms([8], "top_k", top_k=2),
    _nms([8], "top_k 0", top_k=0),
    _nms([8], "max_output_size", max_output_size=2, iou_threshold=100),
    _nms([8], "max_output_size 0", max_output_size=0),
    _nms([5], "threshold met exactly", iou_threshold=68),
    Case("non_max_suppression", ((1, 2, 6), 32, [
        0, 9, -(2**31) + 1, -(2**31) + 1, 2**31 - 1, 2**31 - 1,
        0, 8, 0, 0, 2**31 - 1, 2**31 - 1]), (((1,), 3, [2]),), {"iou_threshold": 20},
        "coordinates of 32 bits: int64 products wrap"),
]  # fmt: skip

CASES = [*ELEMENTWISE, *BROADCAST, *NETWORK, *REDUCE, *SHAPE, *VISION]
