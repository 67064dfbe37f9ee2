"""Records of a model's nodes as a dispute shows them: their form, and the operator they tell of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.graph import check
from yolo_cvm.dispute.element import Operation


def is_record(record: dict[str, Any]) -> bool:
    """Whether a record has the keys and types of `node_record`; what they say is checked later."""
    kinds = {"node": int, "name": str, "attributes": dict, "inputs": list, "shapes": list}
    return (
        set(record) == {*kinds, "op", "precisions", "value"}
        and all(type(record[key]) is kind for key, kind in kinds.items())
        and record["node"] >= 0
        and (record["op"] is None or isinstance(record["op"], str))
        and (record["value"] is None or isinstance(record["value"], str))
        and all(isinstance(value, str) for value in record["attributes"].values())
        and all(_are_counts(pair) and len(pair) == 2 for pair in record["inputs"])
        and all(_are_counts(shape) and 0 not in shape for shape in record["shapes"])
    )


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**31 for v in values)


def operation_of(
    record: dict[str, Any], records: Mapping[int, dict[str, Any]], path: PathLike
) -> Operation:
    """The operator of a record, checked like one of a file."""
    if record["op"] is None:
        raise InputError(path, f"node {record['node']} is not an operator")
    operator = check.find(record["op"])
    for node, output in record["inputs"]:
        if node >= record["node"]:
            raise InputError(path, f"node {record['node']} reads node {node}", "an earlier one")
        if node not in records or output >= len(records[node]["shapes"]):
            raise InputError(path, f"has no record of node {node}, output {output}")
    shapes = [tuple(records[node]["shapes"][output]) for node, output in record["inputs"]]
    attributes = check.attributes(operator, len(shapes), record["attributes"], raw=True)
    results = check.shapes(operator, shapes, attributes)
    if [list(shape) for shape in results] != record["shapes"]:
        raise InputError(path, f"node {record['node']} declares shapes that do not follow")
    return Operation(operator, attributes, shapes)
