"""From a model to its run file: predict, measure, write; and shards back into one run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_core import console
from yolo_core.errors import InputError
from yolo_core.files import atomic_files, atomic_write
from yolo_core.outputs import check_outputs
from yolo_core.yolo.model_folder import SYMBOL, model_sources
from yolo_eval.figures.metrics import measure, seed_line
from yolo_eval.runs import provenance
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.predict import PredictSettings, Spread, predict
from yolo_eval.runs.run import Predictions, Run, predictions_text, read_run, run_text


def evaluate(
    model: str,
    truth: GroundTruth,
    settings: PredictSettings | None = None,
    jobs: int = 1,
    shard: tuple[int, int] | None = None,
    out: Path | None = None,
    beside: OutputFiles | None = None,
    spread: Spread | None = None,
) -> Run:
    """Run `model` over `truth`; measure it unless it is a shard; write the run file to `out`.

    beside: what else is written with it. spread: as for `predict`. While it works, predictions lie
    in `<out>.journal`; the same call continues from there. InputError while another process
    writes the same run file.
    """
    settings = settings or PredictSettings()
    journal = out.with_name(out.name + ".journal") if out is not None else None
    if journal is not None:
        console.goes_on()
    run = predict(model, truth, settings, jobs, shard, journal, spread)
    if shard is None:
        run = run.with_metrics(measure(run.truth, run.predictions))
    atomic_files(_contents(run, out, beside))
    if journal is not None:
        journal.unlink(missing_ok=True)  # there is none where the data held no picture
    return run


@dataclass(frozen=True)
class OutputFiles:
    """What is written where; None writes nothing.

    json: the run file. folder: one run file per model in it, named after the model's path.
    predictions: the plain COCO results list. text: the seed-format line.
    """

    json: Path | None = None
    folder: Path | None = None
    predictions: Path | None = None
    text: Path | None = None

    def run_files(self, models: Sequence[str], shard: tuple[int, int] | None) -> list[Path | None]:
        """The run file of every model. Raises InputError for outputs that exclude each other."""
        if len(models) > 1 and (self.json or self.predictions or self.text):
            raise InputError("options", "name one file for several models", "--out with a folder")
        if self.json is not None and self.folder is not None:
            raise InputError("options", "name the run file twice", "--json or --out")
        if shard is not None and self.text is not None:
            raise InputError("--text", "has no figures of a shard", "--text with all images")
        if self.folder is None:
            return [self.json] * len(models)
        files: list[Path | None] = [self.folder / f"{Path(model).name}.json" for model in models]
        if len(set(files)) != len(files):
            raise InputError("--out", "would hold two files of one name", "models named apart")
        return files

    def pages(self, models: Sequence[str], shard: tuple[int, int] | None) -> list[Path | None]:
        """The page of every model, beside its run file in the folder; a shard has none."""
        if self.folder is None or shard is not None:
            return [None] * len(models)
        return [path and path.with_suffix(".html") for path in self.run_files(models, shard)]

    def check(
        self,
        models: Sequence[str],
        shard: tuple[int, int] | None,
        inputs: Sequence[Path | None],
    ) -> None:
        """Refuse outputs that are not ours, or are among `inputs` or the models' files."""
        read = [*inputs, *(file for model in models for file in model_sources(model))]
        files = self.run_files(models, shard) if models else [self.json]
        pages = self.pages(models, shard)
        check_outputs(read, [*files, *pages, self.predictions, self.text])
        for model in models:
            self._check_beside(model)

    def _check_beside(self, model: str) -> None:
        """A model is published as the folder that it is, so nothing is added to one."""
        if self.folder is None:
            return
        is_folder = any(path.name == SYMBOL and path.is_file() for path in model_sources(model))
        if is_folder and Path(os.path.realpath(self.folder)).is_relative_to(
            os.path.realpath(model)
        ):
            raise InputError(self.folder, f"lies in the model {model}", "another folder")


def evaluate_all(
    models: Sequence[str],
    truth: GroundTruth,
    settings: PredictSettings,
    jobs: int,
    shard: tuple[int, int] | None,
    outputs: OutputFiles,
    spread: Spread | None = None,
) -> Iterator[Run]:
    """Evaluate one model after the other and write what `outputs` asks for."""
    for model, out in zip(models, outputs.run_files(models, shard)):
        yield evaluate(model, truth, settings, jobs, shard, out, outputs, spread)


def score_file(path: Path, truth: GroundTruth, outputs: OutputFiles) -> Run:
    """Score detections that lie in a file, a COCO results list or a run file."""
    outputs.check([], None, [path, Path(truth.source)])
    run = read_run(path, truth)
    if run.truth.digest() != truth.digest():
        raise InputError(path, f"has other ground truth than {truth.source}", "a results list")
    if not run.provenance:  # a bare results list, which says nothing of its making
        record = {"command": provenance.command_line(), "versions": provenance.versions()}
        run = dataclasses.replace(run, provenance=record)
    run = run.with_metrics(measure(truth, run.predictions))
    atomic_files(_contents(run, outputs.json, outputs))
    return run


def _contents(run: Run, out: Path | None, beside: OutputFiles | None) -> dict[Path, str]:
    """What the files of a run hold."""
    contents = {} if out is None else {out: run_text(run)}
    if beside is not None and beside.predictions is not None:
        contents[beside.predictions] = predictions_text(run)
    if beside is not None and beside.text is not None:
        contents[beside.text] = seed_line(run)
    return contents


def merge_files(paths: Sequence[Path], out: Path) -> Run:
    """Merge the shards in run files and write the whole run file to `out`."""
    check_outputs(paths, [out])
    run = merge(paths)
    atomic_write(out, run_text(run))
    return run


def merge(paths: Sequence[Path]) -> Run:
    """Put the shards 1/n … n/n of one run together and measure the whole.

    Raises InputError when a shard is missing, there twice, or of another run.
    """
    shards: list[Run] = [read_run(path) for path in paths]
    first = shards[0]
    if first.shard is None:
        raise InputError(paths[0], "is a whole run", "files written with --shard i/n")
    count = first.shard[1]
    seen: set[int] = set()
    for path, run in zip(paths, shards):
        same = (run.model["digest"], run.model.get("imgsz"), run.settings, run.truth.categories)
        if same != (
            first.model["digest"], first.model.get("imgsz"), first.settings, first.truth.categories
        ):  # fmt: skip
            raise InputError(path, f"is not of the same run as {paths[0]}", "shards of one run")
        if run.shard is None or run.shard[1] != count:
            raise InputError(path, f"is not a shard of {count}", f"written with --shard i/{count}")
        if run.shard[0] in seen:
            raise InputError(path, f"is the shard {run.shard[0]}/{count} again", "each shard once")
        seen.add(run.shard[0])
    missing = sorted(set(range(1, count + 1)) - seen)
    if missing:
        raise InputError(paths[0], f"shard {missing[0]}/{count} is missing", f"all {count} shards")
    shards.sort(key=lambda run: run.shard or (0, 0))
    return _joined(shards)


def _joined(shards: list[Run]) -> Run:
    """One run from complete, checked shards."""
    images = sorted((i for run in shards for i in run.truth.images), key=lambda image: image.id)
    if len({image.id for image in images}) != len(images):
        raise InputError("shards", "two of them hold the same image", "shards of one run")
    boxes = [box for run in shards for box in run.truth.boxes]
    truth = dataclasses.replace(
        shards[0].truth,
        images=tuple(images),
        boxes=tuple(sorted(boxes, key=lambda box: box.image_id)),
    )
    predictions = Predictions.from_rows([row for run in shards for row in run.predictions.rows()])
    record = {
        "command": provenance.command_line(),
        "versions": provenance.versions(),
        "shards": [dict(run.provenance) for run in shards],
    }
    digests = {key: value for run in shards for key, value in run.image_digests.items()}
    run = Run(shards[0].model, shards[0].settings, truth, predictions, digests, record)
    return run.with_metrics(measure(truth, predictions))
