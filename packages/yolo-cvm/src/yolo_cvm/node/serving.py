"""The requests of a node on the files of a store: which answer, and which of the two failures.

Source: spec A10 to A25. The order of checks is part of consensus: of an inference only a bad
`.npy` file is a LogicError, everything else is a RuntimeFault; of gas both kinds are possible.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import GraphError, RuntimeFault
from yolo_cvm import chain_io
from yolo_cvm.model import Model
from yolo_cvm.node import machine, stored_input
from yolo_cvm.node.caches import ByteCache
from yolo_cvm.node.keccak import keccak256_of_string
from yolo_cvm.node.store import DATA, PARAMS, SYMBOL, Store
from yolo_cvm.node.work import Workers

#: Answers of old main-net history, by the digest of model and input (spec A15).
FIXED_ANSWERS: Mapping[str, bytes] = MappingProxyType(
    {
        "53f8e0b0c93dedff2706e28643804470d67d79a9f1447b75dab09304ed8d1fe0": bytes.fromhex(
            "1334eefcd0eddfe3f35b"
        ),
        "e0c42bc0779d627e14fba7c4e6f355644aa2535dfe9786d64684fb05f1de615c": bytes.fromhex(
            "06fc043bf200f71ee0d9"
        ),
    }
)
#: Models that another one stands for, by network (spec A14).
SUBSTITUTES: Mapping[tuple[int, str], str] = MappingProxyType(
    {(43, "31f75c90e8fe1c5b16cbdc466dc6127487a92add"): "c816d85a023abacb687080ca57f580d4999b8b1d"}
)

_HASH = re.compile("(0x|0X)?([0-9a-fA-F]{40})")
_GAS_ENTRIES = 1 << 16
# Bytes of a content that are looked at before its digest is waited for.
_SAMPLE_BYTES = 512


@dataclass(frozen=True)
class Budget:
    """Limits of a server.

    model_bytes, result_bytes: what is kept in memory. parallel: inferences at once. waiting:
    further ones in the queue. threads: cores of one inference, None for all.
    """

    model_bytes: int
    result_bytes: int = 64 << 20
    parallel: int = 2
    waiting: int = 64
    threads: int | None = None


@dataclass(frozen=True)
class Name:
    """An info hash of a request. seen: how tables and caches see it; path: its folder."""

    seen: str
    path: str


@dataclass(frozen=True)
class Content:
    """An input of words, as caches name it (spec A16): by the digest that the chain knows it by.

    A picture's digest takes milliseconds. It is made on another thread, and waited for only where
    a content of the same sample is there to be compared with.

    sample: length, and bytes spread over the content. digest: 64 hexadecimal digits, soon.
    """

    sample: tuple[int, bytes]
    digest: Future[str] = field(hash=False)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Content)
            and self.sample == other.sample
            and self.digest.result() == other.digest.result()
        )


class Serving:
    """Answers gas and inference from a store. Safe for any number of threads.

    fixed: the table of fixed answers, by the hexadecimal digest of A15.
    """

    def __init__(
        self, store: Store, budget: Budget, fixed: Mapping[str, bytes] = FIXED_ANSWERS
    ) -> None:
        self.store = store
        self._budget = budget
        self._fixed = fixed
        self.models: ByteCache[Model] = ByteCache(budget.model_bytes, machine.memory)
        self.results: ByteCache[Array] = ByteCache(budget.result_bytes, lambda a: int(a.nbytes))
        self.gas_figures: ByteCache[int] = ByteCache(_GAS_ENTRIES, lambda _: 1)
        self.workers = Workers(budget.parallel, budget.waiting)
        self._digests = ThreadPoolExecutor(budget.parallel, "digest")
        self._loading = threading.Lock()
        self._load_locks: dict[str, threading.Lock] = {}

    def gas(self, model: str, model_size: int, network: int) -> int:
        """Gas of a model from its symbol alone, in the order of A18. LogicError, RuntimeFault."""
        name = _substitute(parse_hash(model), network)
        known = self.gas_figures.get(name.seen)
        if known is not None:
            return known
        self.store.verify(name.path)
        symbol = self.store.read(name.path, (DATA, SYMBOL), model_size, machine.SYMBOL_LIMIT)
        figure = machine.gas(symbol)
        self.gas_figures.put(name.seen, figure)
        return figure

    def infer_stored(
        self, model: str, input_hash: str, model_size: int, input_size: int, network: int
    ) -> Array:
        """The output for a stored input, in the order of A17; values as `machine.infer` gives.

        LogicError for a file that is no `.npy` of A20, RuntimeFault for everything else.
        """
        input_name = parse_hash(input_hash)
        name = _substitute(parse_hash(model), network)
        fixed = self._fixed_answer(name, input_name.seen)
        if fixed is not None:
            return fixed
        known = self.results.get((name.seen, input_name.seen))
        if known is not None:
            return known
        self.store.verify(input_name.path)
        content = stored_input.content(self.store.read(input_name.path, (DATA,), input_size))
        return self._infer(name, input_name.seen, content, model_size)

    def infer_content(self, model: str, content: bytes, model_size: int, network: int) -> Array:
        """The output for a content of words, in the order of A17. RuntimeFault where it fails."""
        name = _substitute(parse_hash(model), network)
        # The digest that the fixed answers are named by is made beside the inference; a fixed
        # answer still takes the place of any outcome.
        sample = content[:: len(content) // _SAMPLE_BYTES + 1]
        digest = self._digests.submit(keccak256_of_string, content)
        own = Content((len(content), sample), digest)
        try:
            known = self.results.get((name.seen, own))
            output = self._infer(name, own, content, model_size) if known is None else known
        except RuntimeFault:
            fixed = self._fixed_answer(name, digest.result())
            if fixed is None:
                raise
            return fixed
        fixed = self._fixed_answer(name, digest.result())
        return output if fixed is None else fixed

    def model(self, info_hash: str) -> Model:
        """A model of the store, loaded, for those who ask without a size. RuntimeFault if not."""
        return self._model(Name(info_hash, info_hash), 1 << 62)

    def forget(self) -> None:
        """Drop what is cached, so that changed files are read again."""
        self.models.clear()
        self.results.clear()
        self.gas_figures.clear()

    def close(self) -> None:
        """End the threads once their present jobs are done."""
        self.workers.close()
        self._digests.shutdown()

    def _fixed_answer(self, name: Name, input_seen: str) -> Array | None:
        """The fixed answer to a model and an input, or None. input_seen: hash or digest (A16)."""
        key = keccak256_of_string(f"{name.seen}_{input_seen}".encode("ascii"))
        answer = self._fixed.get(key)
        return None if answer is None else np.frombuffer(answer, np.int8)

    def _infer(
        self, name: Name, input_seen: str | Content, content: bytes, model_size: int
    ) -> Array:
        def job() -> Array:
            output = machine.infer(self._model(name, model_size), content, chain_io.CHAIN)
            output.flags.writeable = False
            self.results.put((name.seen, input_seen), output)
            return output

        try:
            result: Array = self.workers.run((name.seen, input_seen), job)
        except GraphError as error:
            # Whatever fails from here on is one kind of failure to the chain (A17).
            raise RuntimeFault(error.source, error.cause, error.expected) from error
        return result

    def _model(self, name: Name, model_size: int) -> Model:
        with self._alone(name.path):
            found = self.models.get(name.path)
            if found is None:
                found = self._load(name.path, model_size)
                self.models.put(name.path, found)
            return found

    @contextlib.contextmanager
    def _alone(self, path: str) -> Iterator[None]:
        """Two workers that need the same model load it once."""
        with self._loading:
            lock = self._load_locks.setdefault(path, threading.Lock())
        try:
            with lock:
                yield
        finally:
            with self._loading:
                self._load_locks.pop(path, None)

    def _load(self, path: str, model_size: int) -> Model:
        self.store.verify(path)
        symbol = self.store.read(path, (DATA, SYMBOL), model_size, machine.SYMBOL_LIMIT)

        def params() -> bytes:
            return self.store.read(path, (DATA, PARAMS), model_size)

        return machine.load(symbol, params, self._budget.threads)[0]


def parse_hash(text: str) -> Name:
    """An info hash as a request names it (A13). RuntimeFault for any other text.

    With `0X` the prefix stays in what tables and caches see, as the original has it.
    """
    match = _HASH.fullmatch(text)
    if match is None:
        raise RuntimeFault("info hash", f"{text!r:.60} is none", "40 hexadecimal digits")
    digits = match[2].lower()
    return Name("0x" + digits if match[1] == "0X" else digits, digits)


def _substitute(name: Name, network: int) -> Name:
    other = SUBSTITUTES.get((network, name.seen))
    return name if other is None else Name(other, other)
