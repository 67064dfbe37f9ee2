"""The hostile models: name to the bytes of symbol and params. See README.md."""

from __future__ import annotations

import json
import struct
from typing import Any, Callable

import numpy as np

from yolo_core.graph import GraphBuilder
from yolo_core.graph.files import params, symbol

MIB = 2**20
#: Just below what the symbol reader accepts.
LARGE = 15 * MIB

Files = tuple[bytes, bytes]


def sound() -> Files:
    """A small model that loads; attacks change it."""
    builder = GraphBuilder()
    data = builder.input("data", (1, 2, 4, 4), 8)
    weight = builder.parameter("weight", np.arange(-9, 9).reshape(1, 2, 3, 3), 8)
    conv = builder.operator(
        "conv2d", [data, weight], channels=1, kernel_size=(3, 3), use_bias=False
    )
    graph = builder.build([builder.operator("relu", [conv])])
    return symbol.encode(graph), params.encode(graph)


def _symbol(text: bytes) -> Files:
    return text, sound()[1]


def _document(change: Callable[[dict[str, Any]], None]) -> Files:
    document = json.loads(sound()[0])
    change(document)
    return json.dumps(document).encode("ascii"), sound()[1]


def _filled(head: bytes, item: bytes, tail: bytes = b"") -> Files:
    """A symbol of LARGE bytes: head, then item after item."""
    return _symbol(head + item * ((LARGE - len(head) - len(tail)) // len(item)) + tail)


def _attrs(key: str, value: object) -> Files:
    return _document(lambda d: d["attrs"][key].__setitem__(1, value))


def _conv(**changed: str) -> Files:
    def change(document: dict[str, Any]) -> None:
        texts = document["attrs"]["op_attrs"][1]
        texts[2] = json.dumps({**json.loads(texts[2]), **changed})

    return _document(change)


def _params(blob: bytes) -> Files:
    return sound()[0], blob


def _chain(operators: int, op: str, shape: list[int], **attributes: str) -> Files:
    """A long chain of one operator on a tensor of one shape, each in its own storage."""
    nodes: list[dict[str, Any]] = [{"op": "null", "name": "data", "inputs": []}]
    for k in range(operators):
        nodes.append(
            {"op": "cvm_op", "name": f"n{k}", "inputs": [[k, 0, 0]], "attrs": {"func_name": op}}
        )
    count = operators + 1
    text = json.dumps(attributes)
    return json.dumps(
        {
            "nodes": nodes,
            "arg_nodes": [0],
            "node_row_ptr": list(range(count + 1)),
            "heads": [[operators, 0, 0]],
            "version": "cvm_1.0.0",
            "attrs": {
                "shape": ["list_shape", [shape] * count],
                "storage_id": ["list_int", list(range(count))],
                "dltype": ["list_str", ["int32"] * count],
                "precision": ["list_int", [8] + [-1] * operators],
                "op_attrs": ["list_str", ["{}"] + [text] * operators],
            },
        }
    ).encode("ascii"), (params.encode_arrays({}))


_LIST = struct.pack("<QQ", params.LIST_MAGIC, 0)

ATTACKS: dict[str, Callable[[], Files]] = {
    # Text that is large, deep or endless.
    "brackets_64_mb": lambda: _symbol(b"[" * (64 * MIB)),
    "braces_64_mb": lambda: _symbol(b'{"a":' * (64 * MIB // 5)),
    "brackets_at_the_limit": lambda: _filled(b"", b"["),
    "brackets_in_nodes": lambda: _filled(b'{"nodes":', b"["),
    "empty_lists_in_nodes": lambda: _filled(b'{"nodes":[[]', b",[]"),
    "lists_in_one_node": lambda: _filled(
        b'{"nodes":[{"op":"null","name":"data","inputs":[[0]', b",[0]"
    ),
    "numbers_in_heads": lambda: _filled(b'{"heads":[[0,0,0]', b",[0,0,0]"),
    "zeros_in_row_ptr": lambda: _filled(b'{"node_row_ptr":[0', b",0"),
    "many_nodes": lambda: _filled(
        b'{"nodes":[{"op":"null","name":"a","inputs":[]}', b',{"op":"null","name":"a","inputs":[]}'
    ),
    "many_operands": lambda: _filled(
        b'{"nodes":[', b'{"op":"null","name":"a","inputs":[' + b"[0,0]," * 9000 + b"[0,0]]},"
    ),
    "many_strings": lambda: _filled(b'{"attrs":{"op_attrs":["list_str",["a"', b',"a"'),
    "many_shapes": lambda: _filled(b'{"attrs":{"shape":["list_shape",[[1]', b",[1]"),
    "many_keys": lambda: _symbol(
        b'{"attrs":{' + b",".join(b'"k%d":0' % k for k in range(10**6)) + b"}}"
    ),
    "long_name": lambda: _filled(b'{"nodes":[{"op":"null","name":"', b"a", b'","inputs":[]}]}'),
    "long_number": lambda: _filled(b'{"heads":[[', b"9", b",0]]}"),
    "digits_below_the_element_limit": lambda: _symbol(
        b'{"heads":[' + b",".join([b"[" + b"9" * 60000 + b",0]"] * 200) + b"]}"
    ),
    "blanks": lambda: _filled(b"", b" "),
    "escapes": lambda: _filled(b'{"version":"', b'\\"', b'"}'),
    "zero_bytes": lambda: _symbol(bytes(LARGE)),
    # Fields that claim what is not so.
    "storage_id_2_31": lambda: _attrs("storage_id", [0, 1, 2, 2**31]),
    "storage_pool_beyond_2_32": lambda: _chain(5, "relu", [2**10, 2**20]),
    "shape_of_2_60": lambda: _attrs("shape", [[2**20, 2**20, 2**20, 1]] * 4),
    "shape_negative": lambda: _attrs("shape", [[-1, 2, 4, 4]] * 4),
    "weights_disagree": lambda: _conv(kernel_size="(4096, 4096)", padding="(4096, 4096)"),
    "channels_2_31": lambda: _conv(channels="2147483647"),
    "groups_negative": lambda: _conv(groups="-2147483648"),
    "tuple_of_many": lambda: _conv(kernel_size="(" + "1," * 30000 + ")"),
    "tuple_of_brackets": lambda: _conv(kernel_size="(" * 60000),
    "head_nowhere": lambda: _document(lambda d: d.update(heads=[[2**31 - 1, 0, 0]])),
    "operand_cycle": lambda: _document(lambda d: d["nodes"][2].update(inputs=[[3, 0], [1, 0]])),
    "gas_beyond_2_40": lambda: _chain(
        2, "max_pool2d", [1, 1, 2**14, 2**14], pool_size="(4095, 4095)", padding="(2047, 2047)"
    ),
    # Parameters that claim what is not there.
    "names_2_60": lambda: _params(_LIST + struct.pack("<Q", 2**60)),
    "names_one_million": lambda: _params(_LIST + struct.pack("<Q", 10**6) + bytes(16 * 10**6)),
    "name_of_2_63": lambda: _params(_LIST + struct.pack("<QQ", 1, 2**63)),
    "params_of_64_mb": lambda: _params(sound()[1] + bytes(64 * MIB)),
    "params_of_zeros": lambda: _params(bytes(64 * MIB)),
    "params_dims_of_2_62": lambda: _params(
        sound()[1].replace(struct.pack("<q", 3), struct.pack("<q", 2**62))
    ),
    "params_size_negative": lambda: _params(
        sound()[1].replace(struct.pack("<q", 18), struct.pack("<q", -18))
    ),
    "params_ndim_2_31": lambda: _params(
        sound()[1].replace(struct.pack("<iB", 4, 0), struct.pack("<iB", 2**31 - 1, 0))
    ),
    "param_beyond_precision": lambda: _params(sound()[1][:-1] + b"\x80"),
    "params_cut": lambda: _params(sound()[1][:-1]),
}
