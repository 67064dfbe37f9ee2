"""What `inspect --engine` tells: which engine runs a model here, and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from yolo_core.errors import InputError
from yolo_core.graph import Graph
from yolo_cvm.engine import cores, library, select


def report(graph: Graph) -> dict[str, str]:
    """Engine, instruction sets that this machine can run, cores, and the plan in figures."""
    sets = " ".join(library.instruction_sets())
    told = {
        "engine": select(graph).name,
        "instruction sets": sets or f"none: yolo-cvm {library.absence()}",
        "cores": str(cores()),
    }
    if sets:
        from yolo_cvm.engine import planner

        plan = planner.plan(graph)
        steps = Counter(plan.names)
        told["steps"] = ", ".join(f"{count} {name}" for name, count in steps.items())
        told["working memory"] = f"{plan.arena_bytes:,} bytes"
    return told


def planned(graph: Graph, after: str | None = None) -> Iterator[str]:
    """Lines on the plan after the pass of this name, the last one by default.

    Raises InputError for a name that no pass has.
    """
    from yolo_cvm.engine import planner
    from yolo_cvm.engine.planner.show import show

    names = list(planner.PASSES)
    if after is not None and after not in names:
        raise InputError(f"pass {after!r}", "is not a pass of the planner", ", ".join(names))
    last = names.index(after) + 1 if after else names.index(planner.emission.NAME) + 1
    return show(planner.apply(graph, names[:last]))


def checks() -> list[tuple[str, str]]:
    """What `yolo checks` tells of the engine. Entry point `engine` of `yolo_core.checks`."""
    sets = " ".join(library.instruction_sets())
    return [("engine", f"compiled: {sets}" if sets else f"reference: yolo-cvm {library.absence()}")]
