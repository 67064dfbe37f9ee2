"""Figures as people read them: percent points, signed differences, intervals, verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yolo_eval.figures.bootstrap import Interval
from yolo_eval.figures.compare import Comparison, Pair
from yolo_eval.figures.metrics import percent
from yolo_eval.pages.charts import signed
from yolo_eval.runs.run import Run

#: Names of the figures as shown to people.
SHOWN_NAMES = {
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "AP_small": "AP small",
    "AP_medium": "AP medium",
    "AP_large": "AP large",
    "AR1": "AR1",
    "AR10": "AR10",
    "AR100": "AR100",
    "AR_small": "AR small",
    "AR_medium": "AR medium",
    "AR_large": "AR large",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "precision_25": "precision at 0.25",
    "recall_25": "recall at 0.25",
    "f1_25": "F1 at 0.25",
}


def accuracy(run: Run) -> str:
    """A run's AP in the one form that it has everywhere: with its interval, data and settings."""
    metrics = run.metrics or {}
    on = f"on {metrics.get('images')} pictures of {run.truth.source}"
    if metrics.get("AP") is None:
        return f"AP cannot be measured {on}: they hold no objects"
    told = settings(run)
    return f"{with_interval(metrics)} AP {on}" + (f" ({told})" if told else "")


def with_interval(metrics: Mapping[str, Any]) -> str:
    """AP in percent with its 95 % interval: "48.87 (47.10 to 50.62)"."""
    value = percent(metrics.get("AP"))
    if metrics.get("AP_low") is None:
        return value
    return f"{value} ({percent(metrics['AP_low'])} to {percent(metrics['AP_high'])})"


def class_rows(run: Run) -> list[list[str]]:
    """The classes with objects after a row of all: name, pictures, objects, P, R, AP50, AP."""
    metrics = run.metrics or {}
    keys = ("precision", "recall", "AP50", "AP")
    known = [row for row in metrics["classes"] if row["objects"]]
    every = ["all", str(metrics["images"]), str(metrics["objects"])]
    table = [[*every, *(percent(metrics[key]) for key in keys)]] if known else []
    return table + [
        [row["name"], str(row["images"]), str(row["objects"]), *(percent(row[k]) for k in keys)]
        for row in known
    ]


def settings(run: Run) -> str:
    """What a run was made with, in words; empty where it does not say."""
    imgsz, chosen = run.model.get("imgsz"), run.settings
    parts = [f"{imgsz[1]}x{imgsz[0]}"] if imgsz else []
    parts += [str(chosen["mode"])] if chosen.get("mode") else []
    for key, name in (("conf", "confidence"), ("iou", "IoU"), ("max_det", "at most")):
        if chosen.get(key) is not None:
            parts.append(f"{name} {chosen[key]}" + (" boxes" if key == "max_det" else ""))
    if chosen.get("classes"):
        parts.append(f"only {', '.join(map(str, chosen['classes'][:6]))}")
    return ", ".join(parts)


def points(value: Interval) -> str:
    """The difference in percent points, "n/a" where it cannot be measured."""
    return "n/a" if value.delta != value.delta else signed(100 * value.delta, 2)


def span(value: Interval) -> str:
    """The interval in percent points."""
    if value.delta != value.delta:
        return "n/a"
    return f"{signed(100 * value.low, 2)} to {signed(100 * value.high, 2)}"


def share(delta: float, base: float) -> str:
    """A difference as a share of the figure that it changes: "0.4 %"."""
    return f"{100 * abs(delta) / base:.1f} %" if base else "all"


def tone(value: Interval) -> str:
    """ "loss" or "gain" where the interval leaves 0 out, else "even"."""
    return "loss" if value.high < 0 else "gain" if value.low > 0 else "even"


def title(comparison: Comparison) -> str:
    """What the comparison is about; the settings in which the runs differ are part of it."""
    different = [difference.name for difference in comparison.different_settings()]
    if different:
        return f"What changed between runs of different settings: {', '.join(different)}"
    kinds = [run.model["kind"] for run in comparison.runs]
    if kinds[0] == "float" and set(kinds[1:]) == {"integer"}:
        return "What quantization cost"
    return "What changed between the runs"


def warning(comparison: Comparison) -> str:
    """What must be known before figures of different settings are compared; empty where equal."""
    different = comparison.different_settings()
    if not different:
        return ""
    parts = "; ".join(difference.told(comparison.labels) for difference in different)
    return (
        "The runs were made with different settings, so that the figures do not compare the "
        f"models alone: {parts}."
    )


def verdict(comparison: Comparison, pair: Pair, label: str) -> str:
    """One sentence: how far AP moved, and whether that is more than chance."""
    base = comparison.runs[0].metrics or {}
    value, count = pair.figures["AP"], len(pair.run.truth.images)
    new = (pair.run.metrics or {}).get("AP")
    if new is None or base.get("AP") is None:
        return f"{label} and {comparison.labels[0]} cannot be compared: the images hold no objects."
    moved = signed(100 * value.delta, 2).lstrip("+−")
    side = "below" if value.delta < 0 else "above"
    distance = "exactly at" if value.delta == 0 else f"{moved} points {side}"
    sure = (
        f"a difference beyond chance, of {share(value.delta, base['AP'])} of AP"
        if tone(value) != "even"
        else "no difference that can be distinguished from chance"
    )
    return (
        f"{label} scores {100 * new:.2f} AP, {distance} {comparison.labels[0]} "
        f"({100 * base['AP']:.2f}). The 95 % interval of the difference is {span(value)}: "
        f"{sure} on these {count} images."
    )
