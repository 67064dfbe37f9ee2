"""The functions of yolo-eval for programs: `score` and `compare`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

from yolo_core.errors import InputError
from yolo_core.outputs import check_outputs
from yolo_eval.figures.compare import Comparison, comparable
from yolo_eval.figures.compare import compare as compare_runs
from yolo_eval.pages.publish import check_place, publish, publish_run
from yolo_eval.pages.text import details
from yolo_eval.runs.evaluate import OutputFiles, evaluate, score_file
from yolo_eval.runs.ground_truth import GroundTruth, from_coco, from_data_yaml
from yolo_eval.runs.predict import PredictSettings
from yolo_eval.runs.run import Run, read_run

PathLike = Union[str, "os.PathLike[str]"]
_LISTS = (".json", ".json.gz")


def score(
    model: PathLike,
    data: PathLike | None = None,
    *,
    images: PathLike | None = None,
    annotations: PathLike | None = None,
    split: str = "val",
    out: PathLike | None = None,
    jobs: int = 1,
    **settings: Any,
) -> Run:
    """Run a model over labelled pictures and measure it; `run.metrics` holds the figures, 0 to 1.

    model: a checkpoint, a CVM model folder or a bundle; or detections of any tool, a COCO results
    list (.json, .json.gz), which needs no pictures. data: a YOLO data.yaml with its `split`, or
    else images and annotations, a folder and a COCO file. out: where the run file goes, None for
    nowhere. jobs: processes. settings: those of `PredictSettings`: imgsz, mode, conf, iou, max_det,
    classes, threads, device. InputError for a bad model, picture, annotation or output.
    """
    known = str(model).endswith(_LISTS)
    truth = _truth(data, split, images, annotations, pictures=not known)
    place = None if out is None else Path(out)
    if known:
        return score_file(Path(model), truth, OutputFiles(json=place))
    check_outputs([data, annotations], [place])
    return evaluate(str(model), truth, PredictSettings(**settings), jobs, out=place)


def write_page(model: PathLike, data: PathLike, page: PathLike) -> list[str]:
    """Score a model on the `val` part of a data.yaml and write its page, for `yolo-train fit`.

    Returns the classes and the mistakes by kind, as lines. InputError as of `score`.
    """
    check_outputs([data], [Path(page)])
    run = score(model, data)
    publish_run(run, Path(page))
    return details(run).splitlines()


def compare(
    *runs: Run | PathLike,
    out: PathLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    different_settings: bool = False,
) -> Comparison:
    """Say what changed from the first run to every other, with 95 % intervals.

    runs: two or more, as `score` returns them or as run files. out: folder for report.html,
    metrics.json and summary.md, None for nowhere. resamples: draws of the bootstrap, seeded by
    seed. classes: names of those to look at, None for all. different_settings: compare runs of
    different settings too, and name every difference. InputError where runs cannot be compared.
    """
    files = [run for run in runs if not isinstance(run, Run)]
    if out is not None:
        check_place(Path(out), [Path(file) for file in files])
    names = [run.model["name"] if isinstance(run, Run) else str(run) for run in runs]
    read = [run if isinstance(run, Run) else read_run(Path(run)) for run in runs]
    found = comparable(read, names, classes, different=different_settings)
    comparison = compare_runs(found, resamples, seed)
    if out is not None:
        publish(comparison, Path(out))
    return comparison


def _truth(
    data: PathLike | None,
    split: str,
    images: PathLike | None,
    annotations: PathLike | None,
    pictures: bool,
) -> GroundTruth:
    if data is not None and images is None and annotations is None:
        return from_data_yaml(Path(data), split)
    if data is None and annotations is not None and (images is not None or not pictures):
        folder = None if images is None else Path(images)
        return from_coco(Path(annotations), folder, pictures=pictures)
    raise InputError("score", "is given no ground truth", "data, or images and annotations")
