"""What `inspect --engine` tells: which engine runs a model here, and how."""

from __future__ import annotations

from collections import Counter

from yolo_core.graph import Graph
from yolo_cvm.engine import cores, library, select


def report(graph: Graph) -> dict[str, str]:
    """Engine, instruction sets that this machine can run, cores, and the plan in figures."""
    told = {
        "engine": select(graph).name,
        "instruction sets": " ".join(library.instruction_sets()) or "none: no compiled library",
        "cores": str(cores()),
    }
    if library.instruction_sets():
        from yolo_cvm.engine import fuse

        plan = fuse.plan(graph)
        steps = Counter(plan.names)
        told["steps"] = ", ".join(f"{count} {name}" for name, count in steps.items())
        told["working memory"] = f"{plan.arena_bytes:,} bytes"
    return told
