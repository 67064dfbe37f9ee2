"""A model that is ready to run: its checked program, an engine, and the digests of its files.

Whoever wants numbers in and numbers out works here; bytes as the chain sees them are in
`chain_io`, proofs of what was computed in `receipt`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError, ShortageError
from yolo_core.files import PathLike, read_bytes, read_start
from yolo_core.graph import Graph, Limits, LogicError, bind, load_program
from yolo_core.graph.costs.cost import peak_bytes
from yolo_core.graph.files.params import oddities, records_end, size_limit, stale_bytes
from yolo_core.graph.integers import limit
from yolo_core.graph.proof.bounds import certify
from yolo_core.yolo.model_folder import PARAMS_LIMIT, refuse_checkpoint
from yolo_cvm.engine import Engine, select

SYMBOL, PARAMS, DATA = "symbol", "params", "data"

_INFO_HASH = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Model:
    """A loaded model. Runs leave nothing behind: the same input gives the same output, always.

    symbol_digest, params_digest: SHA-256 of the two files, hexadecimal.
    oddities: what `compat` passed over in params, each in one line with its remedy.
    """

    graph: Graph
    engine: Engine
    symbol_digest: str
    params_digest: str
    oddities: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Model({self.graph!r}, symbol {self.symbol_digest[:12]}, {self.engine.name})"

    def run(self, x: Array, into: Array | None = None) -> list[Array]:
        """One inference: int32 arrays, one per head.

        into: contiguous int32 of the first head's shape, which it is written to.

        x: integers of any dtype in the graph's input shape. As on the chain, values beyond the
        input's declared precision are clamped (spec 4.3). LogicError for another shape or dtype.
        """
        try:
            return self.engine.run(self.prepare(x), into)
        except MemoryError:
            raise _too_large(self.graph) from None

    def trace(self, x: Array) -> Iterator[tuple[int, tuple[Array, ...]]]:
        """Like `run`, but yields (node number, int32 outputs) of every operator in order."""
        try:
            yield from self.engine.trace(self.prepare(x))
        except MemoryError:
            raise _too_large(self.graph) from None

    def prepare(self, x: Array) -> Array:
        """The input as the program sees it: contiguous int32, clamped. LogicError as in `run`."""
        x = self._checked(x)
        return np.ascontiguousarray(np.clip(x, *self._bounds(x)), np.int32)

    def beyond(self, x: Array) -> int:
        """How many values `prepare` clamps. LogicError as in `run`."""
        x = self._checked(x)
        low, high = self._bounds(x)
        return int(np.count_nonzero((x < low) | (x > high)))

    def _checked(self, x: Array) -> Array:
        x = np.asarray(x)
        if x.dtype.kind not in "iu":
            raise LogicError("input", f"dtype {x.dtype}", "integers")
        if x.shape != self.graph.input_shape:
            raise LogicError("input", f"shape {x.shape}", f"{self.graph.input_shape}")
        return x

    def _bounds(self, x: Array) -> tuple[int, int]:
        """Smallest and largest value of the input, as far as the type of x holds them.

        Values are clamped in their own type, which is most often a byte, before they are widened.
        """
        held, bound = np.iinfo(x.dtype), limit(self.graph.input_precision)
        return max(held.min, -bound), min(held.max, bound)


def _too_large(graph: Graph) -> ShortageError:
    return ShortageError(
        f"memory: this machine has too little for this model, which needs {peak_bytes(graph)} "
        "bytes at its peak and more for preparing it"
    )


class Meaning(Protocol):
    """What the integers of a detector mean, our own way or the original's."""

    def to_json(self) -> str:
        """One line, the same for the same content."""


def detector_digest(symbol_digest: str, params_digest: str, extension: Meaning) -> str:
    """SHA-256 that names a detector: over its files' digests and what its integers mean."""
    parts = symbol_digest + params_digest + extension.to_json()
    return hashlib.sha256(parts.encode("utf-8")).hexdigest()


def is_model(path: PathLike) -> bool:
    """Whether `model_files` finds a model there; nothing is read."""
    return any((f / SYMBOL).is_file() and (f / PARAMS).is_file() for f in _folders(Path(path)))


def model_files(path: PathLike) -> tuple[Path, Path]:
    """The symbol and params files of a model.

    path: the folder that holds them, a bundle's `<infohash>` with `data/`, or a whole bundle
    with one such folder. InputError where they are in none of these.
    """
    path = Path(path)
    for folder in _folders(path):
        if (folder / SYMBOL).is_file() and (folder / PARAMS).is_file():
            return folder / SYMBOL, folder / PARAMS
    refuse_checkpoint(path)
    cause = "has no symbol and params" if path.is_dir() else "is not a folder"
    raise InputError(path, cause, "a model folder or a bundle")


def _folders(path: Path) -> list[Path]:
    found = [path, path / DATA]
    if path.is_dir():
        inside = [child for child in path.iterdir() if _INFO_HASH.fullmatch(child.name)]
        found += [child / DATA for child in inside] if len(inside) == 1 else []
    return found


def read_program(path: PathLike, limits: Limits | None = None) -> Graph:
    """The checked program of a model folder or of a symbol file, without parameters.

    Raises LogicError or RuntimeFault naming node, field and rule.
    """
    file = Path(path) if Path(path).is_file() else model_files(path)[0]
    limits = limits or Limits()
    return load_program(read_bytes(file, limits.symbol_bytes), limits)


def load(
    path: PathLike,
    threads: int | None = None,
    engine: str | None = None,
    compat: bool = False,
    certified: bool = False,
    limits: Limits | None = None,
) -> Model:
    """The model at `path`, checked and ready.

    path: a model folder or a bundle, see `model_files`.
    threads: None takes all processors the engine can use; the result never depends on it.
    engine: "compiled", "reference" or an instruction set; None takes the fastest there is.
    compat: accept what the original accepts and what is on chains for that reason: duplicate
        parameter names (the last wins), bytes after the end of params, as the original's writer
        leaves them (ignored), a parameter called `data` (ignored), text after the symbol's
        closing brace (ignored). `Model.oddities` tells what was found in params.
    certified: refuse a model whose values cannot be proven to stay in their precision.
    limits: budgets of the reader and of gas and memory, checked before anything is allocated.

    Raises InputError; where the files break a rule of the machine it is a LogicError (code 1)
    or a RuntimeFault (code 2).
    """
    symbol_file, params_file = model_files(path)
    limits = limits or Limits()
    symbol = read_bytes(symbol_file, limits.symbol_bytes)
    program = load_program(symbol, limits, compat)
    # The program tells how long its parameters can be; what follows is hashed and not kept.
    held, size, digest = read_start(params_file, size_limit(program), PARAMS_LIMIT)
    if size > len(held) and not compat:
        raise stale_bytes(records_end(held, limits), size).at(str(params_file.parent))
    graph = bind(program, held, compat, limits)
    if certified:
        certify(graph)
    try:
        ready = select(graph, threads, engine)
    except MemoryError:
        raise _too_large(graph) from None
    return Model(
        graph,
        ready,
        hashlib.sha256(symbol).hexdigest(),
        digest,
        oddities(held, size, limits) if compat else (),
    )
