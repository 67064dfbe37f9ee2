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
#: Classes whose names still fit along an axis.
_NAMED = 40


def results(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Every column of results.csv over the epochs."""
    figure, axes = _figure(3, 4, (14, 8))
    shown = [name for name in COLUMNS if name not in ("epoch", "x/lr1")]
    epochs = [row["epoch"] for row in rows]
    for axis, name in zip(axes.flat, shown):
        axis.plot(epochs, [row[name] for row in rows], marker=".")
        axis.set_title(name)
        axis.grid(alpha=0.3)
    _save(figure, path)


def curves(folder: Path, scores: Scores) -> None:
    """PR_curve.png, and precision, recall and F1 over the confidence."""
    precision, recall, f1 = np.array(scores.p), np.array(scores.r), np.array(scores.f1)
    if not len(precision):
        return
    lines = {
        "PR_curve.png": (
            np.linspace(0, 1, len(scores.curve_precision)), np.array(scores.curve_precision),
            "recall", f"precision (mAP@0.5 {scores.map50:.3f})",
        ),
        "P_curve.png": (CONFIDENCES, precision, "confidence", "precision"),
        "R_curve.png": (CONFIDENCES, recall, "confidence", "recall"),
        "F1_curve.png": (CONFIDENCES, f1, "confidence", f"F1 (best {f1.max():.3f})"),
    }  # fmt: skip
    for name, (x, y, x_label, y_label) in lines.items():
        figure, axes = _figure(1, 1, (7, 5))
        axes.plot(x, y, linewidth=2)
        axes.set(xlabel=x_label, ylabel=y_label, xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        _save(figure, folder / name)


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
    """The confusion matrix, each true class summing to 1."""
    matrix = confusion_matrix(validated, len(names)).astype(np.float64)
    matrix /= np.maximum(matrix.sum(axis=0, keepdims=True), 1)
    figure, axes = _figure(1, 1, (8, 7))
    shown = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(shown)
    axes.set(xlabel="true", ylabel="predicted")
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
