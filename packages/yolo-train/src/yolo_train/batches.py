"""Training batches, made ahead of time by worker processes.

The workers are started afresh (spawned, not forked: a fork of a process whose MXNet engine runs
can hang) and import neither MXNet nor the trainer. A sample depends on (seed, epoch, position)
alone, so any number of workers gives the same batches. A worker that dies ends the training with
an error instead of a wait: images travel in shared memory, because a worker that is killed while
it writes megabytes into a pipe leaves a reader that waits for the rest.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.yolo.letterbox import opencv
from yolo_core.yolo.samples import Sample
from yolo_train.augment import training_sample
from yolo_train.hyp import Hyp
from yolo_train.images import ImageCache, ImageReader, size_of
from yolo_train.rectangles import Size

#: Batches under way per worker.
_AHEAD = 3
#: Boxes are padded to a multiple of this, so that the loss meets few shapes.
_BOX_STEP = 64


@dataclass(frozen=True)
class Batch:
    """images: uint8 [B, 3, H, W] RGB. targets: float32 [T, 6] of image, class, centre x, centre
    y, width, height (shares of W and H); rows of class -1 are padding. Both hold until the next
    batch is asked for.
    """

    images: Array
    targets: Array


@dataclass(frozen=True)
class Source:
    """What a worker needs to make any sample of the training split."""

    paths: tuple[Path, ...]
    labels: tuple[Array, ...]
    sizes: tuple[tuple[int, int], ...]
    imgsz: int
    hyp: Hyp
    seed: int
    cache: ImageCache | None = None
    outlines: tuple[tuple[Array | None, ...], ...] = ()

    @classmethod
    def of(
        cls, samples: Sequence[Sample], imgsz: int, hyp: Hyp, seed: int,
        cache: ImageCache | None = None,
    ) -> Source:  # fmt: skip
        return cls(
            tuple(sample.image for sample in samples),
            tuple(sample.labels for sample in samples),
            tuple(sample.size for sample in samples),
            imgsz,
            hyp,
            seed,
            cache,
            tuple(sample.outlines for sample in samples),
        )


class SampleMaker:
    """Makes samples and batches of a `Source` in the process where it lives."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._reader = ImageReader(source.paths, source.imgsz, source.cache)
        opencv().setNumThreads(1)

    def load(self, number: int) -> tuple[Array, Array]:
        """Image at training size and its boxes [n, 5]: class, x1, y1, x2, y2 in its pixels."""
        image = self._reader.read(number)
        labels = self._source.labels[number].astype(np.float64)
        boxes = labels.copy()
        half = labels[:, 3:] / 2
        sides = np.array([image.shape[1], image.shape[0]], np.float64)
        boxes[:, 1:3] = (labels[:, 1:3] - half) * sides
        boxes[:, 3:] = (labels[:, 1:3] + half) * sides
        return image, boxes

    def outlines(self, number: int) -> tuple[Array | None, ...]:
        """The outlines of the boxes of `load`, in its pixels."""
        known = self._source.outlines[number] if self._source.outlines else ()
        if not any(each is not None for each in known):
            return ()
        height, width = size_of(self._source.sizes[number], self._source.imgsz)
        return tuple(None if each is None else each * (width, height) for each in known)

    def fill(
        self, images: Array, epoch: int, positions: Sequence[int], numbers: Sequence[int]
    ) -> Array:
        """Write the samples `numbers` into images [n, 3, H, W]; returns the targets.

        The randomness is that of (epoch, positions).
        """
        source = self._source
        size: Size = (images.shape[2], images.shape[3])
        extract = opencv().extractChannel
        sides = np.array(size[::-1])
        rows: list[Array] = []
        for place, (position, number) in enumerate(zip(positions, numbers)):
            rng = np.random.default_rng([source.seed, epoch, position])
            image, boxes = training_sample(
                self.load, number, len(source.paths), size, source.hyp, rng, self.outlines
            )
            for channel in range(3):
                extract(image, channel, images[place, channel])
            row = np.empty((len(boxes), 6), np.float32)
            row[:, 0], row[:, 1] = place, boxes[:, 0]
            row[:, 2:4] = (boxes[:, 1:3] + boxes[:, 3:]) / 2 / sides
            row[:, 4:] = (boxes[:, 3:] - boxes[:, 1:3]) / sides
            rows.append(row)
        return pad_targets(np.concatenate(rows))


def pad_targets(targets: Array) -> Array:
    """Targets [n, 6] with rows of class -1 up to the next multiple of 64 (at least 64)."""
    count = max(-(-len(targets) // _BOX_STEP), 1) * _BOX_STEP
    padded = np.zeros((count, 6), np.float32)
    padded[:, 1] = -1
    padded[:, 4:] = 1
    padded[: len(targets)] = targets
    return padded


def share_cores() -> None:
    """Let MXNet's threads wait less busily, so that the workers get the cores in between.

    To be called before MXNet is imported. GNU OpenMP spins for milliseconds by default, which on a
    machine with other work to do makes a training step several times slower.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _slots(memory: Any, batch: int, imgsz: int) -> Array:
    """Shared memory as places for batches of squares: uint8 [slots, bytes]."""
    return np.frombuffer(memory, np.uint8).reshape(-1, batch * 3 * imgsz * imgsz)


def _place(slot: Array, count: int, size: Size) -> Array:
    """A slot as `count` images of (height, width): uint8 [count, 3, H, W]."""
    return slot[: count * 3 * size[0] * size[1]].reshape(count, 3, *size)


_worker: tuple[SampleMaker, Array] | None = None


def _start_worker(source: Source, memory: Any, batch: int) -> None:
    global _worker
    # Ctrl-C reaches all processes of a terminal; the trainer ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = SampleMaker(source), _slots(memory, batch, source.imgsz)


def _end_with_parent() -> None:
    """A worker whose trainer was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(
    slot: int, size: Size, epoch: int, positions: Sequence[int], numbers: Sequence[int]
) -> Array:
    assert _worker is not None, "the pool starts every worker with a maker"
    maker, slots = _worker
    return maker.fill(_place(slots[slot], len(numbers), size), epoch, positions, numbers)


class Loader:
    """Batches of one training run. Use as a context manager: leaving it ends the workers."""

    def __init__(self, source: Source, workers: int, batch: int) -> None:
        """workers: 0 makes the samples in this process. batch: images of the largest batch."""
        self._pool: ProcessPoolExecutor | None = None
        self._here: SampleMaker | None = None
        self._ahead, self._square = max(workers * _AHEAD, 1), (source.imgsz, source.imgsz)
        context = multiprocessing.get_context("spawn")
        # No name in the file system: what is killed leaves nothing behind.
        memory = context.RawArray("B", self._ahead * batch * 3 * source.imgsz**2)
        self._slots = _slots(memory, batch, source.imgsz)
        if workers:
            self._pool = ProcessPoolExecutor(
                workers, context, _start_worker, (source, memory, batch)
            )
        else:
            self._here = SampleMaker(source)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def epoch(
        self, epoch: int, order: Sequence[int], batches: Sequence[Sequence[int]],
        sizes: Sequence[Size] | None = None,
    ) -> Iterator[Batch]:  # fmt: skip
        """The batches of an epoch.

        order: sample numbers. batches: positions in `order` of each batch; behind its end it
        begins again. sizes: (height, width) of each batch within the training size; squares of
        that size without it.
        """
        sizes = sizes or [self._square] * len(batches)
        tasks = [
            (epoch, positions, [order[position % len(order)] for position in positions])
            for positions in batches
        ]
        if self._pool is None:
            assert self._here is not None
            for task, size in zip(tasks, sizes):
                images = _place(self._slots[0], len(task[1]), size)
                yield Batch(images, self._here.fill(images, *task))
            return
        under_way: deque[Future[Array]] = deque()
        done = 0

        def next_batch() -> Batch:
            targets = under_way.popleft().result()
            slot = self._slots[done % self._ahead]
            return Batch(_place(slot, len(batches[done]), sizes[done]), targets)

        try:
            for number, task in enumerate(tasks):
                # The slot of the batch that was asked for last: nobody looks at it any more.
                under_way.append(
                    self._pool.submit(_make, number % self._ahead, sizes[number], *task)
                )
                if len(under_way) >= self._ahead:
                    yield next_batch()
                    done += 1
            while under_way:
                yield next_batch()
                done += 1
        except BrokenProcessPool as error:
            raise InputError("--workers", "a data worker died", "enough memory for it") from error
        finally:
            for future in under_way:
                with contextlib.suppress(BrokenProcessPool):
                    future.cancel()
