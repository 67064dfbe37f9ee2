"""A store with one model and inputs, and a server on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cvm_samples import small_graph, some_input, write_model

from yolo_core.arrays import Array
from yolo_cvm import load
from yolo_cvm.chain_io import CHAIN, write_output

if TYPE_CHECKING:
    from node_samples import Client

# What the extra yolo-cvm[serve] brings; without it there is no server to test.
if not all(map(find_spec, ("h11", "prometheus_client", "Crypto"))):
    collect_ignore_glob = ["test_*.py"]


@dataclass(frozen=True)
class Sample:
    """A store at `root` with `model` and, for its input `values`, `stored`; `answer` is right."""

    root: Path
    model: str
    stored: str
    values: Array
    answer: bytes
    files: dict[str, bytes]


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """A model of one-byte input and four-byte output, in a store of a node."""
    from node_samples import name_of, npy, put

    graph = small_graph()
    folder = write_model(tmp_path / "model", graph)
    files = {name: (folder / name).read_bytes() for name in ("symbol", "params")}
    values = some_input(graph)
    root = tmp_path / "store"
    put(root, name_of("model"), files)
    put(root, name_of("input"), {"data": npy(values)})
    answer = write_output(graph, load(folder).run(values), CHAIN)
    return Sample(root, name_of("model"), name_of("input"), values, answer, files)


@pytest.fixture
def client(sample: Sample) -> Iterator[Client]:
    """A server on the sample's store."""
    from node_samples import running

    with running(sample.root) as client:
        yield client
