"""Random sound programs for property tests: every operator that accepts what is there may come."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from yolo_core.arrays import Array
from yolo_core.graph import Graph, GraphBuilder, GraphError, Ref
from yolo_core.graph.integers import elements, limit

#: Tensors beyond this are not used further, so that programs stay small.
MOST_ELEMENTS = 4096


def _attributes(  # noqa: C901 - one case per operator, read from top to bottom
    draw: st.DrawFn, op: str, ref: Ref
) -> dict[str, Any]:
    """Attributes that often fit an operand of this shape."""
    ndim = len(ref.shape)
    axis = st.integers(-ndim, ndim - 1)
    if op in ("cvm_clip", "cvm_right_shift", "cvm_left_shift"):
        shift = {} if op == "cvm_clip" else {"shift_bit": draw(st.integers(1, 32))}
        return {"precision": draw(st.integers(1, 32)), **shift}
    if op == "clip":
        low = draw(st.integers(-200, 100))
        return {"a_min": low, "a_max": low + draw(st.integers(1, 300))}
    if op == "conv2d":
        kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        return {
            "channels": draw(st.integers(1, 4)),
            "kernel_size": kernel,
            "padding": draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
            "strides": draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
            "use_bias": draw(st.booleans()),
        }
    if op == "dense":
        return {"units": draw(st.integers(1, 5)), "use_bias": draw(st.booleans())}
    if op == "max_pool2d":
        return {
            "pool_size": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
            "padding": draw(st.sampled_from([(0,), (1, 1), (0, 1)])),
            "ceil_mode": draw(st.booleans()),
        }
    if op == "upsampling":
        return {"scale": draw(st.integers(1, 3))}
    if op in ("sum", "max"):
        return {
            "axis": tuple(draw(st.sets(st.integers(0, ndim - 1)))),
            "keepdims": draw(st.booleans()),
            "exclude": draw(st.booleans()),
        }
    if op == "repeat":
        return {"repeats": draw(st.integers(1, 3)), "axis": draw(axis)}
    if op == "tile":
        return {"reps": tuple(draw(st.lists(st.integers(1, 2), min_size=1, max_size=3)))}
    if op in ("concatenate", "expand_dims"):
        return {"axis": draw(axis)}
    if op == "reshape":
        return {
            "shape": draw(
                st.sampled_from([(-1,), (0, -1), (1, -1), (-3, -2), (-2,), (-1, 2), (1, -2)])
            )
        }
    if op == "transpose":
        return {"axes": tuple(draw(st.permutations(range(ndim))))}
    if op == "strided_slice":
        return {
            "begin": (draw(st.integers(-3, 3)),),
            "end": (draw(st.integers(-9, 9)),),
            "stride": (draw(st.sampled_from([-2, -1, 1, 2])),),
        }
    if op == "take":
        return {"axis": draw(st.one_of(st.none(), axis))}
    if op == "get_valid_counts":
        return {"score_threshold": draw(st.integers(-9, 99))}
    if op == "non_max_suppression":
        return {"iou_threshold": draw(st.integers(1, 100)), "top_k": draw(st.integers(-1, 4))}
    return {}


UNARY = (
    "relu",
    "abs",
    "negative",
    "cvm_precision",
    "clip",
    "cvm_clip",
    "cvm_right_shift",
    "cvm_left_shift",
    "sum",
    "max",
    "repeat",
    "tile",
    "flatten",
    "expand_dims",
    "reshape",
    "squeeze",
    "transpose",
    "strided_slice",
)
BINARY = (
    "elemwise_add",
    "elemwise_sub",
    "broadcast_add",
    "broadcast_sub",
    "broadcast_mul",
    "broadcast_max",
    "broadcast_div",
    "broadcast_greater",
    "slice_like",
    "concatenate",
    "take",
)


#: Operators that take only tensors of one rank; drawn more often where they fit.
OF_RANK = {
    2: ("dense",),
    3: ("get_valid_counts", "non_max_suppression"),
    4: ("conv2d", "max_pool2d", "upsampling"),
}


class _Drawer:
    """Adds drawn operators to a builder; a drawn operator that does not fit is left out."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.builder = GraphBuilder()
        shape = draw(
            st.sampled_from(
                [
                    (6,),
                    (2, 5),
                    (3, 1, 4),
                    (1, 2, 5, 6),
                    (2, 3, 4, 4),
                    (1, 4, 6),
                    (1, 3, 6, 6),
                    (2, 1, 3, 1, 2),
                ]
            )
        )
        self.refs = [self.builder.input("data", shape, draw(st.integers(1, 16)))]
        self.count = 0

    def parameter(self, shape: tuple[Any, ...], bits: int) -> Ref:
        bound = limit(bits)
        values = self.rng.integers(-bound, bound + 1, shape)
        self.count += 1
        return self.builder.parameter(f"p{self.count}", values, bits)

    def step(self) -> None:
        ref = self.draw(st.sampled_from(self.refs))
        fitting = OF_RANK.get(len(ref.shape), ()) * 5
        op = self.draw(st.sampled_from([*UNARY, *BINARY, "cvm_lut", "where", *fitting]))
        attributes = _attributes(self.draw, op, ref)
        try:
            result = self.builder.operator(op, self.operands(op, ref, attributes), **attributes)
        except GraphError:
            return
        self.refs.append(result)
        if op == "get_valid_counts":
            self.refs.append(self.builder.output(result, 1))

    def operands(self, op: str, ref: Ref, attributes: dict[str, Any]) -> list[Ref]:
        bits = self.draw(st.integers(1, 8))
        if op == "conv2d" and len(ref.shape) == 4:
            channels = attributes["channels"]
            weight = self.parameter((channels, ref.shape[1], *attributes["kernel_size"]), bits)
            bias = [self.parameter((channels,), 12)] if attributes["use_bias"] else []
            return [ref, weight, *bias]
        if op == "dense":
            weight = self.parameter((attributes["units"], ref.shape[-1]), bits)
            bias = [self.parameter((attributes["units"],), 12)] if attributes["use_bias"] else []
            return [ref, weight, *bias]
        if op == "cvm_lut":
            attributes["in_dim"] = self.draw(st.integers(1, 40))
            return [ref, self.parameter((attributes["in_dim"],), bits)]
        if op == "where":
            same = self.parameter(ref.shape, bits)
            condition = self.parameter(self.draw(st.sampled_from([ref.shape, ref.shape[:1]])), 32)
            return [condition, ref, same]
        if op == "non_max_suppression":
            return [ref, self.parameter(ref.shape[:1], 4)]
        if op in BINARY:
            others = [*self.refs, None]
            other = self.draw(st.sampled_from(others))
            if other is None:
                other = self.parameter(self.draw(st.sampled_from([ref.shape, (1,)])), bits)
            return [ref, other]
        return [ref]


@st.composite
def programs(draw: st.DrawFn) -> Graph:
    """A checked program of up to a dozen operators, and one to three heads."""
    drawer = _Drawer(draw)
    for _ in range(draw(st.integers(1, 12))):
        drawer.step()
        drawer.refs = [r for r in drawer.refs if elements(r.shape) <= MOST_ELEMENTS]
    heads = draw(st.lists(st.sampled_from(drawer.refs), min_size=1, max_size=3))
    return drawer.builder.build(heads)


def inputs(graph: Graph, seed: int) -> Array:
    """An input of the whole range of the program's precision."""
    bound = limit(graph.input_precision)
    return np.random.default_rng(seed).integers(-bound, bound + 1, graph.input_shape)
