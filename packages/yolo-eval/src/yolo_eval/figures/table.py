"""The table that users of YOLOv5 love: every size, every form, what it costs and what it scores.

Looks through a folder for checkpoints, integer models and run files; sizes that are missing are
measured with generated weights, and their rows say so.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from yolo_core.errors import InputError
from yolo_core.graph.costs.gas import gas
from yolo_core.mxnet.checkpoint import checkpoint_files, is_checkpoint, read_checkpoint
from yolo_core.yolo.architecture import SIZES, Architecture
from yolo_core.yolo.model_folder import EXT, is_model_folder, read_model_folder
from yolo_eval.figures import metrics
from yolo_eval.figures.bootstrap import Interval
from yolo_eval.figures.compare import compare, read_runs
from yolo_eval.runs.generate import generate_checkpoint, quantize_generated
from yolo_eval.runs.measure import Measurement, measure
from yolo_eval.runs.run import FORMAT, Run, read_run

#: Form of a row → device it is opened on. The engines of an integer model give the same bytes.
FORMS = {"float": "cpu", "integer reference": "cpu:reference", "integer fast": "cpu"}


@dataclass(frozen=True)
class Row:
    """One size in one form.

    weights: "trained" or "generated". bytes: of the files that carry the parameters. macs: of one
    inference. licence: of trained weights, as stated. gas: of an integer model. images: those that
    AP is over. delta: AP against the float run over the same images.
    measured: None where it could not be, and `note` says why.
    """

    size: str
    form: str
    weights: str
    path: str
    imgsz: tuple[int, int]
    bytes: int
    parameters: int
    macs: int
    gas: int | None = None
    images: int | None = None
    ap: float | None = None
    ap50: float | None = None
    delta: Interval | None = None
    measured: Measurement | None = None
    licence: str = ""
    note: str = ""


@dataclass(frozen=True)
class TableSettings:
    """imgsz: of float models and generated ones. repeats: timed runs per row. licence: of the
    weights in the folder, in words.
    """

    sizes: str = "".join(SIZES)
    forms: tuple[str, ...] = tuple(FORMS)
    imgsz: tuple[int, int] = (640, 640)
    threads: tuple[int, ...] = (1,)
    repeats: int = 5
    generated: bool = True
    resamples: int = 1000
    licence: str = ""


@dataclass(frozen=True)
class _Model:
    path: Path
    architecture: Architecture
    integer: bool


def make_table(
    folder: Path, settings: TableSettings, say: Callable[[str], None] = lambda line: None
) -> list[Row]:
    """Find, generate, measure and score; `say` hears what is being done.

    Raises InputError where the folder does not exist or holds a damaged model; a model that
    cannot run here becomes a row that says so.
    """
    if not folder.is_dir():
        raise InputError(folder, "is not a folder", "a folder with models and run files")
    models, runs = find_models(folder), find_runs(folder)
    rows: list[Row] = []
    for size in settings.sizes:
        of_size = [model for model in models if model.architecture.size == size]
        with tempfile.TemporaryDirectory() as scratch:
            for form in settings.forms:
                integer = form != "float"
                chosen = [model for model in of_size if model.integer == integer]
                if not chosen and settings.generated:
                    rows += _generated_rows(size, form, settings, Path(scratch), say)
                for model in chosen:
                    row = _described(model, form, "trained", settings)
                    rows += _rows(replace(row, licence=settings.licence), settings, say)
    return _scored(rows, runs, settings.resamples)


def find_models(folder: Path) -> list[_Model]:
    """Checkpoints and integer models in a folder and the folders in it, sorted by path."""
    found = []
    for place, folders, files in os.walk(folder):
        folders.sort()
        here = Path(place)
        if is_model_folder(here) and (here / EXT).is_file():
            folders.clear()
            extension = read_model_folder(here).extension()
            found.append(_Model(here, extension.architecture, integer=True))
        for name in sorted(files):
            if name.endswith(".yaml") and is_checkpoint(here / name):
                stem = (here / name).with_suffix("")
                found.append(_Model(stem, read_checkpoint(stem).architecture, integer=False))
    return found


def find_runs(folder: Path) -> dict[str, Path]:
    """Run files of `yolo-eval coco` by the digest of their model; the first of each counts."""
    begin = json.dumps({"format": FORMAT}, separators=(",", ":"))[:-1].encode()
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.json")):
        if path.is_file():
            with open(path, "rb") as stream:
                if stream.read(len(begin)) != begin:
                    continue
            run = read_run(path)
            if run.shard is None:
                found.setdefault(str(run.model["digest"]), path)
    return found


def _described(model: _Model, form: str, weights: str, settings: TableSettings) -> Row:
    """What a model's files say without running it."""
    architecture = model.architecture
    if model.integer:
        folder = read_model_folder(model.path)
        imgsz = folder.extension().imgsz
        size = len(folder.symbol) + len(folder.params)
        count = sum(array.size for array in folder.graph.parameters.values())
        cost = gas(folder.graph)
    else:
        imgsz, cost = settings.imgsz, None
        size = checkpoint_files(model.path)[1].stat().st_size
        shapes = architecture.parameter_shapes(fused=True).values()
        count = sum(int(np.prod(shape)) for shape in shapes)
    return Row(architecture.size, form, weights, str(model.path), imgsz, size, count,
               architecture.macs(*imgsz), cost)  # fmt: skip


def _generated_rows(
    size: str, form: str, settings: TableSettings, scratch: Path, say: Callable[[str], None]
) -> list[Row]:
    """Rows of a size that the folder does not hold; one row with the reason where that fails."""
    architecture = Architecture.named(size)
    stem, folder = scratch / architecture.model_name, scratch / f"{architecture.model_name}_cvm"
    try:
        if not is_checkpoint(stem):
            say(f"{architecture.model_name}: generating weights")
            generate_checkpoint(size, scratch)
        path = stem
        if form != "float":
            if not is_model_folder(folder):
                say(f"{architecture.model_name}: quantizing generated weights")
                quantize_generated(stem, settings.imgsz, scratch)
            path = folder
    except InputError as error:
        macs = architecture.macs(*settings.imgsz)
        return [Row(size, form, "generated", "", settings.imgsz, 0, 0, macs, note=str(error))]
    model = _Model(path, architecture, integer=form != "float")
    row = _described(model, form, "generated", settings)
    # Generated files are gone when the table is read, so their path is left out.
    return [replace(row, path="") for row in _rows(row, settings, say)]


def _rows(row: Row, settings: TableSettings, say: Callable[[str], None]) -> list[Row]:
    """A described row measured at every number of threads."""
    measured = []
    for threads in settings.threads:
        say(f"yolov5{row.size} {row.form}, {threads} thread(s): measuring {row.weights} weights")
        imgsz = None if row.form != "float" else row.imgsz
        try:
            found = measure(row.path, imgsz, threads, FORMS[row.form], settings.repeats)
            measured.append(replace(row, measured=found))
        except InputError as error:
            measured.append(replace(row, note=str(error)))
    return measured


def _scored(rows: Sequence[Row], paths: Mapping[str, Path], resamples: int) -> list[Row]:
    """The rows with AP from the run files, and the integer rows with their distance to float."""
    compared: dict[tuple[str, str], tuple[Run, Interval | None]] = {}
    floats = {row.size: row.measured.digest for row in rows
              if row.form == "float" and row.measured and row.measured.digest in paths}  # fmt: skip
    scored = []
    for row in rows:
        digest = row.measured.digest if row.measured else ""
        if digest not in paths or row.weights != "trained":
            scored.append(row)
            continue
        base = floats.get(row.size, digest)
        if (base, digest) not in compared:
            compared[base, digest] = _compared(paths[base], paths[digest], resamples)
        run, delta = compared[base, digest]
        figures = run.metrics or {}
        scored.append(
            replace(row, images=figures["images"], ap=figures["AP"], ap50=figures["AP50"],
                    delta=delta)
        )  # fmt: skip
    return scored


def _compared(base: Path, path: Path, resamples: int) -> tuple[Run, Interval | None]:
    """A run measured anew, and its AP against the base run where both are over the same images."""
    if base != path:
        # Without a base of the same images there is an AP and no difference.
        with contextlib.suppress(InputError):
            pair = compare(read_runs([base, path], None), resamples).pairs[0]
            return pair.run, pair.figures["AP"]
    run = read_run(path)
    return run.with_metrics(metrics.measure(run.truth, run.predictions)), None
