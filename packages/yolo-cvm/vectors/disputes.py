"""The dispute vectors: two receipts that part at one operator, and the way to a verdict."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import networks
import numpy as np
from streams import values

from yolo_core.graph import Graph
from yolo_core.graph.files import params, symbol
from yolo_cvm import dispute, load
from yolo_cvm.arrays import write_array
from yolo_cvm.dispute.claim import leaf_claim
from yolo_cvm.receipts import Receipt, run_with_receipt, tensor_root
from yolo_cvm.receipts.version_2 import identity_of, nodes_root

#: Network and operator of each vector; the false element is the last of the first such node.
DISPUTES = {
    "conv2d": ("hourglass", "conv2d"),
    "lookup": ("senet", "cvm_lut"),
    "suppression": ("boxes", "non_max_suppression"),
}
#: Of disputes that need no run: the fields of the false receipt that are others.
MODEL_DISPUTES = {
    "nodes": lambda honest: {"nodes": honest.nodes[:2] + honest.nodes[3:]},
    "heads": lambda honest: {"heads": (honest.nodes[0].outputs[0], *honest.heads[1:])},
    "gas": lambda honest: {"gas": honest.gas - 1},
}


def false_receipt(honest: Receipt, node: int, result: np.ndarray) -> Receipt:
    """The receipt of somebody for whom one operator gave another result."""
    nodes = tuple(
        replace(one, outputs=(tensor_root(result), *one.outputs[1:])) if one.node == node else one
        for one in honest.nodes
    )
    return _sealed(replace(honest, nodes=nodes))


def _sealed(receipt: Receipt) -> Receipt:
    """The receipt with digests that follow from its fields."""
    other = replace(receipt, root=nodes_root(receipt.nodes))
    return replace(other, identity=identity_of(other))


def write_model_dispute(folder: Path, name: str) -> dict[str, Any]:
    """The files of one vector about nodes, heads or gas; returns what verdict.json holds."""
    graph, data = _write_model(folder, "hourglass")
    _, honest = run_with_receipt(load(folder, engine="reference"), data)
    false = _sealed(replace(honest, **MODEL_DISPUTES[name](honest)))
    witness = dispute.make_model_witness(graph)
    (folder / "receipt.json").write_text(honest.to_json(), "ascii")
    (folder / "false_receipt.json").write_text(false.to_json(), "ascii")
    (folder / "model_witness.json").write_bytes(witness.to_json())
    return asdict(dispute.judge_model(witness, honest, false))


def _write_model(folder: Path, network: str) -> tuple[Graph, np.ndarray]:
    """The files of a network and its input; the network, and the input as int32."""
    graph: Graph = networks.build(network)
    folder.mkdir(parents=True)
    (folder / "symbol").write_bytes(symbol.encode(graph))
    (folder / "params").write_bytes(params.encode(graph))
    data = values(f"{network}/input", graph.input_shape, min(graph.input_precision, 7))
    data = data.astype(np.int32)
    write_array(folder / "input.npy", data)
    return graph, data


def write_dispute(folder: Path, name: str) -> dict[str, Any]:
    """The files of one vector; returns what verdict.json holds."""
    network, op = DISPUTES[name]
    graph, data = _write_model(folder, network)
    model = load(folder, engine="reference")
    _, honest = run_with_receipt(model, data)
    node = next(k for k, one in enumerate(graph.nodes) if one.op == op)
    run = dispute.observe_node(model, data, node)
    result = np.array(run.results[0], order="C")
    result.reshape(-1)[-1] += 1
    false = false_receipt(honest, node, result)
    index = -(-result.size // 256) - 1
    claim = leaf_claim(node, 0, result, index)
    witness = dispute.make_witness(run, claim)
    (folder / "receipt.json").write_text(honest.to_json(), "ascii")
    (folder / "false_receipt.json").write_text(false.to_json(), "ascii")
    (folder / "claim.json").write_bytes(claim.to_json())
    (folder / "witness.json").write_bytes(witness.to_json())
    return asdict(dispute.judge(witness, honest, false))
