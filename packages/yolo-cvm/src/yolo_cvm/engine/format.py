"""The one table of the engine's format: every step, every tile operation, every number in a plan.

Python encodes plans by it (`encoding`), and `native/compile.py` writes from it the C++ headers
`format.h` and `format_fields.h`, so that neither side repeats the other. `FINGERPRINT` stands in
every plan and in the library. To add a step or a tile operation: a row here, its meaning in C++
(`make_NAME` of a step, a case of `run_op` for a tile operation), whoever emits it, and a test.

This module imports nothing but the standard library: packages are built with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

#: Changed whenever a meaning changes though the table does not.
VERSION = 2
REGISTERS = 8
MOST_OPERATIONS = 48
ALIGNMENT = 64
MOST_AXES = 12
LINK_REGISTERS = 24
MOST_LINKS = 96
#: Values of one row of a chain.
MOST_INNER = 1 << 13

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
_DIM = (1, 1 << 30)
_WINDOW = (1, 4096)
_REACH = 1 << 40

# Kinds of fields. A number lies within bounds; the others name something of the plan:
NUMBER = "number"
PLAIN = "plain"  # a plain tensor that is read
OPTIONAL_PLAIN = "optional_plain"  # the same or -1
TARGET = "target"  # a plain tensor that is written
IMAGE = "image"  # an image that is read
INTO = "into"  # an image that is written
CONSTANT = "constant"  # int32 values
OPTIONAL_CONSTANT = "optional_constant"
WEIGHTS = "weights"  # int8 or int32 values that are packed
AXES = "axes"  # sizes and strides of a loop; `high` is the number of operands
CODE = "code"  # a list of tile operations; always the last field
LINKS = "links"  # a list of operations of a chain; always the last field

READS = frozenset([PLAIN, OPTIONAL_PLAIN, IMAGE])
WRITES = frozenset([TARGET, INTO])
TENSORS = READS | WRITES
CONSTANTS = frozenset([CONSTANT, OPTIONAL_CONSTANT, WEIGHTS])


class Storage(IntEnum):
    """Where a tensor lies."""

    ARENA = 0
    CONSTANT = 1
    INPUT = 2
    OUTPUT = 3


class DType(IntEnum):
    """Element type of an image."""

    INT8 = 0
    INT16 = 1
    INT32 = 2

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return (1, 2, 4)[self]


class Unary(IntEnum):
    """What a UNARY step does."""

    CLAMP = 0
    ABS = 1
    NEGATIVE = 2
    PRECISION = 3
    RIGHT_SHIFT = 4
    LEFT_SHIFT = 5


class Binary(IntEnum):
    """What a BINARY step does."""

    ADD = 0
    SUB = 1
    MUL = 2
    MAX = 3
    DIV = 4
    GREATER = 5


class Step(IntEnum):
    """Kinds of steps; from TO_IMAGE on they work on images."""

    COPY = 1
    UNARY = 2
    BINARY = 3
    REDUCE = 4
    TAKE = 5
    WHERE = 6
    DENSE = 7
    CONV = 8
    MAX_POOL = 9
    VALID_COUNTS = 10
    SUPPRESS = 11
    SELECT = 12
    DENSE_BYTES = 13
    CHAIN = 14
    TO_IMAGE = 20
    CONV_IMAGE = 21
    POINTWISE = 22
    POOL_IMAGE = 23
    COPY_IMAGE = 24
    HALO = 25
    CONV_ROWS = 26


class Tile(IntEnum):
    """Operations on tile registers: dst = operation(a, b)."""

    REQUANT = 0
    LOAD = 1
    CLAMP = 2
    MAX_CONSTANT = 3
    ADD = 4
    SUB = 5
    MUL = 6
    MAX = 7
    LOOKUP = 8
    STORE = 9
    LOOKUP_STORE = 10
    SCATTER = 11


class Link(IntEnum):
    """Operations on the registers of a chain: dst = operation(a, b)."""

    INPUT = 0
    OUTPUT = 1
    GATHER = 2
    UNARY = 3
    BINARY = 4
    SCALAR = 5
    LOOKUP = 6
    REDUCE = 7
    SPREAD = 8


@dataclass(frozen=True)
class Field:
    """One entry of a step or of an operation of its program. low, high: bounds of a number."""

    name: str
    kind: str = NUMBER
    low: int = INT32_MIN
    high: int = INT32_MAX


def _numbers(names: str, bounds: tuple[int, int]) -> list[Field]:
    return [Field(name, NUMBER, *bounds) for name in names.split()]


_UNARY = Field("x", PLAIN), Field("out", TARGET)
_CLAMP = Field("low"), Field("high")
# A window that slides: batch, channels, sizes in and out, kernel, strides, padding, dilation.
_WINDOW_FIELDS = [
    *_numbers("batch channels height width out_height out_width kernel_h kernel_w", _DIM),
    *_numbers("stride_h stride_w", _WINDOW),
    *_numbers("pad_h pad_w", (0, 4096)),
    *_numbers("dilation_h dilation_w", _WINDOW),
]

_SUPPRESSION = [
    Field("max_output"), Field("iou", NUMBER, 1, INT32_MAX), Field("force", NUMBER, 0, 1),
    Field("top_k"),
]  # fmt: skip
#: Six numbers of every candidate, each in a tensor of its own: class, score, corners.
COLUMNS = range(6)
_COLUMNS = [
    field
    for k in COLUMNS
    for field in (Field(f"column{k}", PLAIN), *_numbers(f"start{k} step{k}", (0, _REACH)))
]

STEPS: dict[Step, Sequence[Field]] = {
    Step.COPY: [
        *_UNARY,
        *_numbers("x_start out_start", (0, _REACH)),
        Field("axes", AXES, high=2),
    ],
    Step.UNARY: [
        Field("kind", NUMBER, 0, max(Unary)), *_UNARY, *_CLAMP, Field("shift", NUMBER, 0, 32),
    ],
    Step.BINARY: [
        Field("kind", NUMBER, 0, max(Binary)),
        Field("a", PLAIN), Field("b", PLAIN), Field("out", TARGET),
        Field("axes", AXES, high=3),
    ],
    Step.REDUCE: [
        *_numbers("maximum floor_zero", (0, 1)), *_UNARY,
        Field("kept", AXES, high=1), Field("reduced", AXES, high=1),
    ],
    Step.TAKE: [
        Field("data", PLAIN), Field("index", PLAIN), Field("out", TARGET),
        *_numbers("outer size inner", _DIM),
    ],
    Step.DENSE_BYTES: [
        Field("x", PLAIN), Field("weight", WEIGHTS), Field("bias", OPTIONAL_PLAIN),
        Field("out", TARGET), *_numbers("rows inner units", _DIM),
    ],
    Step.CHAIN: [
        Field("rows", NUMBER, 1, _REACH), Field("inner", NUMBER, 1, MOST_INNER),
        Field("links", LINKS),
    ],
    Step.WHERE: [
        Field("condition", PLAIN), Field("x", PLAIN), Field("y", PLAIN), Field("out", TARGET),
        Field("row", NUMBER, *_DIM), Field("whole", NUMBER, 0, _DIM[1]),
        Field("mask", NUMBER, 0, (1 << 32) - 1),
    ],
    Step.DENSE: [
        Field("x", PLAIN), Field("weight", PLAIN), Field("bias", OPTIONAL_PLAIN),
        Field("out", TARGET), *_numbers("rows inner units", _DIM),
    ],
    Step.CONV: [
        Field("x", PLAIN), Field("weight", PLAIN), Field("bias", OPTIONAL_PLAIN),
        Field("out", TARGET), *_WINDOW_FIELDS, *_numbers("outputs groups", _DIM),
    ],
    Step.MAX_POOL: [*_UNARY, *_WINDOW_FIELDS],
    Step.VALID_COUNTS: [
        Field("x", PLAIN), Field("counts", TARGET), Field("rows", TARGET),
        *_numbers("batch count", _DIM), Field("width", NUMBER, 2, 31), Field("threshold"),
    ],
    Step.SUPPRESS: [
        Field("x", PLAIN), Field("counts", PLAIN), Field("out", TARGET), Field("order", TARGET),
        Field("batch", NUMBER, *_DIM), Field("count", NUMBER, 1, INT32_MAX), *_SUPPRESSION,
    ],
    Step.SELECT: [
        *_COLUMNS, Field("out", TARGET), Field("order", TARGET),
        Field("count", NUMBER, 1, INT32_MAX), Field("rows", NUMBER, 1, INT32_MAX),
        Field("threshold"), *_SUPPRESSION,
    ],
    Step.TO_IMAGE: [Field("x", PLAIN), Field("out", INTO)],
    Step.CONV_IMAGE: [
        Field("image", IMAGE), Field("weight", WEIGHTS), Field("bias", OPTIONAL_CONSTANT),
        *_numbers("batch height width channels kernel_h kernel_w", _DIM),
        *_numbers("stride_h stride_w", _WINDOW),
        *_numbers("pad_h pad_w", (0, 4096)),
        *_numbers("dilation_h dilation_w", _WINDOW),
        *_numbers("groups", _DIM),
        Field("code", CODE),
    ],
    Step.POINTWISE: [*_numbers("batch height width channels", _DIM), Field("code", CODE)],
    Step.POOL_IMAGE: [
        Field("x", IMAGE), Field("out", INTO),
        *_numbers("kernel_h kernel_w", _DIM),
        *_numbers("stride_h stride_w", _WINDOW), *_numbers("pad_h pad_w", (0, 4096)),
    ],
    Step.COPY_IMAGE: [Field("x", IMAGE), Field("out", INTO), Field("scale", NUMBER, *_WINDOW)],
    Step.HALO: [Field("out", INTO), Field("codes", CONSTANT)],
    Step.CONV_ROWS: [
        Field("image", IMAGE), Field("weight", WEIGHTS), Field("bias", OPTIONAL_CONSTANT),
        Field("index", PLAIN), Field("out", TARGET), Field("first", NUMBER, 0, _DIM[1]),
        *_numbers("size count channels", _DIM), Field("code", CODE),
    ],
}  # fmt: skip

TILES: dict[IntEnum, Sequence[Field]] = {
    Tile.REQUANT: [
        Field("clip", NUMBER, 0, 1), Field("clip_lo"), Field("clip_hi"),
        Field("mul", OPTIONAL_CONSTANT), Field("shift", NUMBER, 0, 32),
        Field("carry_free", NUMBER, 0, 1), Field("rounding", CONSTANT), *_CLAMP,
        Field("offset", OPTIONAL_CONSTANT),
    ],
    Tile.LOAD: [Field("image", IMAGE)],
    Tile.CLAMP: [*_CLAMP],
    Tile.MAX_CONSTANT: [Field("values", CONSTANT)],
    Tile.ADD: [],
    Tile.SUB: [],
    Tile.MUL: [],
    Tile.MAX: [],
    Tile.LOOKUP: [Field("table", CONSTANT)],
    Tile.STORE: [Field("image", INTO)],
    Tile.LOOKUP_STORE: [Field("table", CONSTANT), Field("image", INTO)],
    Tile.SCATTER: [
        Field("target", TARGET), Field("offsets", CONSTANT),
        *_numbers("image_stride row_stride pixel_stride", (0, _REACH)),
    ],
}  # fmt: skip

_COLUMN = Field("column", NUMBER, 0, 1)
LINK_FIELDS: dict[IntEnum, Sequence[Field]] = {
    Link.INPUT: [Field("x", PLAIN), _COLUMN],
    Link.OUTPUT: [Field("out", TARGET), _COLUMN],
    Link.GATHER: [Field("x", PLAIN), _COLUMN, Field("axes", AXES, high=1)],
    Link.UNARY: [Field("kind", NUMBER, 0, max(Unary)), *_CLAMP, Field("shift", NUMBER, 0, 32)],
    Link.BINARY: [Field("kind", NUMBER, 0, max(Binary))],
    Link.SCALAR: [
        Field("kind", NUMBER, 0, max(Binary)), Field("value"), Field("swapped", NUMBER, 0, 1),
    ],
    Link.LOOKUP: [Field("table", PLAIN)],
    Link.REDUCE: [Field("maximum", NUMBER, 0, 1), Field("least")],
    Link.SPREAD: [],
}  # fmt: skip

#: Programs of steps: the fields of their operations.
PROGRAMS: Mapping[str, Mapping[IntEnum, Sequence[Field]]] = {CODE: TILES, LINKS: LINK_FIELDS}

#: What a tensor is described by, after its storage: see native/plan.cpp.
TENSOR_WORDS = 15


def _fingerprint() -> int:
    """56 bits of a hash over the whole table."""
    text = repr(
        [VERSION, REGISTERS, MOST_OPERATIONS, ALIGNMENT, MOST_AXES, TENSOR_WORDS]
        + [LINK_REGISTERS, MOST_LINKS, MOST_INNER]
        + [[(e.name, e.value) for e in kinds] for kinds in (Storage, DType, Unary, Binary)]
        + [
            (e.name, e.value, fields)
            for t in (STEPS, TILES, LINK_FIELDS)
            for e, fields in t.items()
        ]
    )
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


FINGERPRINT = _fingerprint()

# --- the C++ side ------------------------------------------------------------------------------

_NOTE = "// Written by yolo_cvm/engine/format.py when the library is compiled: change that.\n"


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _enum(declaration: str, members: type[IntEnum]) -> str:
    rows = "".join(f"  k{_camel(m.name)} = {m.value},\n" for m in members)
    return f"enum {declaration} {{\n{rows}}};\n"


def header() -> str:
    """format.h: enumerations and sizes, plain data that every source may include."""
    parts = [
        _NOTE,
        "#pragma once\n#include <stdint.h>\n\nnamespace cvm {\n\n",
        f"constexpr int64_t kFingerprint = {FINGERPRINT};\n",
        f"constexpr int kTileRegisters = {REGISTERS};\n",
        f"constexpr int kMaxOps = {MOST_OPERATIONS};\n",
        f"constexpr int64_t kAlign = {ALIGNMENT};\n",
        f"constexpr int kMaxAxes = {MOST_AXES};\n",
        f"constexpr int kLinkRegisters = {LINK_REGISTERS};\n",
        f"constexpr int64_t kMostLinks = {MOST_LINKS};\n",
        f"constexpr int64_t kMostInner = {MOST_INNER};\n\n",
        _enum("class Storage : int64_t", Storage),
        _enum("DType : int32_t", DType),
        _enum("class UnaryKind : int32_t", Unary),
        _enum("class BinaryKind : int32_t", Binary),
        _enum("TileKind : int32_t", Tile),
        f"constexpr int32_t kLastTile = {max(Tile)};\n",
        _enum("class LinkKind : int32_t", Link),
        f"constexpr LinkKind kLastLink = LinkKind::k{_camel(max(Link).name)};\n",
        "\n}  // namespace cvm\n",
    ]
    return "".join(parts)


_READERS = {
    PLAIN: ("Tensor", "p.plain(w.next())"),
    OPTIONAL_PLAIN: ("std::optional<Tensor>", "p.optional_plain(w.next())"),
    TARGET: ("Tensor", "p.target(w.next())"),
    IMAGE: ("Tensor", "p.image(w.next())"),
    INTO: ("Tensor", "p.image(w.next())"),
    CONSTANT: ("Constant", "p.constant(w.next())"),
    OPTIONAL_CONSTANT: ("Constant", "p.optional_constant(w.next())"),
    WEIGHTS: ("Weights", "p.weights_of(w.next())"),
}


def _member(field: Field) -> tuple[str, str]:
    """C++ type of a field and the expression that reads it."""
    if field.kind == AXES:
        return "std::vector<Axis>", f"read_axes(w, {field.high})"
    if field.kind != NUMBER:
        return _READERS[field.kind]
    low = "INT32_MIN" if field.low == INT32_MIN else str(field.low)
    kind = "int32_t" if field.low == INT32_MIN or field.high <= 64 else "int64_t"
    return kind, f"({kind})w.next({low}, {field.high})"


def _struct(name: str, fields: Sequence[Field]) -> str:
    read = [(field.name, *_member(field)) for field in fields if field.kind not in PROGRAMS]
    members = "".join(f"  {kind} {member};\n" for member, kind, _ in read)
    calls = ",\n        ".join(f"{member}({reader})" for member, _, reader in read)
    start = f" :\n        {calls}" if read else ""
    return (
        f"struct {name} {{\n{members}"
        f"  {name}(Words& w, const Plan& p){start} {{\n    (void)w, (void)p;\n  }}\n}};\n"
    )


def fields_header() -> str:
    """format_fields.h: one struct per step and tile operation that reads its fields by name."""
    parts = [_NOTE, "#pragma once\n\nnamespace cvm {\n\n"]
    parts += [_struct(f"{_camel(step.name)}Fields", fields) for step, fields in STEPS.items()]
    parts += [_struct(f"Tile{_camel(tile.name)}Fields", fields) for tile, fields in TILES.items()]
    parts += [_struct(f"Link{_camel(k.name)}Fields", fields) for k, fields in LINK_FIELDS.items()]
    names = [(step, step.name.lower()) for step in STEPS]
    parts += [f"std::unique_ptr<Step> make_{name}(Words&, const Plan&);\n" for _, name in names]
    cases = "".join(f"    case {step.value}: return make_{name}(w, p);\n" for step, name in names)
    parts.append(
        "\ninline std::unique_ptr<Step> make_step(int64_t kind, Words& w, const Plan& p) {\n"
        f"  switch (kind) {{\n{cases}  }}\n"
        '  throw PlanError("unknown step");\n}\n'
    )
    views = [t for t, fields in TILES.items() if any(f.kind in TENSORS for f in fields)]
    tests = " || ".join(f"kind == k{_camel(tile.name)}" for tile in views)
    parts.append(f"\ninline bool has_view(int32_t kind) {{ return {tests}; }}\n")
    parts.append("\n}  // namespace cvm\n")
    return "".join(parts)
