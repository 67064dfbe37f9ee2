"""The file cases of our own vectors: one broken field each, and the sloppy files to accept.

Every case starts from one small sound model and changes one thing.
"""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.graph import GraphBuilder
from yolo_core.graph.files import params, symbol


@dataclass(frozen=True)
class FileCase:
    """The bytes of a model, its input, and what it returns; output None: to be refused.

    codes: the original's answers when it is asked for gas and when it loads (0 success, 1 logic
    error, 2 runtime fault), where they were measured on it.
    """

    symbol: bytes
    params: bytes
    data: np.ndarray
    output: np.ndarray | None
    note: str
    codes: tuple[int, int] | None


DATA = np.array([[[[1, -2], [3, -4]]]], np.int8)
OUTPUT = np.array([[[[2, 0], [6, 0]], [[0, 5], [0, 9]]]], np.int32)
WEIGHT = np.array([2, -2]).reshape(2, 1, 1, 1)
BIAS = np.array([0, 1])


def model() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """relu(conv2d(data, weight, bias)): the symbol as plain data, and the parameters."""
    builder = GraphBuilder()
    data = builder.input("data", (1, 1, 2, 2), 8)
    weight = builder.parameter("weight", WEIGHT, 3)
    bias = builder.parameter("bias", BIAS, 4)
    conv = builder.operator("conv2d", [data, weight, bias], channels=2, kernel_size=(1, 1))
    graph = builder.build([builder.operator("relu", [conv])])
    arrays = {"weight": WEIGHT.astype(np.int8), "bias": BIAS.astype(np.int8)}
    return json.loads(symbol.encode(graph)), arrays


FILES: dict[str, Callable[[], FileCase]] = {}


def _case(
    name: str,
    note: str,
    change: Callable[[dict[str, Any], dict[str, np.ndarray]], None] = lambda s, p: None,
    text: Callable[[bytes], bytes] = lambda data: data,
    blob: Callable[[bytes], bytes] = lambda data: data,
    output: np.ndarray | None = None,
    codes: tuple[int, int] | None = None,
) -> None:
    def make() -> FileCase:
        document, arrays = model()
        document = copy.deepcopy(document)
        change(document, arrays)
        coded = json.dumps(document, separators=(",", ":")).encode("ascii")
        return FileCase(text(coded), blob(params.encode_arrays(arrays)), DATA, output, note, codes)

    FILES[name] = make


def _set(*path: Any) -> Callable[[dict[str, Any], dict[str, np.ndarray]], None]:
    """A change of one field: keys and indices, then the new value."""

    def change(document: Any, arrays: dict[str, np.ndarray]) -> None:
        *keys, last, value = path
        for key in keys:
            document = document[key]
        document[last] = value

    return change


def _drop(*path: Any) -> Callable[[dict[str, Any], dict[str, np.ndarray]], None]:
    def change(document: Any, arrays: dict[str, np.ndarray]) -> None:
        *keys, last = path
        for key in keys:
            document = document[key]
        del document[last]

    return change


def _array(name: str, value: np.ndarray) -> Callable[[Any, dict[str, np.ndarray]], None]:
    def change(document: Any, arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = value

    return change


def _attributes(**changed: str) -> Callable[[dict[str, Any], dict[str, np.ndarray]], None]:
    """A change of attributes of the convolution."""

    def change(document: Any, arrays: dict[str, np.ndarray]) -> None:
        texts = document["attrs"]["op_attrs"][1]
        texts[3] = json.dumps({**json.loads(texts[3]), **changed})

    return change


def _last(op: str, **attributes: str) -> Callable[[dict[str, Any], dict[str, np.ndarray]], None]:
    """Another operator in the place of relu."""

    def change(document: Any, arrays: dict[str, np.ndarray]) -> None:
        document["nodes"][4]["attrs"]["func_name"] = op
        document["attrs"]["op_attrs"][1][4] = json.dumps(attributes)

    return change


_SHAPE = ("attrs", "shape", 1)
_STORAGE = ("attrs", "storage_id", 1)

# Ids, indices, heads, order.
_case(
    "head_nowhere",
    "head of a node that is not there; it has a gas",
    _set("heads", [[99, 0, 0]]),
    codes=(0, 1),
)
_case("head_no_output", "head of an output that is not there", _set("heads", [[4, 1, 0]]))
_case("heads_empty", "no output at all", _set("heads", []))
_case(
    "data_missing",
    "no variable called data; it has a gas",
    _set("nodes", 0, "name", "input"),
    codes=(0, 2),
)
_case(
    "operand_nowhere",
    "operand of a node that is not there",
    _set("nodes", 4, "inputs", [[99, 0, 0]]),
)
_case(
    "operand_no_output",
    "operand of an output that is not there",
    _set("nodes", 4, "inputs", [[3, 1, 0]]),
)
_case("operand_itself", "a node that reads itself", _set("nodes", 4, "inputs", [[4, 0, 0]]))
_case("cycle", "two nodes that read each other", _set("nodes", 3, "inputs", 0, [4, 0, 0]))
_case("operand_negative", "a negative node number", _set("nodes", 4, "inputs", [[-1, 0, 0]]))
_case("operand_four_numbers", "an entry of four", _set("nodes", 4, "inputs", [[3, 0, 0, 0]]))
_case("arity", "a missing operand", _set("nodes", 3, "inputs", [[0, 0, 0], [1, 0, 0]]))
_case("variable_twice", "two variables of one name", _set("nodes", 2, "name", "weight"))
_case("arg_nodes_wrong", "arg_nodes names an operator", _set("arg_nodes", [0, 1, 3]))
_case("arg_nodes_missing", "version 1.0.0 requires it", _drop("arg_nodes"))
_case("row_ptr_missing", "version 1.0.0 requires it", _drop("node_row_ptr"))
_case(
    "alias_operator",
    "an alias of the registry is no operator",
    _set("nodes", 4, "attrs", "func_name", "nn.relu"),
)
_case("operator_unknown", "an operator that is none", _last("broadcast_min"), codes=(2, 2))
_case("version_unknown", "a version of its own", _set("version", "cvm_1.2.0"), codes=(2, 2))
_case(
    "faults_of_both_kinds",
    "an unknown operator counts before a wrong shape of an earlier node",
    lambda s, p: (_last("pad")(s, p), _set(*_SHAPE, 3, [1, 2, 4, 1])(s, p)),
)
_case(
    "counter_in_name",
    "one trailing _0 is dropped from func_name",
    _set("nodes", 4, "attrs", "func_name", "relu_7"),
    output=OUTPUT,
)

# Shapes, precisions, attributes.
_case(
    "conv2d_weight_shape",
    "weights that disagree with the attributes",
    lambda s, p: (
        _set(*_SHAPE, 1, [2, 1, 1, 2])(s, p),
        p.update(weight=np.ones((2, 1, 1, 2), np.int8)),
    ),
)
_case("conv2d_channels", "channels that disagree with the weights", _attributes(channels="3"))
_case("conv2d_groups_zero", "no groups", _attributes(groups="0"))
_case("conv2d_dilation_huge", "a dilation beyond the range", _attributes(dilation="(5000, 1)"))
_case(
    "attribute_number",
    "an attribute that is no string",
    _set("attrs", "op_attrs", 1, 3, '{"channels": 2, "kernel_size": "(1, 1)"}'),
)
_case(
    "attribute_twice",
    "a key twice",
    _set("attrs", "op_attrs", 1, 3, '{"channels": "2", "channels": "2", "kernel_size": "(1, 1)"}'),
)
_case(
    "attribute_hidden",
    "a key of the form __x__ is tolerated",
    _attributes(__shape__="(1, 2, 2, 2)"),
    output=OUTPUT,
)
for _precision, _shift in (("0", "1"), ("8", "33"), ("8", "-1")):
    _case(
        f"cvm_right_shift_{_precision}_{_shift}",
        "a precision or a distance outside 1..32",
        _last("cvm_right_shift", precision=_precision, shift_bit=_shift),
        codes=(1, 1),
    )
_case(
    "cvm_left_shift_8_33",
    "a distance of 33",
    _last("cvm_left_shift", precision="8", shift_bit="33"),
)
_case("cvm_clip_0", "a precision of 0", _last("cvm_clip", precision="0"), codes=(1, 1))
_case("repeat_0", "no repetition", _last("repeat", repeats="0"), codes=(1, 1))
_case("tile_default", "tile without reps", _last("tile"), codes=(1, 1))
_case("conv2d_unknown", "an unknown attribute", _attributes(colour="1"), codes=(2, 2))
_case("shape_zero", "a dimension of 0", _set(*_SHAPE, 0, [1, 1, 0, 2]))
_case("shape_huge", "2^31 elements", _set(*_SHAPE, 0, [2**24, 2**7, 1, 1]))
_case("shape_wrong", "a result of another shape", _set(*_SHAPE, 4, [1, 2, 4, 1]))
_case("precision_33", "a precision of 33", _set("attrs", "precision", 1, 0, 33))
_case("precision_unknown", "a variable of precision -1", _set("attrs", "precision", 1, 1, -1))
_case(
    "precision_stated",
    "what the file says of a result is only checked to be 1..32",
    _set("attrs", "precision", 1, 4, 2),
    output=OUTPUT,
)
_case("device_index", "a device list", _set("attrs", "device_index", ["list_int", [1]]))

# Storage.
_case(
    "storage_huge",
    "an id of 2^31 - 1, for which the original allocates 32 GiB",
    _set(*_STORAGE, 3, 2**31 - 1),
)
_case("storage_sparse", "ids need not be dense", _set(*_STORAGE, 3, 1000), output=OUTPUT)
_case("storage_negative", "a negative id", _set(*_STORAGE, 3, -1))
_case("storage_parameter", "a result over a parameter", _set(*_STORAGE, 4, 3))
_case("storage_operand", "a convolution over its own input", _set(*_STORAGE, 3, 2))
_case("storage_in_place", "relu may write over its operand", _set(*_STORAGE, 4, 0), output=OUTPUT)
_case("storage_two_parameters", "two parameters in one storage", _set(*_STORAGE, 2, 3))

# The text.
_case("json_truncated", "ends within", text=lambda data: data[:-20])
_case("json_unclosed", "the last brace is missing", text=lambda data: data[:-1])
_case(
    "json_trailing",
    "text after the end: only with --compat",
    text=lambda data: data + b"{}",
    output=OUTPUT,
)
_case(
    "json_key_twice",
    "a top-level key twice",
    text=lambda data: data[:-1] + b',"version":"cvm_1.0.0"}',
)
_case(
    "json_float",
    "a number that is no integer",
    text=lambda data: data.replace(b'"heads":[[4,0,0]]', b'"heads":[[4.0,0,0]]'),
)
_case(
    "json_escape",
    "an escape that the original does not know",
    text=lambda data: data.replace(b'"weight"', b'"w\\u0065ight"'),
)
_case("json_nan", "NaN", text=lambda data: data.replace(b'"version"', b'"version":NaN,"x"'))
_case(
    "json_nested",
    "brackets in brackets",
    text=lambda data: data.replace(b'"heads":[[4,0,0]]', b'"heads":' + b"[" * 5000 + b"]" * 5000),
)
_case("json_bom", "a byte order mark", text=lambda data: b"\xef\xbb\xbf" + data)
_case("json_bytes", "no UTF-8 in a name", text=lambda data: data.replace(b'"weight"', b'"w\xff"'))

# The parameters.
_case(
    "param_beyond_precision",
    "a value beyond its precision",
    _array("weight", (WEIGHT * 4).astype(np.int8)),
)
_case(
    "param_minimum",
    "-4 is no value of 3 bits",
    _array("weight", np.array([-4, 2], np.int8).reshape(2, 1, 1, 1)),
)
_case("param_shape", "another shape", _array("bias", np.array([[0], [1]], np.int8)))
_case("param_missing", "one is missing", lambda s, p: p.pop("bias"))
_case("param_unknown", "one too many", _array("other", BIAS.astype(np.int8)))
_case(
    "param_wide",
    "int32 where int8 would do",
    _array("weight", WEIGHT.astype(np.int32)),
    output=OUTPUT,
)
_case("params_empty", "no file", blob=lambda data: b"")
_case("params_truncated", "the last byte is missing", blob=lambda data: data[:-1])
_case(
    "params_many_names",
    "2^60 names",
    blob=lambda data: data[:16] + struct.pack("<Q", 2**60) + data[24:],
)
_case(
    "params_long_name",
    "a name of 2^60 bytes",
    blob=lambda data: data[:24] + struct.pack("<Q", 2**60) + data[32:],
)
_case(
    "params_count",
    "more arrays than names",
    blob=lambda data: data.replace(struct.pack("<Q", 2), struct.pack("<Q", 3)).replace(
        struct.pack("<Q", 3), struct.pack("<Q", 2), 1
    ),
)
_case(
    "params_device",
    "another device",
    blob=lambda data: data.replace(struct.pack("<ii", 1, 0), struct.pack("<ii", 40, 0), 1),
)
_case(
    "params_negative_ndim",
    "-1 dimensions",
    blob=lambda data: data.replace(
        struct.pack("<iiiBB", 1, 0, 4, 0, 8), struct.pack("<iiiBB", 1, 0, -1, 0, 8), 1
    ),
)
_case(
    "params_trailing",
    "bytes after the end: only with --compat",
    blob=lambda data: data + b"more",
    output=OUTPUT,
)
_case(
    "params_twice",
    "a name twice: only with --compat, the last wins",
    output=OUTPUT,
    blob=lambda data: _pair("weight", "weight", "bias"),
)
_case(
    "params_data",
    "a parameter called data: only with --compat, ignored",
    _array("data", np.full(DATA.shape, 9, np.int8)),
    output=OUTPUT,
)


def _pair(*names: str) -> bytes:
    """A params file of these names in this order; all but the last of a name hold zeros."""
    known = {"weight": WEIGHT.astype(np.int8), "bias": BIAS.astype(np.int8)}
    plain = params.encode_arrays({f"{k}{name}": known[name] for k, name in enumerate(names)})
    for k, name in enumerate(names):
        numbered, wanted = f"{k}{name}".encode("ascii"), name.encode("ascii")
        plain = plain.replace(
            struct.pack("<Q", len(numbered)) + numbered, struct.pack("<Q", len(wanted)) + wanted
        )
    first = plain.index(WEIGHT.astype(np.int8).tobytes())
    return plain[:first] + bytes(WEIGHT.size) + plain[first + WEIGHT.size :]
