"""The images of a run on the workers of a Dask cluster.

Every picture is a task of its own, done as on one machine, so the result does not depend on which
worker does it or how often one is lost: Dask gives the pictures of a lost worker to another, and
waits for one where none is left. Model and pictures lie at the same place for every worker.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from yolo_core.datasets.coco_json import Image
from yolo_core.errors import InputError
from yolo_core.yolo.predictor import Predictor
from yolo_eval import __version__
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.predict import PredictSettings, predict_one
from yolo_eval.runs.run import Row

#: Pictures under way at a time: the scheduler keeps what is submitted in memory.
_AHEAD = 256
#: Seconds that a scheduler may take to answer.
_CONNECT = 20
#: One picture at a time in a process, as everywhere: a predictor's buffers are its own.
_lock = threading.Lock()
#: The predictor of this worker, and what it was opened for.
_opened: dict[Any, Predictor] = {}


def over_cluster(
    address: str, model: str, digest: str, truth: GroundTruth, images: Sequence[Image],
    settings: PredictSettings, ids: tuple[int | None, ...],
) -> Iterator[tuple[int, str, list[Row]]]:  # fmt: skip
    """The images' results as they come. address: of the scheduler, as tcp://host:8786.

    digest: of the model here; a worker that finds another one is an InputError, and so are a
    scheduler that does not answer and a picture over which workers die.
    """
    # A worker stands in a folder of its own.
    model = os.path.abspath(model)
    truth = dataclasses.replace(truth, folder=os.path.abspath(truth.folder))
    with _client(address) as client:
        from distributed import KilledWorker, as_completed

        waiting = iter(images)

        def submitted(image: Image) -> Any:
            # The picture's size and name alone: the ground truth of all travels for nobody.
            own = dataclasses.replace(truth, images=(image,), boxes=())
            task = (__version__, model, digest, own, image, settings, ids)
            return client.submit(on_worker, *task, pure=False)

        first = map(submitted, islice(waiting, _AHEAD))
        running = as_completed(first, loop=client.loop)
        for future in running:
            try:
                result = future.result()
            except KilledWorker as error:
                cause = f"lost {error.allowed_failures + 1} workers over one picture"
                raise InputError(address, cause, "workers with more memory") from error
            except ImportError as error:
                expected = f"yolo-eval {__version__} on every worker"
                raise InputError(address, f"has a worker without {error.name}", expected) from error
            running.update(map(submitted, islice(waiting, 1)))
            yield result


def _client(address: str) -> Any:
    if importlib.util.find_spec("distributed") is None:
        raise InputError("--dask", "needs Dask, which is not installed", "pip install distributed")
    from distributed import Client

    try:
        return Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        cause = f"does not answer as a Dask scheduler ({error})"
        raise InputError(address, cause, "one as tcp://host:8786") from error


def on_worker(
    version: str, model: str, digest: str, truth: GroundTruth, image: Image,
    settings: PredictSettings, ids: tuple[int | None, ...],
) -> tuple[int, str, list[Row]]:  # fmt: skip
    """One picture, in the process of a worker."""
    if version != __version__:
        raise InputError("worker", f"has yolo-eval {__version__}", version)
    with _lock:
        key = (model, digest, repr(settings))
        if key not in _opened:
            _opened.clear()
            predictor = settings.opened(model)
            if predictor.digest != digest:
                raise InputError(model, "is another model on a worker", "the same files everywhere")
            _opened[key] = predictor
        return predict_one(_opened[key], truth, image, settings, ids)
