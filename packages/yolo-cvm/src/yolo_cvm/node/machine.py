"""Models from bytes and inference on bytes, as the original's interface has them.

The one place where the consensus rules of loading, gas and inference meet; the server and the
library's daemon both work through it. Loading is as lenient as the original where a file is
sloppy but defined (`compat` of `yolo_core.graph.load`), so that no node parts from the others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Limits, LogicError, RuntimeFault, bind, chain_gas, load_program
from yolo_core.graph.costs.cost import overlaps, peak_bytes
from yolo_core.graph.costs.gas import gas as graph_gas
from yolo_core.graph.costs.storage import storage_bytes
from yolo_core.graph.integers import elements
from yolo_cvm import chain_io
from yolo_cvm.engine import select
from yolo_cvm.model import Model

#: Largest symbol file that is read, in bytes.
SYMBOL_LIMIT = Limits().symbol_bytes

#: Most overlaps of boxes that one inference may have to compute, since gas does not charge them and
#: what computes for minutes answers nobody else. All pairs of the rows of YOLOv5 at 640 are 2^28.
OVERLAPS_LIMIT = 1 << 34

DEFAULT_VERSION = "cvm_1.0.0"

_VERSION = re.compile(rb'"version"\s*:\s*"(cvm_[0-9.]{1,20})"')


@dataclass(frozen=True)
class Figures:
    """What the original's getters tell of a model: bytes, gas, and the post-processing word."""

    storage: int
    gas: int
    input_length: int
    input_type_size: int
    output_length: int
    output_type_size: int
    version: str
    postprocess: str


def gas(symbol: bytes) -> int:
    """Gas of a symbol file. LogicError or RuntimeFault, whichever the chain is told."""
    if not symbol:
        raise RuntimeFault("symbol", "is empty")
    return chain_gas(symbol)


def load(
    symbol: bytes, read_params: Callable[[], bytes], threads: int | None = None
) -> tuple[Model, Figures]:
    """A model from the content of its two files, and its figures. LogicError or RuntimeFault.

    read_params: gives the params file, which is not asked for where the symbol is refused.
    threads: cores of one inference, all of them if None.
    """
    if not symbol:
        raise RuntimeFault("symbol", "is empty")
    program = load_program(symbol, compat=True)
    most = overlaps(program)
    if most > OVERLAPS_LIMIT:
        raise RuntimeFault("suppression", f"may take {most} overlaps", f"at most {OVERLAPS_LIMIT}")
    params = read_params()
    if not params:
        raise LogicError("params", "is empty")
    graph = bind(program, params, compat=True)
    try:
        engine = select(graph, threads)
    except MemoryError:
        raise RuntimeFault("memory", "this machine has too little for the model") from None
    model = Model(
        graph, engine, hashlib.sha256(symbol).hexdigest(), hashlib.sha256(params).hexdigest()
    )
    return model, _figures(model, symbol)


def _figures(model: Model, symbol: bytes) -> Figures:
    stated = _VERSION.findall(symbol)
    graph = model.graph
    return Figures(
        storage=storage_bytes(graph),
        gas=graph_gas(graph),
        input_length=chain_io.input_length(graph),
        input_type_size=chain_io.input_type_size(graph),
        output_length=chain_io.output_length(graph),
        output_type_size=chain_io.output_type_size(graph),
        version=stated[-1].decode() if stated else DEFAULT_VERSION,
        postprocess=graph.postprocess,
    )


def infer(model: Model, data: bytes | memoryview, dialect: str, into: Array | None = None) -> Array:
    """The output of one inference: int8 or int32 values in the order of the original's bytes.

    data, dialect: as for `chain_io.read_input`. into: as many values of the output's kind, which
    are written instead of new ones; undefined after a failure. LogicError or RuntimeFault.
    """
    values = chain_io.read_input(model.graph, data, dialect)
    chain_io.check_output(model.graph)
    graph, shape = model.graph, model.graph.head_shapes[0]
    if into is None:
        return chain_io.join_heads(graph, model.run(values))
    plain = into.dtype == np.int32 and into.size == elements(shape)
    # The one head of most models need not be copied: it is made where it goes.
    first = into.reshape(shape) if plain and len(graph.heads) == 1 else None
    output = chain_io.join_heads(graph, model.run(values, first))
    if output is not first:
        np.copyto(into, output.reshape(-1))
    return into


def memory(model: Model) -> int:
    """Bytes that a loaded model takes, about: its tensors as integers of four bytes."""
    return peak_bytes(model.graph)
