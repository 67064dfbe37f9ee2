"""Write our own conformance vectors from the reference interpreter.

    python generate.py FOLDER

The same code always writes the same bytes; the tests hold the committed folders against it.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import networks
import numpy as np
from cases import CASES, MINIMUM, Case
from disputes import DISPUTES, MODEL_DISPUTES, write_dispute, write_model_dispute
from files import FILES
from streams import values

from yolo_core.graph import Graph, GraphBuilder, Ref, interpret
from yolo_core.graph.costs.gas import gas
from yolo_core.graph.costs.storage import storage_bytes
from yolo_core.graph.files import params, symbol
from yolo_core.graph.integers import limit
from yolo_cvm.arrays import write_array
from yolo_cvm.chain_io import input_type_size, join, output_type_size


def build(case: Case, seed: str) -> tuple[Graph, np.ndarray]:
    """The program of a case and its input."""
    builder = GraphBuilder()
    shape, precision, *given = case.data
    lowest = precision == MINIMUM
    precision = 32 if lowest else precision
    data = np.array(given[0], np.int64) if given else values(seed, shape, precision)
    if lowest:
        # The prelude subtracts 1 again, so the operator sees what the case says.
        data = np.minimum(data + 1, limit(32))
    ref = builder.input("data", shape, precision)
    if lowest:
        ref = _lowered(builder, ref)
    operands: list[Ref] = [ref]
    for number, (size, bits, *known) in enumerate(case.operands):
        array = np.array(known[0]) if known else values(f"{seed}/{number}", size, bits)
        operands.append(builder.parameter(f"p{number}", array.reshape(size), bits))
    result = builder.operator(case.op, operands, **case.attributes)
    heads = [result]
    if case.op == "get_valid_counts":
        heads.append(builder.output(result, 1))
    return builder.build(heads), data.astype(np.int32).reshape(shape)


def _lowered(builder: GraphBuilder, ref: Ref) -> Ref:
    """ref - 1 under a declared precision of 3 bits, which `where` makes possible."""
    ones = builder.parameter("ones", np.ones(ref.shape, np.int32), 2)
    minus = builder.parameter("minus_one", np.array([-1]), 2)
    return builder.operator("broadcast_add", [builder.operator("where", [ones, ref, ref]), minus])


def write_case(folder: Path, case: Case, seed: str) -> None:
    """One operator vector."""
    graph, data = build(case, seed)
    folder.mkdir(parents=True)
    (folder / "symbol").write_bytes(symbol.encode(graph))
    (folder / "params").write_bytes(params.encode(graph))
    small = input_type_size(graph) == 1
    write_array(folder / "input.npy", data.astype(np.int8 if small else np.int32))
    for number, head in enumerate(interpret.run(graph, data)):
        write_array(folder / ("output.npy" if number == 0 else f"output_{number}.npy"), head)
    node = graph.nodes[graph.heads[0].node]
    meta = {
        "op": case.op,
        "attrs": symbol.attribute_strings(node),
        "in_prec": [graph.precision(entry) for entry in node.inputs],
        "output_precision": max(graph.head_precisions),
        "noutputs": len(graph.heads),
        "gas": gas(graph),
        "storage": storage_bytes(graph),
        "input_bytes": input_type_size(graph),
        "output_bytes": output_type_size(graph),
        "note": case.note,
    }
    write_json(folder / "meta.json", meta)


def write_file_case(folder: Path, name: str) -> None:
    """One vector about the files themselves: to refuse, or to accept."""
    made = FILES[name]()
    folder.mkdir(parents=True)
    (folder / "symbol").write_bytes(made.symbol)
    (folder / "params").write_bytes(made.params)
    write_array(folder / "input.npy", made.data)
    if made.output is not None:
        write_array(folder / "output.npy", made.output)
    meta: dict[str, Any] = {
        "name": name, "expect": "reject" if made.output is None else "accept", "note": made.note,
    }  # fmt: skip
    if made.codes is not None:
        meta["codes"] = dict(zip(("gas", "load"), made.codes))
    write_json(folder / "meta.json", meta)


def write_network(folder: Path, name: str) -> None:
    """One network with three inputs: random, a ramp, and values at and beyond the bounds."""
    graph = networks.build(name)
    shape, bits = graph.input_shape, graph.input_precision
    small = input_type_size(graph) == 1
    count = int(np.prod(shape))
    inputs = [
        values(f"{name}/input", shape, min(bits, 7)),
        (np.arange(count) * (2 * limit(bits)) // count - limit(bits)).reshape(shape),
        np.resize([limit(bits), -limit(bits), -limit(bits) - 1, 0, limit(bits)], shape),
    ]
    folder.mkdir(parents=True)
    (folder / "symbol").write_bytes(symbol.encode(graph))
    (folder / "params").write_bytes(params.encode(graph))
    for number, data in enumerate(inputs):
        file = "input.npy" if number == 0 else f"input_{number}.npy"
        write_array(folder / file, data.astype(np.int8 if small else np.int32))
        clamped = np.clip(data, -limit(bits), limit(bits))
        heads = interpret.run(graph, clamped)
        output = join(heads).ravel().astype("<i1" if output_type_size(graph) == 1 else "<i4")
        write_array(folder / f"output_c_{number}.npy", output)
        if number == 0:
            for k, head in enumerate(heads):
                write_array(folder / f"out_formal_{k}.npy", head)
            write_json(folder / "node_crc.json", _records(graph, clamped))
    write_json(
        folder / "meta.json",
        {
            "network": networks.NETWORKS[name].__doc__,
            "gas": gas(graph),
            "storage": storage_bytes(graph),
            "output_precision": max(graph.head_precisions),
            "input_bytes": input_type_size(graph),
            "output_bytes": output_type_size(graph),
        },
    )


def _records(graph: Graph, data: np.ndarray) -> list[dict[str, Any]]:
    """What every operator's first output is."""
    records = []
    for number, outputs in interpret.trace(graph, data):
        array = np.ascontiguousarray(outputs[0], "<i4")
        if not graph.nodes[number].is_variable:
            records.append({
                "nid": number,
                "name": graph.nodes[number].name,
                "shape": list(array.shape),
                "min": int(array.min()),
                "max": int(array.max()),
                "sum": int(array.sum(dtype=np.int64)),
                "crc32": zlib.crc32(array.tobytes()),
            })  # fmt: skip
    return records


def write_json(path: Path, record: Any) -> None:
    """A JSON file, the same bytes for the same content."""
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="ascii")


def generate(root: Path) -> None:
    """All vectors below a new folder."""
    numbers: Counter[str] = Counter()
    for case in CASES:
        name = f"{case.op}_{numbers[case.op]:02d}"
        numbers[case.op] += 1
        write_case(root / "ops" / name, case, name)
    for name in FILES:
        write_file_case(root / "reject" / name, name)
    for name in networks.NETWORKS:
        write_network(root / "network" / name, name)
    for name in DISPUTES:
        folder = root / "dispute" / name
        write_json(folder / "verdict.json", write_dispute(folder, name))
    for name in MODEL_DISPUTES:
        folder = root / "model_dispute" / name
        write_json(folder / "verdict.json", write_model_dispute(folder, name))


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
