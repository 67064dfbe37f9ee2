"""Attributes of every operator against a table of its own: names, defaults, what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from yolo_core.graph import GraphError, LogicError, RuntimeFault
from yolo_core.graph.check import infer
from yolo_core.graph.operators import TABLE

NEEDED = object()
WORD, LAYOUT = "3", "NHWC"
SHIFTS: dict[str, Any] = {
    "precision": (NEEDED, "8", "33"),
    "shift_bit": (NEEDED, "2", "0"),
    "is_sign": ("true", "false", "yes"),
}
SUMS: dict[str, Any] = {
    "axis": ("()", "(1,)", "(4,)"),
    "keepdims": ("false", "1", "2"),
    "exclude": ("false", "TRUE", "none"),
    "dtype": ("int32", "float32", None),
}
#: Of each operator with attributes: shapes of its operands; of each attribute its default, another
#: value that is accepted beside the needed ones, and one that is refused; None where there is none.
CASES: dict[str, tuple[list[tuple[int, ...]], dict[str, tuple[Any, str | None, str | None]]]] = {
    "conv2d": (
        [(1, 4, 6, 6), (4, 4, 3, 3), (4,)],
        {
            "channels": (NEEDED, "4", "-4"),
            "kernel_size": (NEEDED, "(3, 3)", "(3,)"),
            "strides": ("(1, 1)", "[2,2]", "(0, 1)"),
            "padding": ("(0, 0)", "(1, 1)", "(4097, 0)"),
            "dilation": ("(1, 1)", "(2L, 2L)", "(0, 1)"),
            "groups": ("1", None, "0"),
            "layout": ("NCHW", None, LAYOUT),
            "kernel_layout": ("OIHW", None, "HWIO"),
            "out_layout": ("__undef__", "NCHW", LAYOUT),
            "out_dtype": ("same", "int32", "int8"),
            "use_bias": ("true", None, "maybe"),
        },
    ),
    "dense": ([(2, 3), (4, 3), (4,)], {"units": (NEEDED, "4", "0"), "use_bias": ("1", None, "2")}),
    "max_pool2d": (
        [(1, 2, 5, 5)],
        {
            "pool_size": (NEEDED, "(2, 2)", "(6, 6)"),
            "strides": ("(1, 1)", "(2, 2)", "(0, 1)"),
            "padding": ("(0, 0)", "1", "(2, 2)"),
            "layout": ("NCHW", None, LAYOUT),
            "ceil_mode": ("false", "true", "ceil"),
        },
    ),
    "upsampling": (
        [(1, 2, 3, 3)],
        {
            "scale": (NEEDED, "2", "0"),
            "layout": ("NCHW", None, LAYOUT),
            "method": ("NEAREST_NEIGHBOR", None, "BILINEAR"),
        },
    ),
    "clip": ([(3,)], {"a_min": (NEEDED, "-5", "-2147483648"), "a_max": (NEEDED, "7", "-6")}),
    "cvm_clip": ([(3,)], {name: SHIFTS[name] for name in ("precision", "is_sign")}),
    "cvm_right_shift": ([(3,)], SHIFTS),
    "cvm_left_shift": ([(3,)], {**SHIFTS, "shift_bit": (NEEDED, "2", "33")}),
    "sum": ([(2, 3, 4)], SUMS),
    "max": ([(2, 3, 4)], SUMS),
    "expand_dims": ([(2, 3)], {"axis": (NEEDED, "-1", "3"), "num_newaxis": ("1", "4", "0")}),
    "squeeze": ([(1, 3, 1)], {"axis": ("()", "(0, 2)", "(1,)")}),
    "reshape": ([(2, 3)], {"shape": (NEEDED, "(3, -1)", "()")}),
    "transpose": ([(2, 3)], {"axes": ("()", "(0, -1)", "(0, 0)")}),
    "concatenate": ([(2, 3), (2, 3)], {"axis": ("1", "-2", "2")}),
    "repeat": ([(2, 3)], {"repeats": (NEEDED, "2", "0"), "axis": ("0", "-1", "2")}),
    "tile": ([(2, 3)], {"reps": (NEEDED, "(2, 1, 2)", "(0,)")}),
    "strided_slice": (
        [(4, 3)],
        {
            "begin": ("(0,)", "(-4,)", "(1,)"),
            "end": ("(1,)", "(4, 2)", "(0,)"),
            "stride": ("()", "(1, 2)", "(0,)"),
        },
    ),
    "slice_like": ([(4, 3), (2, 3)], {"axis": ("()", "(0, 0)", "(2,)")}),
    "take": ([(4, 3), (2,)], {"axis": ("None", "-1", "2")}),
    "cvm_lut": ([(4,), (9,)], {"in_dim": (NEEDED, "9", "8")}),
    "get_valid_counts": ([(1, 4, 6)], {"score_threshold": ("0", "-7", "0.5")}),
    "non_max_suppression": (
        [(1, 4, 6), (1,)],
        {
            "max_output_size": ("-1", "3", "x"),
            "iou_threshold": ("50", "101", "0"),
            "force_suppress": ("false", "true", "-1"),
            "top_k": ("-1", "2", "1.0"),
            "coord_start": ("2", None, "1"),
            "score_index": ("1", None, "0"),
            "id_index": ("0", None, "-1"),
            "return_indices": ("false", None, "true"),
            "invalid_to_bottom": ("true", None, "false"),
        },
    ),
}
#: Operands of the operators that take none.
PLAIN = {
    **dict.fromkeys(("relu", "abs", "negative", "cvm_precision", "flatten"), 1),
    **dict.fromkeys(("elemwise_add", "elemwise_sub"), 2),
    **{f"broadcast_{word}": 2 for word in ("add", "sub", "mul", "max", "div", "greater")},
    "where": 3,
}
#: The original has no default of `reps`; an empty one is refused by the rule of its shape.
DEFAULT_BY_RULE = {("tile", "reps")}
ATTRIBUTES = [(op, name) for op, (_, attributes) in CASES.items() for name in attributes]


def inferred(op: str, attributes: dict[str, str]) -> Any:
    """Shapes and precisions of the operator; attributes as a file has them."""
    shapes = CASES[op][0]
    return infer(op, shapes, [7] * len(shapes), attributes)


def needed(op: str) -> dict[str, str]:
    attributes = CASES[op][1].items()
    return {name: str(text) for name, (default, text, _) in attributes if default is NEEDED}


def test_every_operator_stands_in_the_table() -> None:
    assert set(CASES) | set(PLAIN) == set(TABLE)
    for op, operator in TABLE.items():
        expected = set(CASES[op][1]) if op in CASES else set()
        assert {attribute.name for attribute in operator.attributes} == expected, op


@pytest.mark.parametrize(("op", "name"), ATTRIBUTES)
def test_an_attribute_is_taken_by_default_when_given_and_refused_beyond_its_range(
    op: str, name: str
) -> None:
    default, other, refused = CASES[op][1][name]
    sound = needed(op)
    if default is NEEDED:
        left = {key: text for key, text in sound.items() if key != name}
        with pytest.raises(LogicError if (op, name) in DEFAULT_BY_RULE else RuntimeFault):
            inferred(op, left)
    else:
        assert inferred(op, sound) == inferred(op, {**sound, name: default})
    if other is not None:
        inferred(op, {**sound, name: other})
    if refused is not None:
        with pytest.raises(GraphError, match=f"{name}|padding|window|kernel|weight|empty"):
            inferred(op, {**sound, name: refused})


@pytest.mark.parametrize("op", sorted(TABLE))
def test_unknown_attributes_are_refused_and_hidden_ones_passed_over(op: str) -> None:
    """An operator without attributes refuses any name, hidden ones too, as a logic error."""
    if op in CASES:
        with pytest.raises(RuntimeFault, match="unknown"):
            inferred(op, {**needed(op), "axes_": WORD})
        assert inferred(op, {**needed(op), "__axes__": WORD}) == inferred(op, needed(op))
        return
    for name in ("axis", "__axis__"):
        with pytest.raises(LogicError, match="takes no attributes"):
            infer(op, [(2, 3)] * PLAIN[op], [7] * PLAIN[op], {name: WORD})


def test_the_specification_names_the_same_attributes_and_defaults(shared: Path) -> None:
    """The table of operators of the specification that this project was given."""
    rows = {}
    for line in (shared / "spec" / "cvm.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
        for op in re.findall(r"`(\w+)`", cells[1]) if len(cells) == 9 else ():
            if op in TABLE:
                rows[op] = cells[3]
    assert set(rows) == set(TABLE)
    rows["max"] = rows["sum"]
    word = re.compile(r"(?:^|, )([a-z_]+)(?=:|=| 1\.\.32| ignored)")
    value = r"(?::[a-z 0-9.]*)?\s*=\s*(\([^)]*\)|[\w-]+)"
    for op, cell in rows.items():
        cases = CASES[op][1] if op in CASES else {}
        assert set(word.findall(cell)) == set(cases), (op, cell)
        for name, (default, _, _) in cases.items():
            told = re.search(rf"\b{name}{value}", cell)
            if told is None:
                assert default is NEEDED or name == "is_sign", (op, name)
                continue
            digits = re.compile(r"[^\w-]")
            written = {"1": "true"}.get(str(default), default) if name == "use_bias" else default
            assert digits.sub("", told[1]) == digits.sub("", str(written)), (op, name)
