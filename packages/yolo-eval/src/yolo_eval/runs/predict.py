"""A model over a whole ground truth: every image alone, in any number of processes, resumable.

Images go through the model one at a time, so that the result depends neither on batching nor on
how many processes or machines share the work.
"""

from __future__ import annotations

import datetime
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from yolo_core.arrays import Array
from yolo_core.datasets.coco_json import Image
from yolo_core.errors import InputError
from yolo_core.files import sha256_file
from yolo_core.progress import progress
from yolo_core.yolo.boxes import NmsSettings, nms
from yolo_core.yolo.letterbox import read_image
from yolo_core.yolo.predictor import (
    Decider,
    Predictor,
    decision_of,
    detect,
    mode_of,
    open_predictor,
    own_imgsz,
    settle,
)
from yolo_eval.runs import classes, provenance
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.journal import Journal
from yolo_eval.runs.run import BOX_DIGITS, SCORE_DIGITS, Predictions, Row, Run


@dataclass(frozen=True)
class PredictSettings:
    """How a model is opened and its boxes are chosen.

    imgsz: side or (height, width) in pixels, None for the model's own. mode: "letterbox" keeps
    the aspect ratio, "squash" stretches, None does what the model says. conf, iou, max_det: None
    takes what a model decides by itself, else what COCO evaluation takes. rows: the host decides
    even where the model could, from the rows inside it. classes: the categories that are scored,
    None for all. class_map: a class of the model → its category, where the names differ. threads:
    per process, None for the model's default.
    """

    imgsz: tuple[int, int] | None = None
    mode: str | None = None
    conf: float | None = None
    iou: float | None = None
    max_det: int | None = None
    rows: bool = False
    classes: tuple[str, ...] | None = None
    class_map: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None
    device: str = "cpu"

    def opened(self, model: str) -> Predictor:
        """The model, as it is to be run. Raises InputError where it is damaged or cannot."""
        predictor = open_predictor(model, self.imgsz, self.threads, self.device)
        if self.rows and isinstance(predictor, Decider):
            return predictor.undecided()
        return predictor

    def nms(self, predictor: Predictor) -> NmsSettings:
        """How boxes are chosen. InputError for what the model's own graph decides otherwise."""
        return settle(predictor, NmsSettings(), self.conf, self.iou, self.max_det)

    def recorded(self, predictor: Predictor) -> dict[str, Any]:
        """What decides the predictions, for the run file; as it is decided, not as asked for."""
        record = {"mode": self.mode or mode_of(predictor), **asdict(self.nms(predictor))}
        if decision_of(predictor) is not None:
            record["decided"] = "graph"
        if self.classes is not None:
            record["classes"] = sorted(self.classes)
        if self.class_map:
            record["class_map"] = dict(sorted(self.class_map.items()))
        return record


#: Results of images as they come, from: the model and its digest, the ground truth, the images, the
#: settings, and the category of each of the model's classes.
Spread = Callable[
    [str, str, GroundTruth, list[Image], PredictSettings, tuple[Optional[int], ...]],
    Iterator[tuple[int, str, list[Row]]],
]


def predict(
    model: str,
    truth: GroundTruth,
    settings: PredictSettings,
    jobs: int = 1,
    shard: tuple[int, int] | None = None,
    journal: Path | None = None,
    spread: Spread | None = None,
) -> Run:
    """Predict every image of `truth`, or of its shard (index, count), and return the run.

    spread: has the images done elsewhere, instead of by `jobs` processes. journal: where
    predictions are kept until the caller has written the run; an existing one of the same run is
    continued. Raises InputError for a bad model, image or journal.
    """
    predictor = settings.opened(model)
    description, recorded = describe(model, predictor), settings.recorded(predictor)
    own = own_imgsz(predictor)
    if own not in (None, predictor.imgsz):
        (height, width), (high, wide) = predictor.imgsz, own or (0, 0)
        line = f"{model}: is made for {wide}x{high} and runs at {width}x{height}, as asked for"
        print(line, file=sys.stderr)
    truth, ids = _scored_classes(predictor.architecture.names, truth, settings)
    if shard is not None:
        truth = truth.shard(*shard)
    bound = [description, recorded, truth.digest(), shard]
    begin, started = time.monotonic(), datetime.datetime.now(datetime.timezone.utc)
    done: dict[int, tuple[str, list[Row]]] = {}
    with ExitStack() as stack:
        book = None
        if journal is not None:
            book = stack.enter_context(Journal(journal, provenance.digest(bound), truth))
            done.update(book.done)
        todo = [image for image in truth.images if image.id not in done]
        resumed = len(truth.images) - len(todo)
        work: Iterable[tuple[int, str, list[Row]]]
        if spread is not None:
            work = spread(model, predictor.digest, truth, todo, settings, ids)
        elif jobs == 1 or len(todo) < 2:
            work = (predict_one(predictor, truth, image, settings, ids) for image in todo)
        else:
            del predictor
            work = _in_processes(model, truth, todo, settings, ids, jobs)
        for image, file_digest, rows in progress(work, "predict", len(todo), unit="images"):
            done[image] = (file_digest, rows)
            if book is not None:
                book.add(image, file_digest, rows)
    seconds = time.monotonic() - begin
    rows_of_all = [row for image in truth.images for row in done[image.id][1]]
    record = {
        "command": provenance.command_line(),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "images_per_second": round(len(todo) / seconds, 3) if todo and seconds > 0 else None,
        "resumed_images": resumed,
        "jobs": jobs,
        "threads": settings.threads,
    }
    digests = {image.id: done[image.id][0] for image in truth.images}
    return Run(description, recorded, truth, Predictions.from_rows(rows_of_all),
               digests, record, shard)  # fmt: skip


def _scored_classes(
    names: Sequence[str], truth: GroundTruth, settings: PredictSettings
) -> tuple[GroundTruth, tuple[int | None, ...]]:
    """The ground truth of the classes that count, and the category of each of the model's classes.

    What is left out is said on standard error.
    """
    ids = classes.targets(names, truth, settings.class_map)
    whole = len(truth.categories)
    if settings.classes is not None:
        truth = classes.restrict(truth, settings.classes)
        kept = {category.id for category in truth.categories}
        ids = tuple(number if number in kept else None for number in ids)
    for line in classes.left_out(names, ids, truth, whole):
        print(line, file=sys.stderr)
    return truth, ids


def describe(path: str, predictor: Predictor) -> dict[str, Any]:
    """What a run file says about its model."""
    return {
        "name": re.sub(r"[^A-Za-z0-9._-]", "_", predictor.architecture.model_name).lstrip("."),
        "kind": predictor.kind,
        "digest": predictor.digest,
        "imgsz": list(predictor.imgsz),
        "path": str(path),
    }


def predict_one(
    predictor: Predictor,
    truth: GroundTruth,
    image: Image,
    settings: PredictSettings,
    ids: tuple[int | None, ...],
) -> tuple[int, str, list[Row]]:
    """One image's digest and rounded detections."""
    path = truth.path(image)
    digest, pixels = sha256_file(path), read_image(path)
    if pixels.shape[:2] != (image.height, image.width):
        raise InputError(
            path,
            f"is {pixels.shape[1]} by {pixels.shape[0]} pixels",
            f"{image.width} by {image.height} as in {truth.source}",
        )
    chosen = settings.nms(predictor)
    rows: list[Row] = []
    found = detect(predictor, pixels, chosen, mode=settings.mode)
    for x1, y1, x2, y2, score, category in _of_categories(found, ids, chosen).tolist():
        box = [round(value, BOX_DIGITS) for value in (x1, y1, x2 - x1, y2 - y1)]
        rows.append((image.id, int(category), box, round(score, SCORE_DIGITS)))
    return image.id, digest, rows


def _of_categories(found: Array, ids: tuple[int | None, ...], chosen: NmsSettings) -> Array:
    """Detections [n, 6] with the category's id in the last column instead of the class.

    Where several classes are scored as one category they suppress each other as one class does.
    """
    known = [number for number in ids if number is not None]
    label = found[:, 5].astype(np.int64)
    scored = np.array([number is not None for number in ids])[label]
    numbers = np.array([number or 0 for number in ids], dtype=np.int64)
    found, category = found[scored], numbers[label[scored]]
    if len(set(known)) < len(known):
        keep = nms(found[:, :4], found[:, 4], category, chosen.iou, chosen.max_det)
        found, category = found[keep], category[keep]
    return np.concatenate((found[:, :5], category[:, None]), axis=1)


# One process of several: its arguments arrive once, its predictor opens with the first image.
_worker: dict[str, Any] = {}


def _begin(
    model: str, truth: GroundTruth, settings: PredictSettings, ids: tuple[int | None, ...]
) -> None:
    # Ctrl-C is the parent's business; it lets running images finish.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if settings.threads is not None:
        # MXNet knows no other way, and reads this when it is first imported.
        os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    _worker.update(model=model, truth=truth, settings=settings, ids=ids)


def _end_with_parent() -> None:
    """A parent that is killed closes nothing; without this its processes would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _in_worker(image: Image) -> tuple[int, str, list[Row]]:
    settings = _worker["settings"]
    if "predictor" not in _worker:
        _worker["predictor"] = settings.opened(_worker["model"])
    return predict_one(_worker["predictor"], _worker["truth"], image, settings, _worker["ids"])


def _in_processes(
    model: str,
    truth: GroundTruth,
    images: list[Image],
    settings: PredictSettings,
    ids: tuple[int | None, ...],
    jobs: int,
) -> Iterator[tuple[int, str, list[Row]]]:
    """The images' results as they come, from fresh processes (frameworks dislike fork)."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, _begin, (model, truth, settings, ids))
    try:
        futures = [pool.submit(_in_worker, image) for image in images]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise InputError("--jobs", "a process was killed, perhaps for memory", "fewer") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def threads_per_process(jobs: int) -> int | None:
    """Threads for each of several processes; None (the model's default) for a single one."""
    return None if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
