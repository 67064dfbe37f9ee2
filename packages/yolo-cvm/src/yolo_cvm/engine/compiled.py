"""The compiled engine: a program planned once, run by the native library on several threads."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from ctypes import POINTER, byref, c_int64, c_void_p
from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry, Graph, interpret
from yolo_core.graph.integers import INT32_MAX, limit
from yolo_cvm.engine import library, planner
from yolo_cvm.engine.planner.encoding import Plan
from yolo_cvm.engine.reference import ReferenceEngine

# How long the library may compute before Python looks for Ctrl-C, seconds.
_SLICE = 0.1
_EVERY_STEP = 1 << 62


@dataclass(frozen=True)
class StepTime:
    """A step's kind, the graph node it belongs to, its seconds, and those of its epilogue."""

    kind: str
    node: int
    seconds: float
    epilogue: float


class NativePlan:
    """A plan inside the library. Freed with this object."""

    def __init__(self, plan: Plan, instruction_set: str) -> None:
        found = library.opened()
        assert found is not None
        self.library = found
        self.plan = plan
        self._handle = c_void_p()
        n = len(plan.constants)
        pointers = (c_void_p * max(n, 1))(*(a.ctypes.data for a in plan.constants))
        counts = (c_int64 * max(n, 1))(*(a.size for a in plan.constants))
        words = plan.words.ctypes.data_as(POINTER(c_int64))
        library.check(
            found,
            found.cvm_plan_new(
                words,
                plan.words.size,
                pointers,
                counts,
                instruction_set.encode(),
                byref(self._handle),
            ),
        )

    @property
    def instruction_set(self) -> str:
        """Name of the function list in use."""
        result: str = self.library.cvm_plan_instruction_set(self._handle).decode()
        return result

    def execution(self, threads: int) -> Execution:
        """Working memory and threads for one run at a time. MemoryError where they fail."""
        return Execution(self, threads)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.library.cvm_plan_free(self._handle)


class Execution:
    """Working memory and threads of one run at a time."""

    def __init__(self, native: NativePlan, threads: int) -> None:
        self.native = native
        self._handle = c_void_p()
        self._pointers = c_void_p * len(native.plan.outputs)
        library.check(
            native.library,
            native.library.cvm_execution_new(native._handle, threads, byref(self._handle)),
        )

    def begin(self, data: Array, bound: int, into: Array | None = None) -> list[Array] | None:
        """Start a run; the arrays returned are filled by `advance`.

        data: contiguous int32 of the input's shape. into: taken for the first head. None where a
        value is beyond +-bound.
        """
        plan = self.native.plan
        given = None if into is None else plan.heads[0]
        outputs = [
            into if into is not None and number == given else np.empty(shape, np.int32)
            for number, shape in enumerate(plan.outputs)
        ]
        pointers = self._pointers(*map(_address, outputs))
        self._kept = (data, outputs)
        inside = self.native.library.cvm_begin(self._handle, _address(data), pointers, bound)
        return outputs if inside else None

    def advance(self, stop: int = _EVERY_STEP) -> bool:
        """Run up to step `stop`. KeyboardInterrupt is seen between steps.

        False where a value of the input is beyond the bound, if the first step looks for that
        instead of `begin`: then there are no results.
        """
        stop = min(stop, len(self.native.plan.sources))
        done = 0
        while 0 <= done < stop:
            done = self.native.library.cvm_advance(self._handle, stop, _SLICE)
        return done >= 0

    def peek(self, tensor: int, shape: tuple[int, ...]) -> Array:
        """A copy of a plain tensor."""
        address = self.native.library.cvm_address(self._handle, tensor)
        count = int(np.prod(shape, dtype=np.int64))
        return (
            np.ctypeslib.as_array((ctypes.c_int32 * count).from_address(address))
            .reshape(shape)
            .copy()
        )

    def seconds(self) -> Array:
        """Time spent in every step, summed over all runs of this execution."""
        n = len(self.native.plan.sources)
        pointer = self.native.library.cvm_seconds(self._handle)
        return np.ctypeslib.as_array(pointer, shape=(n,)).copy()

    def shortest(self, data: Array, runs: int, products: bool) -> Array:
        """Seconds of every step in its fastest run; without `products`, of epilogues alone."""
        self.native.library.cvm_products(self._handle, int(products))
        best = np.full(len(self.native.plan.names), np.inf)
        for _ in range(runs):
            before = self.seconds()
            self.begin(data, INT32_MAX)
            self.advance()
            best = np.minimum(best, self.seconds() - before)
        return best

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.native.library.cvm_execution_free(self._handle)


def _address(array: Array) -> int:
    """Where a contiguous array lies. `ctypes.data` tells it too, and takes microseconds."""
    if array.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    return int(array.ctypes.data)


class CompiledEngine:
    """Runs a program through the native library; any number of Python threads may call it.

    threads: how many cores one run uses, counting the caller's. instruction_set: one of
    `library.instruction_sets()`, or "" for the best. Raises PlanningError where no plan can be
    made within the memory that `planner.needs` allows.
    """

    def __init__(self, graph: Graph, threads: int = 1, instruction_set: str = "") -> None:
        self._graph = graph
        self._threads = threads
        self._native = _native(graph, instruction_set)
        self._bound = limit(graph.input_precision)
        self._lock = threading.Lock()
        self._idle: list[Execution] = []

    @property
    def name(self) -> str:
        """`compiled-` and the instruction set."""
        return f"compiled-{self._native.instruction_set}"

    def run(self, data: Array, into: Array | None = None) -> list[Array]:
        """See `Engine.run`."""
        if into is not None:
            usable = into.dtype == np.int32 and into.flags.c_contiguous and into.flags.writeable
            if not usable or into.shape != self._graph.head_shapes[0]:
                raise ValueError("`into` is no contiguous int32 array of the first head's shape")
        ready = isinstance(data, np.ndarray) and data.dtype == np.int32 and data.flags.c_contiguous
        if not ready or data.shape != self._graph.input_shape:
            data = interpret.check_input(self._graph, data)
        execution = self._take()
        outputs = execution.begin(data, self._bound, into)
        if outputs is None or not execution.advance():
            interpret.check_input(self._graph, data)  # says what is wrong
            raise AssertionError("both look for the same values")
        with self._lock:
            self._idle.append(execution)
        return [outputs[number] for number in self._native.plan.heads]

    def profile(self, data: Array, runs: int) -> list[StepTime]:
        """The shortest time of every step over several runs.

        The shortest, since whatever else the machine does can only make a step longer.
        """
        data = interpret.check_input(self._graph, data)
        execution = self._native.execution(self._threads)
        plan = self._native.plan
        whole, epilogue = (execution.shortest(data, runs, products) for products in (True, False))
        return [
            StepTime(kind, source, float(a), float(b) if kind == "conv_image" else 0.0)
            for kind, source, a, b in zip(plan.names, plan.sources, whole, epilogue)
        ]

    def trace(self, data: Array) -> Iterator[tuple[int, tuple[Array, ...]]]:
        """See `Engine.trace`; every operator runs on its own, nothing is fused.

        By the reference where that takes more memory than a plan may.
        """
        data = interpret.check_input(self._graph, data)
        try:
            plan, tensors, done = planner.trace_plan(self._graph, self._native.plan.bytes)
        except planner.PlanningError:
            yield from ReferenceEngine(self._graph).trace(data)
            return
        native = NativePlan(plan, self._native.instruction_set)
        execution = native.execution(self._threads)
        execution.begin(data, INT32_MAX)
        for index, node in enumerate(self._graph.nodes):
            execution.advance(done[index])
            if not node.is_variable:
                yield (
                    index,
                    tuple(
                        execution.peek(tensors[Entry(index, output)].number, shape)
                        for output, shape in enumerate(node.shapes)
                    ),
                )

    def _take(self) -> Execution:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._native.execution(self._threads)


def _native(graph: Graph, instruction_set: str) -> NativePlan:
    """The fastest plan that can be made; PlanningError where there is none."""
    for plan in planner.plans(graph):
        try:
            return NativePlan(plan, instruction_set)
        except (MemoryError, RuntimeError):
            continue
    raise AssertionError("plans end in PlanningError")
