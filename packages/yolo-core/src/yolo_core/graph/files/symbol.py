"""The symbol file: JSON text to a declaration and back.

Read by hand: the files come from strangers, and what is accepted is a matter of consensus.

Source: spec 1. Reading is strict and bounded; writing gives version cvm_1.0.0 with every field
that the original's own compiler writes.
"""

from __future__ import annotations

import json
import re
from typing import Any

from yolo_core.graph.errors import LogicError, RuntimeFault
from yolo_core.graph.files.declaration import VERSION_1_0, Declaration, DeclaredNode
from yolo_core.graph.files.json_reader import JsonReader, utf8
from yolo_core.graph.integers import Shape
from yolo_core.graph.limits import Limits
from yolo_core.graph.program import Entry, Graph, Node

SOURCE = "symbol"

_REQUIRED = ("nodes", "heads", "attrs")
_LISTS = {
    "shape": "list_shape",
    "storage_id": "list_int",
    "op_attrs": "list_str",
    "precision": "list_int",
    "dltype": "list_str",
    "device_index": "list_int",
    "dtype": "list_int",
}
_REQUIRED_LISTS = ("shape", "storage_id", "op_attrs", "precision")
_NODE_ATTRS = ("func_name", "num_inputs", "num_outputs", "op_attrs", "flatten_data")
_COUNTER = re.compile(r"_[0-9]+\Z")
_MAX_INDEX = 2**31 - 1
_POSTPROCESS_LENGTH = 32
# The original keeps 16 bytes per storage id up to the largest, so a huge one stops it there.
_MAX_STORAGE_ID = 2**20 - 1


def decode(data: bytes, limits: Limits | None = None, compat: bool = False) -> Declaration:
    """The declaration in the bytes of a symbol file.

    compat: ignore text after the closing brace. Raises LogicError or RuntimeFault (spec 1.1)
    naming the field; nothing is allocated in proportion to a number that the file merely claims.
    """
    limits = limits or Limits()
    if len(data) > limits.symbol_bytes:
        raise RuntimeFault(SOURCE, f"{len(data)} bytes", f"at most {limits.symbol_bytes}")
    reader = JsonReader(data.decode("latin-1"), SOURCE, limits.element_bytes)
    found: dict[str, Any] = {}
    for key in reader.members():
        found[key] = _top(reader, key, limits)
    if not compat:
        reader.end()
    for key in _REQUIRED:
        if key not in found:
            raise LogicError(SOURCE, f"no {key!r}")
    lists = found["attrs"]
    return Declaration(
        found["nodes"],
        found["heads"],
        lists["shape"],
        lists["storage_id"],
        lists["precision"],
        lists["op_attrs"],
        lists.get("dltype"),
        found.get("node_row_ptr"),
        found.get("arg_nodes"),
        found.get("version", VERSION_1_0),
        found.get("postprocess", ""),
    )


def _top(reader: JsonReader, key: str, limits: Limits) -> Any:
    """The value of one top-level key."""
    if key == "nodes":
        return _nodes(reader, limits)
    if key == "heads":
        return tuple(
            _entry(reader.value("a head"), f"head {n}") for n in _bounded(reader, limits.nodes, key)
        )
    if key in ("arg_nodes", "node_row_ptr"):
        return tuple(
            _index(reader.value(key), f"{key} {n}") for n in _bounded(reader, 2 * limits.nodes, key)
        )
    if key == "attrs":
        return _lists(reader, limits)
    if key == "version":
        version = reader.value(key)
        if not isinstance(version, str):
            raise RuntimeFault(key, "not a string")
        return version
    if key == "postprocess":
        word = reader.value(key)
        if not isinstance(word, str) or len(word) > _POSTPROCESS_LENGTH:
            raise RuntimeFault(key, "not a short string", f"at most {_POSTPROCESS_LENGTH} bytes")
        return utf8(word, key)
    raise RuntimeFault(SOURCE, f"unknown key {key[:60]!r}")


def _bounded(reader: JsonReader, most: int, what: str) -> Any:
    for number in reader.items():
        if number >= most:
            raise RuntimeFault(what, f"more than {most} items")
        yield number


def _nodes(reader: JsonReader, limits: Limits) -> tuple[DeclaredNode, ...]:
    nodes: list[DeclaredNode] = []
    operands = 0
    for number in _bounded(reader, limits.nodes, "nodes"):
        node = _node(reader.value(f"node {number}"), f"node {number}")
        operands += len(node.inputs)
        if operands > limits.operands:
            raise RuntimeFault("nodes", f"more than {limits.operands} operands")
        nodes.append(node)
    return tuple(nodes)


def _node(value: Any, place: str) -> DeclaredNode:
    if not isinstance(value, dict):
        raise RuntimeFault(place, "not an object")
    for key in value:
        if key not in ("op", "name", "inputs", "attrs", "precision"):
            raise RuntimeFault(place, f"unknown key {key[:60]!r}")
    for key in ("op", "name", "inputs"):
        if key not in value:
            raise LogicError(place, f"no {key!r}")
    if not isinstance(value["name"], str):
        raise RuntimeFault(f"{place}: name", "not a string")
    name = utf8(value["name"], place)
    place = f"{place} {name[:60]!r}"
    if not isinstance(value["inputs"], list):
        raise RuntimeFault(f"{place}: inputs", "not an array")
    inputs = tuple(_entry(item, f"{place}: operand {n}") for n, item in enumerate(value["inputs"]))
    if "precision" in value:
        _integer(value["precision"], f"{place}: precision")
    function = _function(value.get("attrs"), place)
    if value["op"] == "null":
        return DeclaredNode(name, None, inputs)
    if value["op"] != "cvm_op":
        raise LogicError(f"{place}: op", f"{str(value['op'])[:60]!r}", "null or cvm_op")
    if function is None:
        raise LogicError(f"{place}: attrs", "missing", "an object with func_name")
    return DeclaredNode(name, _COUNTER.sub("", function), inputs)


def _function(attrs: Any, place: str) -> str | None:
    """func_name of a node's attrs; None where there are no attrs."""
    if attrs is None:
        return None
    if not isinstance(attrs, dict):
        raise RuntimeFault(f"{place}: attrs", "not an object")
    for key, value in attrs.items():
        if key not in _NODE_ATTRS:
            raise RuntimeFault(f"{place}: attrs", f"unknown key {key[:60]!r}")
        if not isinstance(value, str):
            raise RuntimeFault(f"{place}: attrs.{key}", "not a string")
    if "func_name" not in attrs:
        raise LogicError(f"{place}: attrs", "no func_name")
    result: str | None = attrs["func_name"]
    return result


def _entry(value: Any, place: str) -> Entry:
    if not isinstance(value, list):
        raise RuntimeFault(place, "not an array")
    if len(value) not in (2, 3):
        raise LogicError(place, f"{len(value)} numbers", "2 or 3")
    node, output = (_index(item, place) for item in value[:2])
    if len(value) == 3:
        _index(value[2], place)
    return Entry(node, output)


def _integer(value: Any, place: str) -> int:
    if type(value) is not int:
        raise RuntimeFault(place, f"{str(value)[:60]!r}", "an integer")
    return value


def _index(value: Any, place: str) -> int:
    if not 0 <= _integer(value, place) <= _MAX_INDEX:
        raise RuntimeFault(place, f"{str(value)[:60]}", f"0..{_MAX_INDEX}")
    result: int = value
    return result


def _lists(reader: JsonReader, limits: Limits) -> dict[str, Any]:
    """The attrs object of spec 1.3: lists by name, dltype as its length."""
    found: dict[str, Any] = {}
    for key in reader.members():
        if key not in _LISTS:
            raise RuntimeFault("attrs", f"unknown key {key[:60]!r}")
        found[key] = _tagged_list(reader, key, limits)
    for key in _REQUIRED_LISTS:
        if key not in found:
            raise LogicError("attrs", f"no {key!r}")
    return found


def _tagged_list(reader: JsonReader, key: str, limits: Limits) -> Any:
    place = f"attrs.{key}"
    values: list[Any] = []
    size = 0
    for part in reader.items():
        if part == 0:
            tag = reader.value(place)
            if tag != _LISTS[key]:
                raise LogicError(place, f"tag {str(tag)[:60]!r}", _LISTS[key])
        elif part == 1:
            for number in _bounded(reader, 2 * limits.nodes, place):
                values.append(_item(reader.value(place), key, f"{place} {number}"))
        else:
            raise LogicError(place, "more than a tag and a list")
        size = part + 1
    if size != 2:
        raise LogicError(place, f"{size} parts", "a tag and a list")
    if key == "device_index" and values:
        raise LogicError(place, f"{len(values)} items", "none")
    return len(values) if key == "dltype" else tuple(values)


def _item(value: Any, key: str, place: str) -> Any:
    if key == "shape":
        if not isinstance(value, list):
            raise RuntimeFault(place, "not an array")
        if len(value) > 6:
            raise LogicError(place, f"{len(value)} dimensions", "1..6")
        return tuple(_integer(dim, place) for dim in value)
    if key in ("op_attrs", "dltype"):
        if not isinstance(value, str):
            raise RuntimeFault(place, "not a string")
        if key == "dltype" and value != "int32":
            raise LogicError(place, f"{value[:60]!r}", "int32")
        return value
    number = _integer(value, place)
    if key == "storage_id" and number < 0:
        raise LogicError(place, f"{number}", "0 or more")
    if key == "storage_id" and number > _MAX_STORAGE_ID:
        raise RuntimeFault(place, f"{number}", f"at most {_MAX_STORAGE_ID}")
    return number


def encode(graph: Graph) -> bytes:
    """The symbol file of a program, version cvm_1.0.0; the same program gives the same bytes."""
    starts = graph.row_starts()
    nodes, texts = [], []
    shapes: list[Shape] = []
    precisions: list[int] = []
    for node in graph.nodes:
        record: dict[str, Any] = {
            "op": "null" if node.is_variable else "cvm_op",
            "name": node.name,
            "inputs": [[e.node, e.output, 0] for e in node.inputs],
        }
        if not node.is_variable:
            record["attrs"] = {
                "func_name": node.op,
                "flatten_data": "0",
                "num_inputs": str(len(node.inputs)),
                "num_outputs": str(len(node.shapes)),
            }
        nodes.append(record)
        texts.append(json.dumps(attribute_strings(node)))
        shapes.extend(node.shapes)
        precisions.extend(node.precisions if node.is_variable else [-1] * len(node.shapes))
    document: dict[str, Any] = {
        "nodes": nodes,
        "arg_nodes": [i for i, node in enumerate(graph.nodes) if node.is_variable],
        "node_row_ptr": starts,
        "heads": [[e.node, e.output, 0] for e in graph.heads],
        "attrs": {
            "shape": ["list_shape", [list(shape) for shape in shapes]],
            "storage_id": ["list_int", list(graph.storage)],
            "dltype": ["list_str", ["int32"] * starts[-1]],
            "precision": ["list_int", precisions],
            "op_attrs": ["list_str", texts],
        },
        "version": VERSION_1_0,
    }
    if graph.postprocess:
        document["postprocess"] = graph.postprocess
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def attribute_strings(node: Node) -> dict[str, str]:
    """The attributes of a node as the strings of a file; a variable states its precision."""
    if node.is_variable:
        return {"precision": str(node.precisions[0])}
    return {
        attribute.name: attribute.write(node.attributes[attribute.name])
        for attribute in node.operator.attributes
        if attribute.required or node.attributes[attribute.name] != attribute.default
    }
