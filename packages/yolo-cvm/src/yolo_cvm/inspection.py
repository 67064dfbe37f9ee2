"""What a model is made of, node by node: shapes, precisions, proven ranges, gas, work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from yolo_core.graph import Entry, Graph, LogicError, Node
from yolo_core.graph.costs.cost import cost, macs
from yolo_core.graph.costs.gas import gas, memory_gas, operation_gas
from yolo_core.graph.costs.storage import storage_bytes
from yolo_core.graph.proof.bounds import Certificate, certify
from yolo_core.words import shown
from yolo_cvm.chain_io import input_type_size, output_type_size

#: Longest name of a node in a table, in characters.
NAME_SHOWN = 60


@dataclass(frozen=True)
class Row:
    """One node. shapes, precisions, ranges: one per output; ranges are None where not proven.

    gas: its share of the model's gas; macs: multiply-accumulates; inputs: [node, output] pairs.
    """

    node: int
    name: str
    op: str
    inputs: tuple[tuple[int, int], ...]
    shapes: tuple[tuple[int, ...], ...]
    precisions: tuple[int, ...]
    ranges: tuple[tuple[int, int], ...] | None
    gas: int
    macs: int


def rows(graph: Graph) -> list[Row]:
    """Every node of a bound program; ranges where it can be proven."""
    try:
        certificate = certify(graph)
    except LogicError:
        certificate = None
    return [_row(graph, number, node, certificate) for number, node in enumerate(graph.nodes)]


def _row(graph: Graph, number: int, node: Node, certificate: Certificate | None) -> Row:
    ranges = None
    if certificate is not None:
        found = [certificate.range(Entry(number, k)) for k in range(len(node.shapes))]
        ranges = tuple((one.low, one.high) for one in found)
    return Row(
        node=number,
        name=node.name,
        op=node.op or "variable",
        inputs=tuple((entry.node, entry.output) for entry in node.inputs),
        shapes=node.shapes,
        precisions=node.precisions,
        ranges=ranges,
        gas=memory_gas(node) + operation_gas(graph, node),
        macs=macs(graph, node),
    )


def summary(graph: Graph) -> dict[str, Any]:
    """The figures of the whole model: input, heads, gas, cost, sizes. Plain JSON data."""
    return {
        "nodes": len(graph.nodes),
        "operators": sum(not node.is_variable for node in graph.nodes),
        "input": {
            "shape": list(graph.input_shape),
            "precision": graph.input_precision,
            "bytes_per_element": input_type_size(graph),
        },
        "heads": [
            {"shape": list(shape), "precision": bits}
            for shape, bits in zip(graph.head_shapes, graph.head_precisions)
        ],
        "output_bytes_per_element": output_type_size(graph),
        "postprocess": graph.postprocess,
        "gas": gas(graph),
        "storage_bytes": storage_bytes(graph),
        "cost": asdict(cost(graph)),
    }


def as_json(graph: Graph) -> dict[str, Any]:
    """The summary and all rows as plain JSON data."""
    return {**summary(graph), "rows": [asdict(row) for row in rows(graph)]}


def table(graph: Graph) -> str:
    """All rows as text, one line per node."""
    header = ("node", "operator", "name", "shape", "bits", "range", "gas", "MACs")
    lines = [header]
    for row in rows(graph):
        lines.append(
            (
                str(row.node),
                row.op,
                shown(row.name, NAME_SHOWN),
                _list("x".join(map(str, shape)) for shape in row.shapes),
                _list(map(str, row.precisions)),
                _list(f"{low}..{high}" for low, high in row.ranges) if row.ranges else "-",
                f"{row.gas:,}",
                f"{row.macs:,}" if row.macs else "-",
            )
        )
    return "\n".join([*align(lines, right=(0, 4, 6, 7)), ""])


def figures(graph: Graph) -> list[str]:
    """The summary as lines of text."""
    data = summary(graph)
    work = data["cost"]
    heads = ", ".join(f"{head['shape']} of {head['precision']} bits" for head in data["heads"])
    return [
        f"input      {data['input']['shape']} of {data['input']['precision']} bits",
        f"heads      {heads}",
        f"operators  {data['operators']} of {data['nodes']} nodes",
        f"gas        {data['gas']:,}",
        f"storage    {data['storage_bytes']:,} bytes in the original's pool",
        f"work       {work['macs']:,} multiply-accumulates, {work['steps']:,} steps",
        f"memory     {work['peak_bytes']:,} bytes at the peak, {work['bytes_moved']:,} moved",
    ]


def verdict(graph: Graph) -> str:
    """What the proof says of the model, in a line. LogicError where a node cannot be proven."""
    certificate = certify(graph)
    bits, number = max(
        (certificate.bits(Entry(number, output)), -number)
        for number, node in enumerate(graph.nodes)
        for output in range(len(node.shapes))
    )
    widest = graph.nodes[-number]
    where = f"{shown(widest.name, NAME_SHOWN)} ({widest.op or 'variable'})"
    return f"proven: no value can leave its precision; the widest needs {bits} of 32 bits, {where}"


def certificate_table(graph: Graph) -> str:
    """The proof as text: what each operator can reach, and the bits it has to spare.

    LogicError where a node cannot be proven.
    """
    certificate = certify(graph)
    lines = [("node", "operator", "name", "proven range", "needs", "declared")]
    for number, node in enumerate(graph.nodes):
        for output, bits in enumerate(node.precisions):
            entry = Entry(number, output)
            found = certificate.range(entry)
            lines.append(
                (
                    str(number),
                    node.op or "variable",
                    shown(node.name, NAME_SHOWN),
                    f"{found.low}..{found.high}",
                    f"{certificate.bits(entry)}",
                    f"{bits}",
                )
            )
    return "\n".join([*align(lines, right=(0, 4, 5)), ""])


def certificate_json(graph: Graph) -> list[dict[str, Any]]:
    """The proof as plain JSON data, one record per tensor. LogicError as above."""
    certificate = certify(graph)
    return [
        {
            "node": number,
            "name": node.name,
            "op": node.op or "variable",
            "output": output,
            "low": certificate.range(Entry(number, output)).low,
            "high": certificate.range(Entry(number, output)).high,
            "needs": certificate.bits(Entry(number, output)),
            "declared": bits,
        }
        for number, node in enumerate(graph.nodes)
        for output, bits in enumerate(node.precisions)
    ]


def align(lines: Sequence[Sequence[str]], right: Sequence[int]) -> list[str]:
    """Rows of words as columns of text; the columns in `right` are aligned to the right."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return [
        "  ".join(
            word.rjust(width) if k in right else word.ljust(width)
            for k, (word, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    ]


def _list(words: Any) -> str:
    return " ".join(words)
