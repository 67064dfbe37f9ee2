"""The operator table against second readings of the specification and its own tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph import naive
from yolo_core.arrays import Array
from yolo_core.graph import GraphBuilder, LogicError, RuntimeFault, interpret
from yolo_core.graph.integers import precision_of
from yolo_core.graph.operators import TABLE, nn
from yolo_core.graph.proof.ranges import RULES

INT32 = st.integers(-(2**31), 2**31 - 1)


def meaning(op: str, *inputs: object, **attributes: object) -> Array:
    """First output of one operator on int32 operands, outside any program."""
    operator = TABLE[op]
    arrays = [np.array(x, np.int32) for x in inputs]
    from yolo_core.graph.operators.attributes import parse

    return operator.meaning(arrays, parse(operator.attributes, attributes, raw=False))[0]


def declared(op: str, shapes_and_bits: list[Any], **attributes: Any) -> tuple[tuple[Any, ...], int]:
    """Inferred shape and precision of one operator on parameters of zeros."""
    b = GraphBuilder()
    refs = [
        b.parameter(f"p{k}", np.zeros(s, np.int32), p) for k, (s, p) in enumerate(shapes_and_bits)
    ]
    ref = b.operator(op, refs, **attributes)
    return ref.shape, ref.precision


def test_there_are_37_operators_with_a_range_rule_each() -> None:
    assert len(TABLE) == 37
    assert set(RULES) == set(TABLE)
    assert all(operator.__doc__ and "pec" in operator.__doc__ for operator in TABLE.values())


@pytest.mark.parametrize(
    ("x", "s", "p", "y"),
    [
        (3, 1, 8, 2),
        (-3, 1, 8, -1),
        (5, 1, 8, 3),
        (-5, 1, 8, -2),
        (6, 2, 8, 2),
        (-6, 2, 8, -1),
        (1000, 3, 8, 125),
        (-1000, 3, 8, -125),
        (2147483647, 24, 8, 127),
        (-2147483648, 24, 8, -127),
        (-1, 31, 8, 0),
        (1073741824, 31, 8, 1),
        (-1, 32, 8, 0),
        (127, 1, 1, 0),
        (2147483647, 1, 32, 2**30),
        (2147483647, 1, 8, 127),
        (-2147483648, 32, 8, 0),
        (-2147483648, 31, 8, -1),
        (2147483647, 32, 8, 0),
        (2147483647, 31, 8, 1),
    ],
)
def test_right_shift_of_the_table_in_the_specification(x: int, s: int, p: int, y: int) -> None:
    assert meaning("cvm_right_shift", [x], precision=p, shift_bit=s)[0] == y


@given(INT32, st.integers(1, 32), st.integers(1, 32))
def test_right_shift_rounds_half_up_everywhere(x: int, s: int, p: int) -> None:
    found = meaning("cvm_right_shift", [x], precision=p, shift_bit=s)[0]
    assert found == naive.right_shift(x, s, p)


@pytest.mark.parametrize(
    ("a", "b", "q"),
    [(7, 2, 3), (-7, 2, -3), (7, -2, -3), (-7, -2, 3), (5, 0, 0), (-(2**31), -1, -(2**31))],
)
def test_division_truncates_toward_zero(a: int, b: int, q: int) -> None:
    assert meaning("broadcast_div", [a], [b])[0] == q


@given(INT32, INT32)
def test_sums_and_products_wrap(a: int, b: int) -> None:
    assert meaning("broadcast_add", [a], [b])[0] == naive.wrap(a + b)
    assert meaning("elemwise_sub", [a], [b])[0] == naive.wrap(a - b)
    assert meaning("broadcast_mul", [a], [b])[0] == naive.wrap(a * b)
    assert meaning("negative", [a])[0] == naive.wrap(-a)
    assert meaning("abs", [a])[0] == naive.wrap(abs(a))
    assert meaning("cvm_precision", [a])[0] == max(1, abs(a).bit_length())
    assert meaning("broadcast_greater", [a], [b])[0] == int(a > b)


@pytest.mark.parametrize(
    ("n", "bits"), [(1, 3), (126, 8), (127, 9), (128, 9), (255, 10), (32767, 17)]
)
def test_precision_of_a_magnitude(n: int, bits: int) -> None:
    assert precision_of(n) == bits


def test_worked_precisions_of_the_specification() -> None:
    data, weight = ((1, 64, 4, 4), 8), ((8, 64, 3, 3), 8)
    conv = {"channels": 8, "kernel_size": (3, 3)}
    assert declared("conv2d", [data, weight], use_bias=False, **conv)[1] == 26
    assert declared("conv2d", [data, weight, ((8,), 20)], **conv)[1] == 27
    assert declared("clip", [((3,), 8)], a_min=-127, a_max=127)[1] == 9
    assert declared("clip", [((3,), 8)], a_min=0, a_max=1)[1] == 3
    assert declared("sum", [((2, 3, 4, 5), 10)], axis=(0, -1), exclude=True)[1] == 14
    assert declared("where", [((3,), 2), ((3,), 8), ((3,), 8)])[1] == 2
    with pytest.raises(LogicError, match="9 bits"):
        declared("conv2d", [((1, 64, 4, 4), 9), weight], use_bias=False, **conv)
    with pytest.raises(RuntimeFault, match="shifted left"):
        declared("cvm_left_shift", [((3,), 16)], precision=8, shift_bit=17)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_conv2d_is_the_sum_over_its_taps(data: st.DataObject) -> None:
    groups = data.draw(st.sampled_from([1, 1, 2, 3]))
    inputs, outputs = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    strides = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    dilation = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    least = [max(1, (k - 1) * d + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding)]
    size = [low + data.draw(st.integers(0, 4)) for low in least]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(-127, 128, (2, groups * inputs, *size)).astype(np.int32)
    w = rng.integers(-127, 128, (groups * outputs, inputs, *kernel)).astype(np.int32)
    b = rng.integers(-1000, 1000, groups * outputs).astype(np.int32)
    expected = naive.conv2d(x, w, b, strides, padding, dilation, groups)
    # One tap and one channel at a time, a few, all.
    for laid_out, products in ((1, 1), (60, 300), (nn.LAID_OUT, nn.PRODUCTS)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nn, "LAID_OUT", laid_out)
            patch.setattr(nn, "PRODUCTS", products)
            found = meaning(
                "conv2d", x, w, b, channels=len(w), kernel_size=kernel, strides=strides,
                padding=padding, dilation=dilation, groups=groups,
            )  # fmt: skip
        assert np.array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_max_pool2d_takes_the_largest_real_element(data: st.DataObject) -> None:
    size = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(data.draw(st.integers(0, k - 1)) for k in size)
    strides = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    ceil = data.draw(st.booleans())
    shape = [max(1, k - 2 * p) + data.draw(st.integers(0, 5)) for k, p in zip(size, padding)]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(-(2**31), 2**31, (1, 2, *shape)).astype(np.int32)
    given_attributes = {
        "pool_size": size,
        "strides": strides,
        "padding": padding,
        "ceil_mode": ceil,
    }
    try:
        found = meaning("max_pool2d", x, **given_attributes)
    except LogicError:
        # Only a last window without any real element is refused.
        assert ceil
        return
    assert np.array_equal(found, naive.max_pool2d(x, size, strides, padding, ceil))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-1, 2), st.integers(0, 9), *[st.integers(-9, 20)] * 4),
        min_size=1,
        max_size=12,
    ),
    st.integers(-2, 15),
    st.integers(1, 101),
    st.booleans(),
    st.integers(-1, 12),
    st.integers(-1, 12),
)
def test_suppression_is_greedy(
    rows: list[Any], valid: int, threshold: int, force: bool, top_k: int, most: int
) -> None:
    found = meaning(
        "non_max_suppression",
        [rows],
        [valid],
        iou_threshold=threshold,
        force_suppress=force,
        top_k=top_k,
        max_output_size=most,
    )
    assert found[0].tolist() == [
        list(row) for row in naive.suppress(rows, valid, threshold, force, top_k, most)
    ]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_shapes_agree_with_numpy(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    x = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    axes = data.draw(st.permutations(range(len(shape))))
    reps = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    listed = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    assert np.array_equal(meaning("transpose", x, axes=tuple(axes)), x.transpose(axes))
    assert np.array_equal(meaning("repeat", x, repeats=2, axis=axis), x.repeat(2, axis))
    assert np.array_equal(meaning("tile", x, reps=tuple(reps)), np.tile(x, reps))
    assert np.array_equal(meaning("concatenate", x, x, axis=axis), np.concatenate([x, x], axis))
    total = x.sum(axis=listed, keepdims=True)
    assert np.array_equal(meaning("sum", x, axis=listed, keepdims=True), total)
    flat = meaning("sum", x, axis=listed)
    assert flat.shape == (np.sum(x, axis=listed).shape or (1,))
    assert np.array_equal(flat.ravel(), total.ravel())
    assert np.array_equal(
        meaning("max", -x - 1, axis=listed).ravel(), (-x - 1).max(axis=listed).ravel()
    )
    assert meaning("max", -x - 1).tolist() == [0]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_strided_slice_agrees_with_python_slices(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 6))
    x = np.arange(size, dtype=np.int32)
    begin, end = data.draw(st.integers(-8, 8)), data.draw(st.integers(-8, 8))
    stride = data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
    # Python means "to the beginning" by None; here any end below -size does.
    low = end + size if end < 0 else end
    stop = None if stride < 0 and low < 0 else end
    start = begin if -size <= begin or stride > 0 else -(10**6)
    expected = x[start:stop:stride]
    if not len(expected):
        with pytest.raises(LogicError, match="empty"):
            meaning("strided_slice", x, begin=(begin,), end=(end,), stride=(stride,))
        return
    found = meaning("strided_slice", x, begin=(begin,), end=(end,), stride=(stride,))
    assert found.tolist() == expected.tolist()


def test_gathers_clamp_their_indices() -> None:
    table = np.arange(12).reshape(3, 4)
    assert meaning("take", table, [-5, 0, 11, 99]).tolist() == [0, 0, 11, 11]
    assert meaning("take", table, [[-1, 9]], axis=1).tolist() == [[[0, 3]], [[4, 7]], [[8, 11]]]
    assert meaning("cvm_lut", [[-3, 1, 40]], [[7], [8], [9]], in_dim=3).tolist() == [[7, 8, 9]]


def test_where_with_one_condition_per_row_writes_bytes() -> None:
    x = np.full((2, 8), 0x01020304)
    found = meaning("where", [1, 0], x, -x)
    assert found.tolist() == [[0x01020304] * 2 + [0] * 6, [-0x01020304] * 2 + [0] * 6]
    cut = meaning("where", [1], np.full((1, 3), -1), np.zeros((1, 3)))
    assert cut.tolist() == [[0x00FFFFFF, 0, 0]]


@pytest.mark.parametrize(
    ("op", "shapes", "attributes", "cause"),
    [
        ("conv2d", [(1, 4, 5, 5), (2, 3, 3, 3)], {"channels": 2, "kernel_size": (3, 3)}, "weight"),
        ("conv2d", [(1, 4, 2, 2), (2, 4, 3, 3)], {"channels": 2, "kernel_size": (3, 3)}, "kernel"),
        (
            "conv2d",
            [(1, 4, 5, 5), (2, 2, 3, 3)],
            {"channels": 3, "kernel_size": (3, 3), "groups": 2},
            "groups",
        ),
        ("reshape", [(2, 3)], {"shape": (-4, -1, 0, 3)}, "-4"),
        ("reshape", [(2, 3)], {"shape": (-1, -1)}, "-1 twice"),
        ("reshape", [(2, 3)], {"shape": (-5, 6)}, "code"),
        ("reshape", [(2, 3)], {"shape": (2**31 - 1, 2**31 - 1, -1)}, "divide"),
        ("strided_slice", [(2,)], {"begin": (0, 0), "end": (1, 1)}, "entries"),
        ("transpose", [(2, 3)], {"axes": (0, 0)}, "twice"),
        ("squeeze", [(2, 1)], {"axis": (0,)}, "dimension 0"),
        ("tile", [(2,)], {"reps": ()}, "empty"),
        ("tile", [(2,) * 6], {"reps": (2,) * 7}, "dimensions"),
        ("repeat", [(2**20, 2)], {"repeats": 2**20}, "2^24"),
        ("upsampling", [(1, 1, 2**12, 2**12)], {"scale": 4096}, "2^30"),
        ("expand_dims", [(2,)], {"axis": 0, "num_newaxis": 7}, "dimensions"),
        ("concatenate", [(2, 3), (3, 3)], {"axis": 1}, "equal dims"),
        ("elemwise_add", [(2, 3), (1, 3)], {}, "identical"),
        ("broadcast_add", [(2, 3), (2,)], {}, "equal or 1"),
        ("take", [(2, 3), (2,)], {"axis": 2}, "axis"),
        ("cvm_lut", [(2,), (3,)], {"in_dim": 4}, "in_dim"),
        ("cvm_lut", [(2,), (3,)], {"in_dim": 0}, "in_dim"),
        ("conv2d", [(1, 4, 5, 5), (2, 4, 3, 3)], {"channels": 0, "kernel_size": (3, 3)}, "weight"),
        ("where", [(3,), (2, 3), (2, 3)], {}, "condition"),
        ("clip", [(3,)], {"a_min": 4, "a_max": 4}, "less than a_max"),
        ("slice_like", [(2, 3), (2,)], {}, "dimensions"),
        ("get_valid_counts", [(1, 2, 32)], {}, "columns"),
        ("non_max_suppression", [(1, 2, 6), (1,)], {"iou_threshold": 0}, "iou_threshold"),
        ("non_max_suppression", [(1, 2, 6), (1,)], {"return_indices": True}, "return_indices"),
    ],
)
def test_operands_that_do_not_fit_are_refused(
    op: str, shapes: list[Any], attributes: dict[str, Any], cause: str
) -> None:
    """The rules see shapes alone, so that nothing is allocated for a refusal."""
    from yolo_core.graph.check import infer

    if op == "conv2d":
        attributes = {"use_bias": False, **attributes}
    with pytest.raises(LogicError, match=cause.replace("^", r"\^")):
        infer(op, shapes, [2] * len(shapes), attributes)


def test_a_program_runs_as_its_operators_say() -> None:
    b = GraphBuilder()
    x = b.input("data", (1, 3, 4, 4), 8)
    w = b.parameter("w", np.ones((2, 3, 3, 3), np.int64), 8)
    y = b.operator("conv2d", [x, w], channels=2, kernel_size=(3, 3), use_bias=False)
    graph = b.build([b.operator("cvm_clip", [y], precision=8), x])
    data = np.full((1, 3, 4, 4), 3, np.int8)
    heads = interpret.run(graph, data)
    assert heads[0].tolist() == np.full((1, 2, 2, 2), 81).tolist()
    assert heads[1].dtype == np.int32
    assert np.array_equal(heads[1], data)
    with pytest.raises(LogicError, match="shape"):
        interpret.run(graph, data[0])
    with pytest.raises(LogicError, match="values"):
        interpret.run(graph, data.astype(np.int32) * 100)
    with pytest.raises(LogicError, match="dtype"):
        interpret.run(graph, data.astype(np.float32))
