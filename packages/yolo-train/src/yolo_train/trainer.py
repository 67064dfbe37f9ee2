"""The training loop: what happens in a step, in an epoch, and between epochs.

Everything random depends on (seed, epoch, position) and everything that changes from epoch to
epoch is in the run's state, so a resumed run continues exactly as it would have.
"""

from __future__ import annotations

import dataclasses
import functools
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
import numpy as np

from yolo_core import console
from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from yolo_core.mxnet.device import contexts, memory_for
from yolo_core.mxnet.network import parameters_of
from yolo_core.progress import progress
from yolo_core.replacing import only_one
from yolo_core.yolo.dataset import read_data_yaml
from yolo_core.yolo.letterbox import rounded_imgsz
from yolo_core.yolo.samples import Sample, check_samples
from yolo_train import operators, pictures, plots
from yolo_train.batches import Loader, Source
from yolo_train.board import opened_board
from yolo_train.gradients import GradientSum
from yolo_train.hyp import read_hyp
from yolo_train.images import ImageCache
from yolo_train.learner import Diverged, Learner
from yolo_train.loss import scaled_gains
from yolo_train.options import FitOptions
from yolo_train.page import write_page
from yolo_train.recipe import knows_classes, remedy, settled
from yolo_train.rectangles import Size, by_shape, rectangle
from yolo_train.run_folder import COLUMNS, RunFolder
from yolo_train.samples import ONE_CLASS, digest, of_one_class
from yolo_train.schedule import Rates, Schedule
from yolo_train.start import (
    architecture_to_text,
    check_origins,
    continued_architecture,
    continued_start,
    new_start,
    origins,
    planned_architecture,
    read_trained,
    read_weights,
)
from yolo_train.teacher import Teacher, split_pictures, unlabelled
from yolo_train.validate import Validated, Validator

#: Training batches, and validation batches, that are drawn.
_PICTURES = 3
#: The number that stands for the start, before epoch 0.
_START = -1


class Training:
    """One run from its options to its last epoch."""

    def __init__(self, options: FitOptions, earlier: RunFolder | None = None) -> None:
        """earlier: the folder of a run with these options that is taken up again."""
        if earlier is None:
            # Refused before the data are read.
            self._hyp = read_hyp(options.hyp, options.set, functools.partial(click.echo, err=True))
        else:
            self._hyp = read_hyp(earlier.path / "hyp.yaml")
        self._devices = contexts(options.device)
        self._sums = GradientSum(self._devices)
        shares = self._sums.workers * len(self._devices)
        if options.batch_size % shares:
            raise InputError(
                "--batch-size", f"is {options.batch_size}", f"a multiple of {shares} devices"
            )
        state = None if earlier is None else earlier.read_state()
        # A state holds all parameters; only a quantizer's grid is made anew from the checkpoint.
        weights = read_weights(options) if state is None or options.qat else None
        taught_by = None if options.teacher is None else read_trained(options.teacher)
        self._teacher = Teacher(taught_by, self._devices) if taught_by else None
        #: What a resumed run reads again of its start; other files would change its result.
        self._origins = origins(options, taught_by, weights)
        # An absent split is told before the other is looked through.
        if self._teacher:
            images, names = split_pictures(options.data), self._teacher.architecture.names
        else:
            data = read_data_yaml(options.data)
            images, names = {split: data.images(split) for split in ("train", "val")}, data.names
        labelled = len(names)
        names = ONE_CLASS if options.single_cls else names
        self._names = names
        if state is None or options.qat:
            planned = planned_architecture(options, self._hyp, names, weights)
        else:
            planned = continued_architecture(state)
        if self._teacher:
            self._teacher.refuse_other_heads(planned, str(options.weights))
        side, _ = rounded_imgsz(options.imgsz, "--imgsz", planned.max_stride)
        self._options = dataclasses.replace(options, imgsz=side)
        self._train, self._val = (
            self._samples(split, images[split], labelled) for split in ("train", "val")
        )
        known = state is not None or knows_classes(planned, names, weights)
        options, said = settled(self._options, known, len(self._train))
        self._options = options
        if state is None:
            self._hyp = read_hyp(options.hyp, options.set)
            if said:
                click.echo(said, err=True)
        self._per_epoch = -(-len(self._train) // options.batch_size)
        self._schedule = Schedule(
            self._hyp, options.epochs, self._per_epoch, options.batch_size, options.cos_lr,
            options.nominal_batch,
        )  # fmt: skip
        if state is None:
            start = new_start(options, self._hyp, planned, self._train, weights)
        else:
            start = continued_start(options, planned, self._train, weights)
        architecture = start.architecture
        slower = operators.notice(self._devices)
        if slower:
            click.echo(slower, err=True)
        self._learner = Learner(
            start, options, self._hyp, self._schedule, self._devices, self._sums, self._teacher
        )
        self._validator = Validator(
            self._val, architecture, side, 2 * options.batch_size, self._devices[0], self._hyp,
            scaled_gains(self._hyp, architecture.nc, side, architecture.levels),
        )  # fmt: skip
        self._done, self._best, self._best_epoch = 0, -1.0, 0
        self._seen = 0
        self._class_map: Array = np.zeros(architecture.nc)
        if state is not None and earlier is not None:
            self._restore(state, str(earlier.path))
        #: Only the first machine writes.
        self._folder: RunFolder | None = None
        if self._sums.rank == 0:
            self._folder = earlier or self._create_folder()

    def _samples(self, split: str, images: Sequence[Path], nc: int) -> tuple[Sample, ...]:
        """The samples of a split with labels of nc classes, or with what the teacher finds."""
        options = self._options
        if self._teacher:
            found = unlabelled(images, split, options.strict)
            if split == "train":
                return found
            return self._teacher.labelled(
                found, options.imgsz, 2 * options.batch_size, str(options.teacher)
            )
        samples, report = check_samples(images, nc, split, need_boxes=True)
        click.echo(report.summary(), err=True)
        if self._options.strict:
            report.refuse_faults()
        return tuple(map(of_one_class, samples)) if self._options.single_cls else samples

    def _create_folder(self) -> RunFolder:
        folder = RunFolder.create(self._options.project, self._options.name, self._options.exist_ok)
        folder.write_yaml("opt.yaml", self._options.from_anywhere().to_dict())
        folder.write_yaml("hyp.yaml", self._hyp.to_dict())
        return folder

    def _restore(self, state: Mapping[str, Array], source: str) -> None:
        try:
            if str(state["digest"]) != digest(self._train):
                raise InputError(source, "was trained on other images or labels", "the same data")
            check_origins(self._origins, state, self._options, source)
            self._learner.restore(state)
            self._done = int(state["epochs"])
            self._best, self._best_epoch = float(state["best"]), int(state["best_epoch"])
            self._class_map[:] = state["class_map"]
        except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
            raise InputError(source, f"has a state of another network ({error})") from error

    def run(self) -> RunFolder | None:
        """Train to the end. Returns the run folder; None on all machines but the first.

        InputError while another command trains in the same folder.
        """
        with only_one(self._folder.path) if self._folder else nullcontext():
            self._run()
        return self._folder

    def _run(self) -> None:
        options = self._options
        begin = time.monotonic()
        if self._done == 0 and self._teacher:
            self._score_start()
        if self._folder and self._done == 0:
            self._folder.write_state(self._state())
        if self._folder:
            console.goes_on(f"yolo-train fit --resume {shlex.quote(str(self._folder.path))}")
            if self._done == 0 and options.plots and not self._teacher:
                plots.labels(self._folder.path / "labels.jpg", self._train, self._names)
        paths = [sample.image for sample in self._train]
        cache = ImageCache.of(paths, options.imgsz, options.cache) if options.cache else None
        # Four images around a point make a square.
        hyp = dataclasses.replace(self._hyp, mosaic=0.0, mixup=0.0) if options.rect else self._hyp
        source = Source.of(self._train, options.imgsz, hyp, options.seed, cache)
        share = options.batch_size // self._sums.workers
        with Loader(source, options.workers, share) as loader, self._opened_board():
            while self._done < options.epochs and not self._exhausted():
                self._epoch(self._done, loader)
        if self._folder:
            self._conclude(self._folder, time.monotonic() - begin)

    def _score_start(self) -> None:
        """The start is a candidate for the best: a student may be no better after any epoch."""
        fitness = 0.0
        if self._folder:
            validated = self._validator.run(self._learner.average, "validate start")
            scores = validated.scores
            fitness = scores.fitness
            click.echo(f"before training: {_map_words(scores.map50, scores.map)}")
            self._write_checkpoint(self._folder.best, _START, validated)
        self._best = float(self._sums.total(np.array([fitness]))[0])
        self._best_epoch = _START

    @contextmanager
    def _opened_board(self) -> Iterator[None]:
        if self._folder is None:
            yield
            return
        with opened_board(self._folder.path, self._folder.rows) as self._board:
            yield

    def _exhausted(self) -> bool:
        """Whether nothing got better for too long. From the state alone: a resumed run agrees."""
        patience = self._options.patience
        if not 0 < patience < self._done - self._best_epoch:
            return False
        click.echo(f"No better for {patience} epochs: stopped.", err=True)
        return True

    def _epoch(self, epoch: int, loader: Loader) -> None:
        options = self._options
        totals = np.zeros(3)
        rates = self._schedule.at(epoch, 0)
        order = self._order(epoch)
        share = options.batch_size // self._sums.workers
        mine = self._sums.rank * share
        starts = self._starts(epoch)
        positions = [range(start + mine, start + mine + share) for start in starts]
        sizes = [self._rectangle(order, start) for start in starts] if options.rect else None
        made = loader.epoch(epoch, order, positions, sizes)
        label = f"epoch {epoch}/{options.epochs - 1}"
        if self._sums.rank == 0:
            made = progress(made, label, total=len(positions), unit="batches")
        for number, batch in enumerate(made):
            if self._folder and options.plots and epoch == 0 and number < _PICTURES:
                pictures.train_batch(self._folder.path / f"train_batch{number}.jpg", batch)
            rates = self._schedule.at(epoch, number)
            self._seen += options.batch_size
            with self._told(epoch, number):
                totals += self._learner.learn(batch, rates, self._side(epoch, number))
        with self._told(epoch, len(positions) - 1):
            self._learner.update(rates)
        losses = self._sums.total(totals / len(positions)) / self._sums.workers
        self._validate(epoch, losses, rates)

    @contextmanager
    def _told(self, epoch: int, number: int) -> Iterator[None]:
        """Say in which batch a training left the finite numbers, and what is left of it."""
        try:
            yield
        except Diverged as error:
            expected = "a smaller learning rate (-o lr0=…)"
            if epoch and self._folder:
                expected += f"; {self._folder.last} is that of epoch {epoch - 1}"
            raise InputError(f"epoch {epoch} batch {number}", str(error), expected) from error

    def _starts(self, epoch: int) -> list[int]:
        """Where in the order each batch of an epoch begins.

        The last batch is filled up from the beginning of the order: every batch is whole.
        """
        starts = [number * self._options.batch_size for number in range(self._per_epoch)]
        if self._options.rect:  # images of like shape stay together, their batches are shuffled
            np.random.default_rng([self._options.seed, epoch, 2]).shuffle(starts)
        return starts

    def _rectangle(self, order: Sequence[int], start: int) -> Size:
        """(height, width) of the batch that begins at this place of the order."""
        places = range(start, start + self._options.batch_size)
        sizes = [self._train[order[place % len(order)]].size for place in places]
        stride = self._learner.architecture.max_stride
        return rectangle(sizes, self._options.imgsz, stride)

    def _order(self, epoch: int) -> list[int]:
        """Sample numbers of an epoch: each once, or by the need of their classes."""
        count = len(self._train)
        if self._options.rect:
            return by_shape([sample.size for sample in self._train])
        rng = np.random.default_rng([self._options.seed, epoch])
        if not self._options.image_weights:
            return [int(number) for number in rng.permutation(count)]
        share = image_weights(self._train, self._class_map)
        return [int(number) for number in rng.choice(count, size=count, p=share)]

    def _side(self, epoch: int, number: int) -> int:
        """Pixels of the network's input: half to one and a half of --imgsz with --multi-scale."""
        side = self._options.imgsz
        if not self._options.multi_scale:
            return side
        rng = np.random.default_rng([self._options.seed, epoch, number, 1])
        step = self._learner.architecture.max_stride
        return max(int(rng.integers(side // 2, side + side // 2 + 1)) // step, 1) * step

    def _validate(self, epoch: int, losses: Array, rates: Rates) -> None:
        """Scores, checkpoints and state of a complete epoch; the first machine's count."""
        fitness, class_map = 0.0, np.zeros_like(self._class_map)
        validated: Validated | None = None
        if self._folder:
            validated = self._validator.run(self._learner.average, f"validate {epoch}")
            fitness = validated.scores.fitness
            class_map = np.nan_to_num(np.array(validated.scores.class_map))
        agreed = self._sums.total(np.array([fitness, *class_map]))
        fitness, self._class_map = float(agreed[0]), agreed[1:]
        better = fitness > self._best
        if better:
            self._best, self._best_epoch = fitness, epoch
        self._done = epoch + 1
        if self._folder and validated:
            row = _row(epoch, losses, validated, rates)
            self._folder.add_row(row)
            self._board.add(row)
            click.echo(_line(epoch, losses, validated))
            period = self._options.save_period
            kept = self._folder.path / "weights" / f"epoch{epoch}"
            for stem, wanted in (
                (self._folder.last, True),
                (self._folder.best, better),
                (kept, period > 0 and epoch % period == 0),
            ):
                if wanted:
                    self._write_checkpoint(stem, epoch, validated)
            self._folder.write_state(self._state())

    def _state(self) -> dict[str, Array]:
        return {
            **self._learner.state(),
            "architecture": np.array(architecture_to_text(self._learner.architecture)),
            "digest": np.array(digest(self._train)),
            "epochs": np.array(self._done),
            "best": np.array(self._best),
            "best_epoch": np.array(self._best_epoch),
            **{name: np.array(found) for name, found in self._origins.items()},
            "class_map": self._class_map,
        }

    def _write_checkpoint(self, stem: Path, epoch: int, validated: Validated) -> None:
        meta = {
            "imgsz": self._options.imgsz,
            "epoch": epoch,
            "map50": round(validated.scores.map50, 6),
            "map": round(validated.scores.map, 6),
            "source": "yolo-train",
        }
        parameters = parameters_of(self._learner.average)
        write_checkpoint(
            stem,
            Checkpoint(self._learner.architecture, parameters, self._learner.net.fused, meta=meta),
        )

    def _conclude(self, folder: RunFolder, seconds: float) -> None:
        """Plots of the whole run and of its best checkpoint, and the closing line."""
        best = read_checkpoint(folder.best)
        if self._options.plots:
            self._learner.load_average(best.parameters)
            validated = self._validator.run(self._learner.average, "validate best")
            plots.results(folder.path / "results.png", folder.rows, self._best_epoch)
            plots.curves(folder.path, validated.scores, self._names)
            plots.confusion(folder.path / plots.LAST, validated, self._names)
            pictures.val_batches(folder.path, self._val, validated, self._names, _PICTURES)
        if self._best_epoch == _START:
            map50, mean, when = (
                float(best.meta["map50"]),
                float(best.meta["map"]),
                "before training",
            )
            best_row = {"metrics/mAP_0.5": map50, "metrics/mAP_0.5:0.95": mean}
        else:
            best_row = folder.rows[self._best_epoch]
            map50, mean = best_row["metrics/mAP_0.5"], best_row["metrics/mAP_0.5:0.95"]
            when = f"in epoch {self._best_epoch}"
        rate = self._seen / seconds if seconds else 0.0
        click.echo(
            f"{folder.best}: {_map_words(map50, mean)} {when}; "
            f"{seconds:.0f} s of training, {rate:.1f} images/s"
        )
        console.answer(
            {"run": str(folder.path), "best": str(folder.best), "epoch": self._best_epoch,
             "images_per_second": rate, **best_row}
        )  # fmt: skip
        if self._best_epoch == _START:
            click.echo("No epoch is nearer to the teacher than the start was: best is the start.")
        if self._options.plots and not self._teacher and not self._options.single_cls:
            write_page(folder, self._options.data)
        advice = remedy(self._options, map50, len(self._train))
        if advice:
            click.echo(advice)
            return
        data, size = self._options.data, self._learner.architecture.model_name
        out = f"qout/{folder.path.name}/{size}_cvm"
        quantize = ("yolo-mrt", "quantize", folder.path, "--data", data, "--out", out)
        coco = ("yolo-eval", "coco", folder.path, "--data", data, "--json", "float.json")
        detect = ("yolo-eval", "detect", folder.path, "PICTURES")
        # What a teacher is for has no labels to be scored with.
        console.next_steps(quantize, *(() if self._teacher else (coco,)), detect)


def _map_words(map50: float, mean: float) -> str:
    return f"mAP@0.5 {map50:.4f}, mAP@0.5:0.95 {mean:.4f}"


def _row(epoch: int, losses: Array, validated: Validated, rates: Rates) -> dict[str, float]:
    scores = validated.scores
    values = (
        epoch, *losses, scores.precision, scores.recall, scores.map50, scores.map,
        *validated.losses, rates.lr, rates.lr, rates.bias_lr,
    )  # fmt: skip
    return dict(zip(COLUMNS, (float(value) for value in values)))


def _line(epoch: int, losses: Array, validated: Validated) -> str:
    scores = validated.scores
    return (
        f"epoch {epoch}: box {losses[0]:.4f} obj {losses[1]:.4f} cls {losses[2]:.4f}, "
        f"P {scores.precision:.3f} R {scores.recall:.3f} mAP@0.5 {scores.map50:.4f} "
        f"mAP@0.5:0.95 {scores.map:.4f}"
    )


def image_weights(samples: Sequence[Sample], class_map: Array) -> Array:
    """How likely each sample is drawn: by its objects' rarity and low AP (class weights).

    class_map: AP of each class. Returns shares that sum to 1.
    """
    classes = len(class_map)
    counts = np.array(
        [np.bincount(sample.labels[:, 0].astype(int), minlength=classes) for sample in samples]
    )
    total = np.maximum(counts.sum(axis=0), 1)
    need = (1 - class_map) ** 2 / total
    # A background keeps a small chance: it teaches what is not an object.
    weights = counts @ need + need.mean() + 1e-12
    result: Array = weights / weights.sum()
    return result


def fit(options: FitOptions | None = None, /, **named: Any) -> RunFolder | None:
    """Train in a new run folder, which is returned; None on all machines but the first.

    options: what `yolo-train fit` is asked on the command line. The same options may be given by
    name instead: fit(data="my.yaml", epochs=3). InputError for what cannot be done.
    """
    options = FitOptions(**named) if options is None else options
    with _memory(options):
        return Training(options).run()


def resume(folder: RunFolder, epochs: int | None = None) -> RunFolder | None:
    """Continue an earlier run after its last complete epoch, with the options it was given.

    epochs: another end, with which a finished run trains on; its learning rate follows the longer
    schedule from there. A finished run without it is told, and nothing is done.
    """
    source = folder.path / "opt.yaml"
    options = FitOptions.from_dict(folder.read_yaml("opt.yaml"), str(source))
    done = folder.epochs_done()
    if epochs is not None and epochs != options.epochs:
        if epochs <= done:
            raise InputError("--epochs", f"is {epochs}", f"more than {done}, which are done")
        options = dataclasses.replace(options, epochs=epochs)
        folder.write_yaml("opt.yaml", options.to_dict())
    finished = done >= options.epochs
    if finished and (not options.plots or (folder.path / plots.LAST).exists()):
        click.echo(
            f"{folder.path} is finished: {done} epochs of {options.epochs}. "
            f"It trains on with: yolo-train fit --resume {folder.path} --epochs {2 * done}"
        )
        return folder
    with _memory(options):
        return Training(options, folder).run()


def _memory(options: FitOptions) -> AbstractContextManager[None]:
    """Names the batch where a training does not fit into the memory."""
    return memory_for(
        f"a batch of {options.batch_size} images of {options.imgsz} pixels",
        "a smaller --batch-size or --imgsz, or more memory and --resume",
    )
