"""What a model takes to run: size, time and memory on this machine, and what a chain charges."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import checkpoint_files, is_checkpoint
from yolo_core.progress import progress
from yolo_core.yolo.model_folder import is_model_folder, model_sources
from yolo_eval.runs.measure import measure
from yolo_eval.runs.run import Run

#: Timed runs of each model, and threads that it gets.
REPEATS, THREADS = 5, 1


@dataclass(frozen=True)
class Cost:
    """What the model of one run takes; None where it is not known, and `note` says why.

    bytes: of the files that carry the parameters. ms: median of one image through the network
    alone, one thread. peak_bytes: of a process of its own, framework included. gas: of one
    inference. call_gas: of a call on chain, its output received. callable: whether such a call
    fits a transaction.
    """

    bytes: int | None = None
    ms: float | None = None
    peak_bytes: int | None = None
    gas: int | None = None
    call_gas: int | None = None
    callable: bool | None = None
    note: str = ""


def costs(runs: Sequence[Run]) -> tuple[Cost, ...]:
    """The costs of the runs' models, one after the other in processes of their own."""
    return tuple(_cost(run) for run in progress(runs, "measure the models", unit="models"))


def _cost(run: Run) -> Cost:
    path = run.model.get("path")
    if run.model["kind"] not in ("float", "integer") or not isinstance(path, str):
        return Cost(note="only its detections are known")
    if not any(Path(file).exists() for file in model_sources(path)):
        return Cost(note=f"{path} is not here")
    imgsz = run.model.get("imgsz")
    sides = (imgsz[0], imgsz[1]) if imgsz else None
    try:
        found = measure(path, sides, THREADS, "cpu", REPEATS)
    except InputError as error:
        return Cost(note=str(error))
    if found.digest != run.model["digest"]:
        return Cost(note=f"{path} is another model now")
    size = _bytes(Path(path))
    if run.model["kind"] == "float":
        return Cost(size, found.ms, found.peak_bytes, callable=False)
    gas = _on_chain(path)
    return Cost(
        size, found.ms, found.peak_bytes, gas.get("model"), gas.get("call"),
        gas.get("fits_transaction"),
    )  # fmt: skip


def _bytes(path: Path) -> int | None:
    """Size of the files that carry the parameters."""
    if is_model_folder(path):
        return sum((path / name).stat().st_size for name in ("symbol", "params"))
    return checkpoint_files(path)[1].stat().st_size if is_checkpoint(path) else None


def _on_chain(path: str) -> dict[str, Any]:
    """What `yolo-cvm model-meta` says about gas; {} where that command is not installed."""
    beside = Path(sys.executable).with_name("yolo-cvm")
    command = str(beside) if beside.is_file() else shutil.which("yolo-cvm")
    if command is None:
        return {}
    done = subprocess.run(
        [command, "model-meta", path, "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return {}
    gas = json.loads(done.stdout).get("gas")
    return gas if isinstance(gas, dict) else {}
