"""What changed from one run to the next: figures with intervals, classes, detections, pictures.

The first run is the baseline A; every other run is compared with it. All figures are worked out
from the predictions in the run files, never copied from them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.progress import progress
from yolo_eval.figures.agreement import SHOWN, Agreement, ImageAgreement, agreement, most_changed
from yolo_eval.figures.bootstrap import (
    CONFIDENCES,
    FIGURES,
    POINT_FIGURES,
    Interval,
    WeightedRun,
    at_points,
    best_confidence,
    differences,
    draws,
    interval,
)
from yolo_eval.figures.cost import Cost
from yolo_eval.figures.curves import ClassCurves, class_curves
from yolo_eval.figures.metrics import from_scoring
from yolo_eval.figures.scoring import score
from yolo_eval.figures.settings import (
    SettingDifference,
    on_common_classes,
    refuse_differences,
)
from yolo_eval.figures.settings import differences as setting_differences
from yolo_eval.runs import provenance
from yolo_eval.runs.classes import rename_run, restrict_run
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.run import Run, read_run

#: Images shown side by side, bins of the drift histogram (odd, so that one lies around 0).
SHOWN_IMAGES = 20
DRIFT_EDGES = np.linspace(-0.21, 0.21, 22)


@dataclass(frozen=True)
class Pair:
    """One run B against the baseline A.

    figures: interval per figure. classes: AP interval per category. drift: counts per bin of
    `DRIFT_EDGES`; what lies outside counts in the outermost bins. changed: images that changed
    most, first the most.
    """

    run: Run
    figures: Mapping[str, Interval]
    classes: tuple[Interval, ...]
    agreement: Agreement
    drift: tuple[int, ...]
    changed: tuple[ImageAgreement, ...]


@dataclass(frozen=True, repr=False)
class Comparison:
    """labels: a short, distinct name per run, baseline first. curves: of every run's classes.

    costs: what each run's model takes to run, () where nobody measured it.
    """

    runs: tuple[Run, ...]
    labels: tuple[str, ...]
    pairs: tuple[Pair, ...]
    resamples: int
    seed: int
    provenance: Mapping[str, Any]
    curves: tuple[ClassCurves, ...]
    costs: tuple[Cost, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The content of `metrics.json`; fractions 0–1, None where nothing can be measured."""
        return {
            "format": "yolo-eval-compare/1",
            "images": len(self.runs[0].truth.images),
            "ground_truth_digest": self.runs[0].truth.digest(),
            "bootstrap": {"resamples": self.resamples, "seed": self.seed, "level": 0.95},
            "runs": [
                {
                    "label": label,
                    "model": dict(run.model),
                    "settings": dict(run.settings),
                    "configuration_digest": run.configuration_digest(),
                    "metrics": run.metrics,
                    "provenance": dict(run.provenance),
                }
                for label, run in zip(self.labels, self.runs)
            ],
            "costs": [asdict(cost) for cost in self.costs],
            "comparisons": [
                _pair_to_dict(pair, self.labels[0], label)
                for pair, label in zip(self.pairs, self.labels[1:])
            ],
            "different_settings": {
                found.key: list(found.values) for found in self.different_settings()
            },
            "provenance": dict(self.provenance),
        }

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.labels)}>"

    def different_settings(self) -> tuple[SettingDifference, ...]:
        """The settings in which the runs differ."""
        return setting_differences(self.runs)


def read_runs(
    paths: Sequence[Path],
    truth: GroundTruth | None,
    classes: Sequence[str] | None = None,
    class_map: Mapping[str, str] | None = None,
    different: bool = False,
) -> list[Run]:
    """Read run files and check that they can be compared, see `comparable`.

    truth: needed for bare lists of detections. Raises InputError for what is no whole run.
    """
    runs = [read_run(path, truth) for path in paths]
    return comparable(runs, [str(path) for path in paths], classes, class_map, different)


def comparable(
    runs: Sequence[Run],
    names: Sequence[str],
    classes: Sequence[str] | None = None,
    class_map: Mapping[str, str] | None = None,
    different: bool = False,
) -> list[Run]:
    """The runs as they are to be compared. names: of the runs, for errors.

    classes: the categories to look at, None for all. class_map: new names for categories; those
    that get one name become one. different: runs of different settings are taken too, over the
    classes that all of them have. Raises InputError when there are fewer than two, when images,
    boxes or picture contents differ, or one is only a shard.
    """
    if len(runs) < 2:
        raise InputError(
            names[0] if names else "runs", "is the only run", "two run files or more to compare"
        )
    if not different:
        refuse_differences(runs, names)
    if class_map:
        runs = [rename_run(run, class_map) for run in runs]
    if classes is not None:
        runs = [restrict_run(run, classes) for run in runs]
    elif different:
        runs = on_common_classes(runs)
    for name, run in zip(names, runs):
        if run.shard is not None:
            raise InputError(name, "is one shard of a run", "the result of yolo-eval merge")
        _check_same(names[0], runs[0], name, run)
    return list(runs)


def compare(runs: Sequence[Run], resamples: int = 1000, seed: int = 0) -> Comparison:
    """Compare every run with the first. resamples: bootstrap draws (the same for all runs)."""
    measured, weighted, by_class = [], [], []
    images = len(runs[0].truth.images)
    ones = [np.ones(images, dtype=np.int64)]
    best = None
    for run in progress(runs, "score", unit="runs"):
        scoring = score(run.truth, run.predictions)
        weighted.append(WeightedRun(scoring))
        by_class.append(class_curves(scoring))
        points = weighted[-1].points(ones[0])
        best = best_confidence(points) if best is None else best
        metrics = from_scoring(run.truth, run.predictions, scoring, by_class[-1].found)
        measured.append(run.with_metrics({**metrics, **_at_one_confidence(points, best)}))
    pairs = []
    for run, other in zip(measured[1:], weighted[1:]):
        weights = progress(draws(images, resamples, seed), "bootstrap", resamples, unit="draws")
        figures, classes = differences(weighted[0], other, weights, os.cpu_count() or 1)
        exact, exact_classes = differences(weighted[0], other, ones)
        found_ = agreement(run.truth, measured[0].predictions, run.predictions)
        counts, _ = np.histogram(_into_bins(found_.drift), DRIFT_EDGES)
        pairs.append(
            Pair(
                run,
                {
                    name: interval(exact[0, column], figures[:, column])
                    for column, name in enumerate(FIGURES)
                },
                tuple(
                    interval(exact_classes[0, column], classes[:, column])
                    for column in range(classes.shape[1])
                ),
                found_,
                tuple(counts.tolist()),
                tuple(most_changed(found_, SHOWN_IMAGES)),
            )
        )
    record = {"command": provenance.command_line(), "versions": provenance.versions()}
    return Comparison(
        tuple(measured), _labels(measured), tuple(pairs), resamples, seed, record, tuple(by_class)
    )


def _at_one_confidence(points: Array, best: int) -> dict[str, float | None]:
    """Precision, recall and F1 of a run at the first run's best confidence, and at 0.25."""
    values = at_points(points, best)
    if np.isnan(values).any():
        return {**dict.fromkeys(POINT_FIGURES), "confidence": None}
    figures = {name: float(value) for name, value in zip(POINT_FIGURES, values)}
    return {**figures, "confidence": float(CONFIDENCES[best])}


def _into_bins(drift: Array) -> Array:
    """Values beyond the histogram are moved into its outermost bins."""
    half = (DRIFT_EDGES[1] - DRIFT_EDGES[0]) / 2
    return np.clip(drift, DRIFT_EDGES[0] + half, DRIFT_EDGES[-1] - half)


def _check_same(first_path: str, first: Run, path: str, run: Run) -> None:
    ids = {image.id for image in first.truth.images}
    other = {image.id for image in run.truth.images}
    if ids != other:
        alone = min(ids ^ other)
        where = first_path if alone in ids else path
        raise InputError(
            path,
            f"is over other images than {first_path} ({len(ids ^ other)} in one only, image "
            f"{alone} in {where})",
            "runs over the same images",
        )
    if run.truth.digest() != first.truth.digest():
        raise InputError(
            path, f"has other ground truth than {first_path}", "runs over the same annotations"
        )
    for image in sorted(ids):
        digests = first.image_digests.get(image), run.image_digests.get(image)
        if None not in digests and digests[0] != digests[1]:
            raise InputError(
                path, f"saw another picture {image} than {first_path}", "runs over the same files"
            )


def _labels(runs: Sequence[Run]) -> tuple[str, ...]:
    """Name and kind; with the resize mode or a number where that would not tell runs apart."""
    plain = [f"{run.model['name']} {run.model['kind']}" for run in runs]
    labels = [
        f"{label}, squash"
        if run.settings.get("mode") == "squash" and plain.count(label) > 1
        else label
        for label, run in zip(plain, runs)
    ]
    return tuple(
        f"{label} ({number})" if labels.count(label) > 1 else label
        for number, label in enumerate(labels, start=1)
    )


def _pair_to_dict(pair: Pair, first: str, second: str) -> dict[str, Any]:
    found = pair.agreement
    names = {image.id: image.file_name for image in pair.run.truth.images}
    return {
        "a": first,
        "b": second,
        "figures": {name: _interval_to_dict(value) for name, value in pair.figures.items()},
        "classes": [
            {"id": category.id, "name": category.name, "AP": _interval_to_dict(value)}
            for category, value in zip(pair.run.truth.categories, pair.classes)
        ],
        "agreement": {
            "confidence": SHOWN,
            "matched": found.matched,
            "only_a": found.only_a,
            "only_b": found.only_b,
            "other_class_same_place": found.renamed,
            "rate": found.rate,
            "identical_images": found.identical,
            "objects_found": found.found,
            "score_drift": _drift_to_dict(found.drift),
            "mean_iou": float(found.overlap.mean()) if found.matched else None,
            "histogram": {"edges": [round(float(e), 4) for e in DRIFT_EDGES],
                          "counts": list(pair.drift)},
        },
        "changed": [
            {
                "image_id": image.image_id,
                "file_name": names[image.image_id],
                "change": round(image.change, 6),
                "only_a": len(image.only_a()),
                "only_b": len(image.only_b()),
                "matched": len(image.pairs),
            }
            for image in pair.changed
        ],
    }  # fmt: skip


def _drift_to_dict(drift: Array) -> dict[str, float | None]:
    if not len(drift):
        return {"mean": None, "mean_absolute": None, "largest": None}
    return {
        "mean": float(drift.mean()),
        "mean_absolute": float(np.abs(drift).mean()),
        "largest": float(np.abs(drift).max()),
    }


def _interval_to_dict(value: Interval) -> dict[str, float | None]:
    return {
        key: None if np.isnan(number) else number
        for key, number in (("delta", value.delta), ("low", value.low), ("high", value.high))
    }
