"""Random valid models against their definition: engines, certificates, memory.

    python models.py MINUTES [FIRST SEED]

Each seed is a program of random operators, with data at the extremes of its precision. Every
engine of this machine must give the integers of the reference, every value must lie within what
the certificate proves. Prints the counts; exit code 1 names the seed that differs.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "packages/yolo-cvm/tests/engine"))

from random_graphs import random_program

from yolo_core.graph import interpret
from yolo_core.graph.proof.bounds import intervals
from yolo_cvm.engine import library, select


def differences(seed: int) -> tuple[int, list[str]]:
    """(engine runs and certificate checks of a seed, what differs)."""
    graph, data = random_program(seed)
    wrong, checks = [], 0
    for proven, (index, outputs) in zip(intervals(graph), interpret.trace(graph, data)):
        for (low, high), array in zip(proven, outputs):
            checks += 1
            if array.min() < low or array.max() > high:
                wrong.append(f"node {index} leaves {low}..{high}")
    heads = interpret.run(graph, data)
    for name in library.instruction_sets():
        found = select(graph, 2, name).run(data)
        checks += 1
        if not all(np.array_equal(a, b) for a, b in zip(heads, found)):
            wrong.append(f"engine {name} differs")
    return checks, wrong


def main(minutes: float, seed: int) -> int:
    """Returns the exit code."""
    end, first, checks = time.monotonic() + 60 * minutes, seed, 0
    while time.monotonic() < end:
        count, wrong = differences(seed)
        checks += count
        if wrong:
            print(f"seed {seed}: {'; '.join(wrong)}")
            return 1
        seed += 1
    print(f"{seed - first} programs, {checks} checks, no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
