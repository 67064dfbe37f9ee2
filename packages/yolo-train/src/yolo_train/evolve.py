"""Hyper-parameters by evolution: train, change the numbers of a good training, train again.

The rule is YOLOv5's: the parent is drawn from the five best generations by their fitness; most of
its numbers are multiplied by a random factor around 1, whose spread each number has its own
share of; the result is kept within limits. A number that is 0 stays 0. Generation 0 has the numbers
that were asked for. Everything random depends on (seed, generation), and a generation counts when
its line is in `evolve.csv`: an interrupted evolution continues as if nothing had happened.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from yolo_core import console
from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import atomic_write, read_bytes
from yolo_core.outputs import is_result, mark_folder
from yolo_core.replacing import only_one
from yolo_core.yaml_file import read_yaml, yaml_text
from yolo_train import trainer
from yolo_train.hyp import Hyp, read_hyp
from yolo_train.learner import Diverged
from yolo_train.options import FitOptions
from yolo_train.scores import fitness_of

TABLE, BEST, OPTIONS = "evolve.csv", "hyp_evolve.yaml", "opt.yaml"
#: Of each number: its share of the spread, and the limits that YOLOv5 keeps it within.
RANGES: dict[str, tuple[float, float, float]] = {
    "lr0": (1, 1e-5, 1e-1), "lrf": (1, 0.01, 1), "momentum": (0.3, 0.6, 0.98),
    "weight_decay": (1, 0, 0.001), "warmup_epochs": (1, 0, 5), "warmup_momentum": (1, 0, 0.95),
    "warmup_bias_lr": (1, 0, 0.2), "box": (1, 0.02, 0.2), "cls": (1, 0.2, 4),
    "cls_pw": (1, 0.5, 2), "obj": (1, 0.2, 4), "obj_pw": (1, 0.5, 2), "anchor_t": (1, 2, 8),
    "hsv_h": (1, 0, 0.1), "hsv_s": (1, 0, 0.9), "hsv_v": (1, 0, 0.9), "degrees": (1, 0, 45),
    "translate": (1, 0, 0.9), "scale": (1, 0, 0.9), "shear": (1, 0, 10),
    "perspective": (0, 0, 0.001), "flipud": (1, 0, 1), "fliplr": (0, 0, 1), "mosaic": (1, 0, 1),
    "mixup": (1, 0, 1), "copy_paste": (1, 0, 1),
}  # fmt: skip
#: Generations that may be parents, the share of numbers that change, and the spread of a change.
_PARENTS, _CHANGED, _SPREAD = 5, 0.8, 0.2
_FACTORS = (0.3, 3.0)
_SCORES = ("metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95")
_COLUMNS = ("generation", *_SCORES, *(field.name for field in dataclasses.fields(Hyp)))
_LIMIT = 16 << 20


@dataclass(frozen=True)
class Generation:
    """The numbers of a training and what its best epoch reached (in the order of `_SCORES`)."""

    hyp: Hyp
    scores: tuple[float, ...]

    @property
    def fitness(self) -> float:
        """That of its best epoch."""
        return fitness_of(self.scores[2], self.scores[3])


def evolve(options: FitOptions, generations: int) -> Path:
    """Train so many generations, with those that the folder has already. Returns the folder.

    options: of every training; `project` and `name` say where the folder lies, by default in
    `runs/evolve`. InputError for what cannot be done.
    """
    if "DMLC_PS_ROOT_URI" in os.environ:
        raise InputError("--evolve", "is not for several machines", "one, or one evolution on each")
    project = "runs/evolve" if options.project == FitOptions(data="").project else options.project
    folder = Path(project) / options.name
    if folder.is_dir() and any(folder.iterdir()) and not is_result(folder / OPTIONS):
        raise InputError(folder, "is a folder without an evolution", "another --name")
    folder.mkdir(parents=True, exist_ok=True)
    mark_folder(folder)
    with only_one(folder):
        _check_options(folder, options)
        console.goes_on()
        done = read_table(folder / TABLE) if (folder / TABLE).exists() else []
        for number in range(len(done), generations):
            hyp = mutated(done, options.seed) if done else None
            done.append(_train(folder, options, number, hyp))
            _write(folder, done)
            best = _best(done)
            click.echo(
                f"generation {number}: fitness {done[-1].fitness:.4f}, the best is "
                f"{done[best].fitness:.4f} of generation {best}"
            )
    best = _best(done)
    click.echo(f"{folder / BEST}: mAP@0.5 {done[best].scores[2]:.4f}, mAP@0.5:0.95 "
               f"{done[best].scores[3]:.4f} in generation {best} of {len(done)}")  # fmt: skip
    console.answer({"hyp": str(folder / BEST), "generation": best, "fitness": done[best].fitness})
    console.next_steps(("yolo-train", "fit", "--data", options.data, "--hyp", folder / BEST))
    return folder


def mutated(done: Sequence[Generation], seed: int) -> Hyp:
    """The numbers of the next generation. done: one generation or more."""
    rng = np.random.default_rng([seed, len(done)])
    ranked = sorted(done, key=lambda each: -each.fitness)[:_PARENTS]
    fitness = np.array([each.fitness for each in ranked])
    weights = fitness - fitness.min() + 1e-6
    parent = ranked[int(rng.choice(len(ranked), p=weights / weights.sum()))].hyp
    shares = np.array([share for share, _, _ in RANGES.values()])
    factors: Array = np.ones(len(shares))
    while (factors == 1).all():
        chosen = rng.random(len(shares)) < _CHANGED
        change = rng.normal(size=len(shares)) * rng.random() * _SPREAD
        factors = np.clip(1 + shares * chosen * change, *_FACTORS)
    values = parent.to_dict()
    for (name, (_, low, high)), factor in zip(RANGES.items(), factors):
        start = done[0].hyp.to_dict()[name]
        # What was asked for is allowed, wherever it lies.
        value = min(max(values[name] * factor, min(low, start)), max(high, start))
        values[name] = float(f"{value:.6g}")
    return Hyp(**values)


def read_table(path: Path) -> list[Generation]:
    """The generations of an `evolve.csv`. InputError where it is another file."""
    expected = "what `yolo-train fit --evolve` wrote"
    try:
        rows = list(csv.reader(read_bytes(path, _LIMIT).decode().splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, "is damaged", expected) from error
    if not rows or tuple(rows[0]) != _COLUMNS:
        raise InputError(path, "has other columns", expected)
    found = []
    for number, row in enumerate(rows[1:]):
        try:
            generation, *scores = (float(word) for word in row[: 1 + len(_SCORES)])
        except ValueError as error:
            raise InputError(path, f"line {number + 2} is damaged", expected) from error
        whole = len(row) == len(_COLUMNS) and generation == number
        if not whole or not all(0 <= score <= 1 for score in scores):
            raise InputError(path, f"line {number + 2} is damaged", expected)
        words = [f"{name}={word}" for name, word in zip(_COLUMNS, row)][1 + len(_SCORES) :]
        found.append(Generation(read_hyp(None, words), tuple(scores)))
    return found


def _check_options(folder: Path, options: FitOptions) -> None:
    """Write the options of a new evolution; a continued one must have the same."""
    whole = options.from_anywhere().to_dict()
    if not (folder / OPTIONS).exists():
        atomic_write(folder / OPTIONS, yaml_text(whole))
        return
    before = read_yaml(folder / OPTIONS)
    earlier = before if isinstance(before, dict) else {}
    for name, value in whole.items():
        if name != "workers" and earlier.get(name) != value:
            cause = f"was begun with {name} {earlier.get(name)!r}, not {value!r}"
            raise InputError(folder, cause, "the same options, or another --name")


def _train(folder: Path, options: FitOptions, number: int, hyp: Hyp | None) -> Generation:
    """Train with these numbers; None are those that the options ask for."""
    chosen = dataclasses.replace(
        options, project=str(folder), name=f"generation{number}-", plots=False
    )
    if hyp is not None:
        words = tuple(f"{name}={value!r}" for name, value in hyp.to_dict().items())
        chosen = dataclasses.replace(chosen, set=words)
    try:
        run = trainer.fit(chosen)
    except InputError as error:
        if hyp is None or not isinstance(error.__cause__, Diverged):
            raise
        click.echo(f"{error}: this generation counts as one that found nothing", err=True)
        return Generation(hyp, (0.0,) * len(_SCORES))
    assert run is not None, "there is one machine"
    hyp = read_hyp(run.path / "hyp.yaml")
    best = max((_scores(row) for row in run.rows), key=lambda s: Generation(hyp, s).fitness)
    for file in sorted((run.path / "weights").iterdir()):
        if is_result(file):  # tens of megabytes that nobody will look at
            file.unlink()
    return Generation(hyp, best)


def _scores(row: dict[str, float]) -> tuple[float, ...]:
    return tuple(float(f"{row[name]:.6g}") for name in _SCORES)


def _best(done: Sequence[Generation]) -> int:
    return max(range(len(done)), key=lambda number: done[number].fitness)


def _write(folder: Path, done: Sequence[Generation]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for number, each in enumerate(done):
        numbers = (*each.scores, *each.hyp.to_dict().values())
        writer.writerow([number, *(repr(value) for value in numbers)])
    best = _best(done)
    heading = f"# Generation {best} of {len(done)}: fitness {done[best].fitness:.4f}\n"
    atomic_write(folder / BEST, heading + yaml_text(done[best].hyp.to_dict()))
    atomic_write(folder / TABLE, text.getvalue())
