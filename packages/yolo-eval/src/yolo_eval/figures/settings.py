"""The settings in which runs differ. Figures tell models apart only where everything else is equal.

A bare list of detections says nothing about its settings and takes no part in the judgement.
Whether the host or the graph decides by the same settings is a property of the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from yolo_core.errors import InputError
from yolo_eval.runs.classes import restrict_run
from yolo_eval.runs.run import Run

#: Settings that decide which boxes a run holds, and how people call them.
NAMES = {
    "imgsz": "input size",
    "mode": "resize",
    "conf": "confidence",
    "iou": "IoU of suppression",
    "max_det": "boxes per image",
    "multi_label": "several classes per box",
    "agnostic": "suppression across classes",
    "classes": "choice of classes",
    "class_map": "mapping of classes",
}
#: What a run means that does not mention a setting.
_UNSAID = {"classes": "all", "class_map": "none"}


@dataclass(frozen=True)
class SettingDifference:
    """One setting in which runs differ. values: of every run in order, None where it says none."""

    key: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        return NAMES[self.key]

    def told(self, labels: Sequence[str]) -> str:
        """The setting and its value in every run, in words."""
        listed = (f"{_text(value)} in {label}" for value, label in zip(self.values, labels))
        return f"{self.name} is {', '.join(listed)}"


def differences(runs: Sequence[Run]) -> tuple[SettingDifference, ...]:
    """The settings in which runs differ."""
    known = [_settings(run) for run in runs]
    found = []
    for key in NAMES:
        values = [settings.get(key) for settings in known]
        said = {json.dumps(value, sort_keys=True) for value in values if value is not None}
        if len(said) > 1:
            found.append(SettingDifference(key, tuple(values)))
    return tuple(found)


def refuse_differences(runs: Sequence[Run], names: Sequence[str]) -> None:
    """InputError where runs were made with different settings. names: of the runs, for it."""
    found = differences(runs)
    if found:
        told = "; ".join(difference.told(names) for difference in found)
        raise InputError(
            names[-1],
            f"was not made with the settings of {names[0]} ({told})",
            "runs that differ in the model alone, or --different-settings",
        )


def on_common_classes(runs: Sequence[Run]) -> list[Run]:
    """The runs looked at in the categories that all of them have, where they differ in these.

    InputError where they have none in common.
    """
    categories = [run.truth.categories for run in runs]
    if len(set(categories)) == 1:
        return list(runs)
    common = set(categories[0]).intersection(*categories[1:])
    if not common:
        raise InputError("the runs", "have no class in common", "runs over the same classes")
    names = [category.name for category in categories[0] if category in common]
    scored = [restrict_run(run, names) for run in runs]
    return [
        replace(after, settings={**run.settings, "classes": sorted(c.name for c in all_)})
        for run, after, all_ in zip(runs, scored, categories)
    ]


def _settings(run: Run) -> Mapping[str, Any]:
    if not run.settings:
        return {}
    imgsz = run.model.get("imgsz")
    size = f"{imgsz[1]}x{imgsz[0]}" if imgsz else None
    return {**_UNSAID, **run.settings, "imgsz": size}


def _text(value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        shown = ", ".join(map(str, value[:6])) + (", …" if len(value) > 6 else "")
        return f"{len(value)} ({shown})"
    if isinstance(value, dict):
        return ", ".join(f"{name} as {other}" for name, other in value.items())
    return str(value)
