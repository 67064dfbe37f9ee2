"""Curves and tables of a training as image files, under the names YOLOv5 users know."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.files import atomic_write
from yolo_core.media.lettering import FONTS, spelled
from yolo_core.yolo.boxes import iou, pair
from yolo_core.yolo.samples import Sample
from yolo_train.run_folder import COLUMNS
from yolo_train.scores import CONFIDENCES, Scores
from yolo_train.validate import Validated

#: The plot that is written last.
LAST = "confusion_matrix.png"
#: A confusion matrix counts detections above this score that overlap at least so much.
_CONFUSION_SCORE, _CONFUSION_IOU = 0.25, 0.45
#: Classes whose names still fit along an axis, in a legend; whose counts fit into a matrix.
_NAMED, _LISTED, _NUMBERED = 40, 20, 30


def results(path: Path, rows: Sequence[dict[str, float]], best: int) -> None:
    """Every column of results.csv over the epochs. best: the epoch of the best checkpoint, -1 for
    the start before epoch 0."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(3, 4, (14, 8))
    shown = [name for name in COLUMNS if name not in ("epoch", "x/lr1")]
    epochs = [row["epoch"] for row in rows]
    for axis, name in zip(axes.flat, shown):
        axis.plot(epochs, [row[name] for row in rows], marker=".")
        axis.axvline(best, color="tab:green", linestyle="--", linewidth=1)
        axis.set(title=name, xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    when = f"epoch {best}" if best >= 0 else "before training"
    figure.suptitle(f"{len(rows)} epochs; the dashed line is the best, {when}")
    _save(figure, path)


def curves(folder: Path, scores: Scores, names: Sequence[str]) -> None:
    """PR_curve.png, and precision, recall and F1 over the confidence: each class and the mean."""
    precision, recall, f1 = np.array(scores.p), np.array(scores.r), np.array(scores.f1)
    if not len(precision):
        return
    best = int(f1.argmax())
    at_best = f"at confidence {CONFIDENCES[best]:.2f}"
    pr = np.array(scores.curve_precision)
    points = np.linspace(0, 1, len(pr))
    for key, x, mean, labels, title in (
        ("pr", points, pr, ("recall", "precision"), f"mAP@0.5 {scores.map50:.3f}"),
        ("p", CONFIDENCES, precision, ("confidence", "precision"),
         f"{precision[best]:.2f} {at_best}"),
        ("r", CONFIDENCES, recall, ("confidence", "recall"), f"{recall[best]:.2f} {at_best}"),
        ("f1", CONFIDENCES, f1, ("confidence", "F1"), f"best {f1[best]:.2f} {at_best}"),
    ):  # fmt: skip
        figure, axes = _figure(1, 1, (9, 6))
        _class_lines(axes, x, scores.class_curves.get(key), names, with_area=key == "pr")
        axes.plot(x, mean, color="navy", linewidth=3, label=f"all classes: {title}")
        axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(0, 1), ylim=(0, 1.02))
        axes.set_title(f"{labels[1]} over {labels[0]} at IoU 0.5, {title}")
        axes.grid(alpha=0.3)
        legend = axes.legend(bbox_to_anchor=(1.02, 1), loc="upper left")
        for text in legend.get_texts():
            text.set_fontfamily(_families())
        _save(figure, folder / f"{key.upper()}_curve.png")


def _class_lines(
    axes: Any, x: Array, table: Array | None, names: Sequence[str], with_area: bool
) -> None:
    """A thin line for each class that has objects; named where there are few."""
    if table is None:
        return
    for values, name in zip(table.T, names):
        if not values[0] >= 0:  # NaN or -1: no objects
            continue
        if len(names) > _LISTED:
            axes.plot(x, values, color="grey", linewidth=1, alpha=0.4)
            continue
        area = f" {values.mean():.3f}" if with_area else ""
        axes.plot(x, values, linewidth=1, label=f"{_short(name)}{area}")


def _short(name: str) -> str:
    text = spelled(name)
    return text if len(text) <= 24 else f"{text[:23]}…"


def confusion_matrix(validated: Validated, nc: int) -> Array:
    """Counts [nc + 1, nc + 1]: row the class found, column the true class; last is background."""
    matrix = np.zeros((nc + 1, nc + 1), np.int64)
    for truth, boxes in zip(validated.truths, validated.found):
        found = boxes[boxes[:, 4] > _CONFUSION_SCORE]
        overlap = iou(found[:, None, :4], truth[None, :, 1:])
        free_found, free_truth = set(range(len(found))), set(range(len(truth)))
        for one, other in pair(overlap, _CONFUSION_IOU):
            free_found.remove(one)
            free_truth.remove(other)
            matrix[int(found[one, 5]), int(truth[other, 0])] += 1
        for one in free_found:
            matrix[int(found[one, 5]), nc] += 1
        for other in free_truth:
            matrix[nc, int(truth[other, 0])] += 1
    return matrix


def confusion(path: Path, validated: Validated, names: Sequence[str]) -> None:
    """The confusion matrix: shares of each true class as colours, with few classes the counts."""
    counts = confusion_matrix(validated, len(names))
    matrix = counts / np.maximum(counts.sum(axis=0, keepdims=True), 1)
    side = min(max(7.0, 0.45 * len(counts)), 20.0)
    figure, axes = _figure(1, 1, (side + 1, side))
    shown = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(shown, label="share of the true class")
    axes.set(xlabel="true", ylabel="predicted")
    axes.set_title(f"boxes of score above {_CONFUSION_SCORE} that overlap by {_CONFUSION_IOU}")
    if len(names) <= _NUMBERED:
        for row, column in np.argwhere(counts > 0):
            axes.text(
                column, row, str(counts[row, column]), ha="center", va="center", fontsize=9,
                color="white" if matrix[row, column] > 0.5 else "black",
            )  # fmt: skip
    if len(names) <= _NAMED:
        ticks = [*map(spelled, names), "background"]
        axes.set_xticks(range(len(ticks)), ticks, rotation=90, fontfamily=_families())
        axes.set_yticks(range(len(ticks)), ticks, fontfamily=_families())
    _save(figure, path)


def labels(path: Path, samples: Sequence[Sample], names: Sequence[str]) -> None:
    """Objects per class, and where and how large the boxes are."""
    boxes = np.concatenate([sample.labels for sample in samples])
    figure, axes = _figure(1, 3, (14, 4.5))
    counts = np.bincount(boxes[:, 0].astype(int), minlength=len(names))
    axes[0].bar(range(len(names)), counts)
    if len(names) <= _NAMED:
        ticks = list(map(spelled, names))
        axes[0].set_xticks(range(len(names)), ticks, rotation=90, fontfamily=_families())
    axes[0].set_ylabel("objects")
    for axis, first, title in ((axes[1], 1, "centre"), (axes[2], 3, "size")):
        axis.hist2d(boxes[:, first], boxes[:, first + 1], bins=50, range=[[0, 1], [0, 1]])
        axis.set(title=title, xlabel="x" if first == 1 else "width")
        axis.set_ylabel("y" if first == 1 else "height")
    _save(figure, path)


@functools.cache
def _families() -> list[str]:
    """Font families with letters for class names of any script."""
    from matplotlib import font_manager

    for path in FONTS:
        font_manager.fontManager.addfont(str(path))
    return [font_manager.FontProperties(fname=str(path)).get_name() for path in FONTS]


def _figure(rows: int, columns: int, size: Any) -> Any:
    # The object interface needs no display and leaves no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)


def _save(figure: Any, path: Path) -> None:
    stream = io.BytesIO()
    figure.savefig(stream, format=path.suffix[1:], dpi=110)
    atomic_write(path, stream.getvalue())
