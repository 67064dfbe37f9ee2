"""From a graph to a plan: passes in order, each from one frozen form to another, checked after.

    constants   proven intervals, values that depend on parameters alone
    padding     borders that constants make
    fusion      which values are images, which operators run together
    epilogues   the tile code of every region
    selection   what decides as one step
    rows        rows of heads that are worked out when they are taken
    chains      which operators on plain values run together
    layout      where values are made
    emission    steps, tensors, constants
    memory      where buffers lie
    encoding    the integers that the library reads

`form` holds what they hand on, `verify` what must hold after each, `show` prints it. No pass
recurses over the graph, and each takes time in proportion to it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Callable

from yolo_core.graph import Entry, Graph
from yolo_cvm.engine.planner import (
    chains,
    constants,
    emission,
    epilogues,
    fusion,
    layout,
    memory,
    padding,
    rows,
    selection,
    trace,
)
from yolo_cvm.engine.planner.encoding import Plan, encode
from yolo_cvm.engine.planner.form import Form, Tensor, start
from yolo_cvm.engine.planner.needs import budget
from yolo_cvm.engine.planner.verify import PlanningError, verify

__all__ = ["PASSES", "PLAIN", "Plan", "PlanningError", "apply", "plan", "plans", "trace_plan"]

Pass = Callable[[Form], Form]

PASSES: Mapping[str, Pass] = {
    part.NAME: part.run
    for part in (
        constants,
        padding,
        fusion,
        epilogues,
        selection,
        rows,
        chains,
        layout,
        emission,
        memory,
    )
}
#: Without those that look for what can run together: every operator is lowered as it stands.
PLAIN = (constants.NAME, layout.NAME, emission.NAME, memory.NAME)
#: What a defect of the planner may end in. The program still runs, in another way.
FAILURES = (
    PlanningError,
    ArithmeticError,
    AssertionError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def apply(graph: Graph, names: Sequence[str] = tuple(PASSES)) -> Form:
    """The form after the passes of these names, each checked."""
    with _nothing_to_collect():
        form = start(graph)
        for name in names:
            form = PASSES[name](form)
            verify(form)
        return form


@contextmanager
def _nothing_to_collect() -> Iterator[None]:
    """A plan is made of a great many small objects that all stay: the garbage collector would
    walk over them again and again, a quarter of the time of a large plan."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def plans(graph: Graph) -> Iterator[Plan]:
    """Plans of a whole program, the fastest first: regions as single steps, then one operator
    after the other. One that cannot be made, or would take more memory than `needs` allows, is
    left out; where none is left, PlanningError says why, and the reference runs the program.
    """
    reasons = []
    for names in (tuple(PASSES), PLAIN):
        try:
            form = apply(graph, names)
        except FAILURES as error:
            reasons.append(f"{type(error).__name__}: {error}")
            continue
        made = encode(form)
        if made.bytes <= budget(form):
            yield made
        else:
            reasons.append(f"a plan would take {made.bytes} bytes")
    raise PlanningError("; ".join(reasons) or "the library refuses every plan")


def plan(graph: Graph) -> Plan:
    """The first of `plans`."""
    return next(plans(graph))


def trace_plan(graph: Graph, beside: int) -> tuple[Plan, dict[Entry, Tensor], list[int]]:
    """The plan of a trace, the tensor of every value, and how many steps end each node.

    beside: bytes that the plan of the whole program takes meanwhile. PlanningError where the plan
    cannot be made, or both would take more than `budget` allows.
    """
    try:
        form, tensors, done = trace.run(graph)
        verify(form)
        form = memory.run(form)
        verify(form)
    except FAILURES as error:
        raise PlanningError(f"{type(error).__name__}: {error}") from error
    plan = encode(form)
    if plan.bytes + beside > budget(form):
        raise PlanningError(f"plans would take {plan.bytes + beside} bytes")
    return plan, tensors, done
