"""One inference, observed: what the receipts of both versions are written from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry
from yolo_cvm.model import Model

SPECIFICATION = "CVM, 37 operators, formal back end, 1"


@dataclass(frozen=True)
class NodeDigest:
    """One operator's results: its number, name and operator, and the digest of each output."""

    node: int
    name: str
    op: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Observed:
    """An inference: the input as the program saw it, its heads, and a digest of every result."""

    data: Array
    heads: tuple[Array, ...]
    nodes: tuple[NodeDigest, ...]


def observe(model: Model, x: Array, digest: Callable[[Array], str]) -> Observed:
    """One inference, every operator's outputs digested by `digest`. x as for `Model.run`."""
    data = model.prepare(x)
    graph = model.graph
    wanted = set(graph.heads)
    kept = {Entry(graph.input_index): data}
    nodes = []
    for number, outputs in model.trace(data):
        node = graph.nodes[number]
        assert node.op is not None
        nodes.append(NodeDigest(number, node.name, node.op, tuple(map(digest, outputs))))
        for k, array in enumerate(outputs):
            if Entry(number, k) in wanted:
                kept[Entry(number, k)] = np.array(array, dtype=np.int32)
    heads = tuple(
        graph.parameters[graph.nodes[head.node].name] if head not in kept else kept[head]
        for head in graph.heads
    )
    return Observed(data, heads, tuple(nodes))


def sha256_of(digests: tuple[str, ...]) -> str:
    """SHA-256 over digests, 32 bytes each, in order."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()
