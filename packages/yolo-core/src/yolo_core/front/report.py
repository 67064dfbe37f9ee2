"""From weights to the comparison: the packages' own commands one after the other.

Each step is a process of its own. `steps.json` in the folder of results says of each finished step
what it was asked for and the SHA-256 of what went in and came out; a step of which all of that is
as it was is not run again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_write, read_json, sha256_file
from yolo_core.front.wishes import install
from yolo_core.mxnet.checkpoint import checkpoint_files, checkpoint_stem, is_checkpoint
from yolo_core.outputs import check_outputs
from yolo_core.yolo.predictor import FOREIGN_ENDINGS

STEPS = "steps.json"
_FORMAT = "yolo report steps 1"


@dataclass(frozen=True)
class Step:
    """words: what the package's command is given. sources, results: files, or folders of files."""

    name: str
    package: str
    words: tuple[str, ...]
    sources: tuple[Path, ...]
    results: tuple[Path, ...]


class StepFailed(InputError):
    """A step ended with an error of its own, which it has printed."""

    def __init__(self, step: Step, code: int) -> None:
        cause = f"ended with exit code {code}; the same command goes on from here"
        super().__init__(step.name, cause)


def make_report(
    weights: PathLike,
    data: PathLike,
    out: Path | None,
    quiet: bool,
    tell: Callable[[str], Any],
    imgsz: int | None = None,
    effort: str = "normal",
    jobs: int = 1,
) -> Path:
    """The page that compares the float and the integer model of `weights`; see `plan`.

    quiet: keep what the steps print from standard output. tell: takes a line for each step.
    InputError for weights that are none, for a package that is absent, and where a step fails.
    """
    steps = plan(Path(weights), Path(data), out, imgsz, effort, jobs)
    place = steps[-1].results[0]
    journal = place.parent / STEPS
    check_outputs([weights, data], [journal])
    for package in {step.package: None for step in steps}:
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            cause = f"needs {package}, which is not installed"
            raise InputError("yolo report", cause, install(package))
    done = _read(journal)
    for number, step in enumerate(steps, 1):
        told = f"[{number}/{len(steps)}] {step.name}: {step.package} {' '.join(step.words)}"
        if done.get(step.name) == _state(step) and all(path.exists() for path in step.results):
            tell(f"{told}  (done before)")
            continue
        tell(told)
        code = _run(step, (lambda line: None) if quiet else tell)
        if code:
            raise StepFailed(step, code)
        done[step.name] = _state(step)
        record = {"format": _FORMAT, "steps": done}
        atomic_write(journal, json.dumps(record, indent=1) + "\n", cache=True)
    return place / "report.html"


def plan(
    weights: Path, data: Path, out: Path | None, imgsz: int | None, effort: str, jobs: int
) -> list[Step]:
    """The steps: convert (of foreign weights), quantize, score both, compare. Nothing is run."""
    foreign = str(weights).lower().endswith(FOREIGN_ENDINGS) and weights.is_file()
    if not foreign and not is_checkpoint(weights):
        raise InputError(
            weights, "is neither a checkpoint nor a file of weights",
            f"a stem, a training run, or a file {', '.join(FOREIGN_ENDINGS)}",
        )  # fmt: skip
    stem = weights.with_suffix("") if foreign else checkpoint_stem(weights)
    out = out or Path("runs") / "report" / _title(stem)
    checkpoint = out / "weights" / stem.name if foreign else stem
    size = ("--imgsz", str(imgsz)) if imgsz else ()
    files, model = checkpoint_files(checkpoint), out / "model"
    runs = (out / "float.json", out / "integer.json")
    steps = []
    words: tuple[str, ...]
    if foreign:
        words = ("convert", str(weights), "--out", str(out / "weights"))
        steps.append(Step("convert", "yolo-port", words, (weights,), files))
    quantize = (
        "quantize", str(checkpoint), "--data", str(data), "--out", str(model),
        "--work", str(out / "stages"), "--effort", effort, *size,
    )  # fmt: skip
    steps.append(Step("quantize", "yolo-mrt", quantize, (*files, data), (model,)))
    for name, source, sources, run in (
        ("score the float model", checkpoint, files, runs[0]),
        ("score the integer model", model, (model,), runs[1]),
    ):
        words = ("coco", str(source), "--data", str(data), "--json", str(run), "--jobs", str(jobs))
        extra = size if source == checkpoint else ()
        steps.append(Step(name, "yolo-eval", (*words, *extra), (*sources, data), (run,)))
    words = ("compare", *map(str, runs), "--out", str(out / "compare"))
    steps.append(Step("compare", "yolo-eval", words, runs, (out / "compare",)))
    return steps


def _title(stem: Path) -> str:
    """The name of a checkpoint; of the best of a training run, the run's name."""
    is_best = stem.parent.name == "weights" and stem.name == "best"
    return stem.parent.parent.name if is_best else stem.name


def _run(step: Step, tell: Callable[[str], Any]) -> int:
    """Run the command of a step, and tell every line that it prints; its exit code."""
    command = [sys.executable, "-m", step.package.replace("-", "_"), *step.words]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environment, encoding="utf-8", errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            tell(line.rstrip("\n"))
    return process.returncode


def _state(step: Step) -> dict[str, Any]:
    """What a step was asked for, by which version, and what its files hold."""
    return {
        "words": list(step.words),
        "version": metadata.version(step.package),
        "sources": [_digest(path) for path in step.sources],
        "results": [_digest(path) for path in step.results],
    }


def _digest(path: Path) -> str | None:
    """SHA-256 of a file, or of the names and files of a folder; None where there is nothing."""
    if path.is_file():
        return sha256_file(path)
    if not path.is_dir():
        return None
    state = hashlib.sha256()
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(folder) / name
            if file.is_file():
                state.update(f"{file.relative_to(path).as_posix()}\n{sha256_file(file)}\n".encode())
    return state.hexdigest()


def _read(journal: Path) -> dict[str, Any]:
    """The finished steps; none where there is no journal of ours."""
    if not journal.is_file():
        return {}
    content = read_json(journal)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InputError(journal, "is not a list of finished steps", "to be removed")
    steps: Sequence[Any] | dict[str, Any] = content.get("steps", {})
    return dict(steps) if isinstance(steps, dict) else {}
