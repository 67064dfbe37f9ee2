"""A process that forks after a run on several threads: its children compute and end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from yolo_cvm.engine import library

SCRIPT = """
import gc, os, sys, threading
import numpy as np
import yolo_cvm
from cvm_samples import some_input
held = [yolo_cvm.load(sys.argv[1], threads=2)]
x = some_input(held[0].graph)
wanted = held[0].run(x)
def right(model):
    assert all(np.array_equal(a, b) for a, b in zip(model.run(x), wanted))
def drop():
    right(held[0])
    held.clear()
    gc.collect()
def again():
    right(yolo_cvm.load(sys.argv[1], threads=2))
def in_thread():
    thread = threading.Thread(target=right, args=(held[0],))
    thread.start()
    thread.join()
kinds = {"nothing": lambda: None, "run": lambda: right(held[0]), "drop": drop, "again": again,
         "thread": in_thread}
child = os.fork()
if not child:
    kinds[sys.argv[2]]()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
right(held[0])
"""


@pytest.mark.skipif(
    not hasattr(os, "fork") or not library.instruction_sets(),
    reason="needs fork, and the package was installed without a compiler",
)
@pytest.mark.parametrize("kind", ["nothing", "run", "drop", "again", "thread"])
def test_a_child_of_a_process_that_ran_with_threads_ends(kind: str, model_folder: Path) -> None:
    samples = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(model_folder), kind],
        env={**os.environ, "PYTHONPATH": samples}, timeout=120, check=False, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
