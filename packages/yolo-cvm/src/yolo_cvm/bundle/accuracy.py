"""The model card's accuracy table, taken from files of yolo-eval.

A run file (`yolo-eval coco --json`) is a JSON object with `model`, `source` and, under `metrics`,
figures by name; a comparison (`metrics.json` of `yolo-eval compare`) has several such objects
under `runs`. The file in which yolo-mrt's stage evaluate estimates what quantization costs
(`*.evaluate.json`) has that form too. Only plain numbers are taken over; predictions and curves
stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_json

#: Largest metrics file that is read, and most values in it: one with all predictions of a large
#: data set.
LIMIT, _VALUES = 1 << 30, 64 << 20
_FIGURES = 64
_TEXT = 200
_TEXTS = ("model", "data", "kind")
#: Figures that are shares and are told in percent, and the figures that may have an interval, whose
#: ends are figures of their own, as `AP_low` and `AP_high`. AP_lost is yolo-mrt's estimate.
PERCENT = re.compile(r"(AP|AR|precision|recall|f1)[0-9]*(_[a-z0-9]+)?")
LOST = "AP_lost"
INTERVALS = {name: (f"{name}_low", f"{name}_high") for name in ("AP", LOST)}
_OTHERS = ("settings", "digest", "figures")
_ROWS = 16
#: AP50 below which a detector has not learnt its task.
_NOTHING = 0.01


def accuracy_table(paths: Sequence[PathLike]) -> tuple[dict[str, Any], ...]:
    """The rows of all files, in order."""
    return tuple(row for path in paths for row in read_rows(path))


def read_rows(path: PathLike) -> list[dict[str, Any]]:
    """One row per run: `model`, `data`, `settings` (texts), `kind`, `digest` of the model,
    `figures` as pairs of name and number in the file's order.

    kind is "integer" for a model in integers; digest is None where the file names none.
    """
    content = read_json(path, LIMIT, _VALUES)
    runs = content.get("runs", [content]) if isinstance(content, dict) else [None]
    if not isinstance(runs, list) or not 0 < len(runs) <= _ROWS:
        raise InputError(path, "holds no runs", f"1 to {_ROWS}")
    rows = [_row(run, str(path)) for run in runs]
    for row in rows:
        check_row(row, str(path))
    return rows


def nothing_found(row: dict[str, Any]) -> str:
    """A sentence where the row says that its model finds next to nothing; empty otherwise."""
    figures = dict(row["figures"])
    key = "AP50" if "AP50" in figures else "AP"
    found = figures.get(key, 1.0)
    if found >= _NOTHING:
        return ""
    name = f"{row['model']} {row['kind']}".strip() or "The model"
    return (
        f"{name} finds next to nothing on {row['data'] or 'its data'}: {key} {100 * found:.2f} %."
    )


def check_row(row: Any, source: str) -> None:
    """Refuse what is no row. source: the file it stands in."""
    if not isinstance(row, dict) or {*row, "settings"} != {*_TEXTS, *_OTHERS}:
        raise InputError(source, "has a malformed accuracy row", "texts, digest and figures")
    # Rows of before the settings were told have none.
    texts = [row["digest"] or "", row.get("settings", ""), *(row[key] for key in _TEXTS)]
    figures = row["figures"]
    if (
        not all(isinstance(text, str) and len(text) <= _TEXT for text in texts)
        or not isinstance(figures, list)
        or not 0 < len(figures) <= _FIGURES
        or not all(isinstance(pair, list) and len(pair) == 2 for pair in figures)
        or not all(isinstance(name, str) and len(name) <= _TEXT for name, _ in figures)
        or not all(_is_figure(value) for _, value in figures)
    ):
        raise InputError(source, "has unusable figures", f"1 to {_FIGURES} numbers by name")


def _row(run: Any, source: str) -> dict[str, Any]:
    figures = run.get("metrics") if isinstance(run, dict) else None
    if not isinstance(figures, dict):
        raise InputError(source, "has no object `metrics`", "a metrics file of yolo-eval")
    model = run.get("model")
    model = model if isinstance(model, dict) else {}
    return {
        "model": _text(model.get("name")),
        "data": _text(run.get("source"), parts=2),
        "kind": _text(model.get("kind")),
        "settings": _settings(model.get("imgsz"), run.get("settings")),
        "digest": model.get("digest") if isinstance(model.get("digest"), str) else None,
        "figures": [[name, value] for name, value in figures.items() if _is_figure(value)],
    }


def _settings(imgsz: Any, settings: Any) -> str:
    """The settings of a run in the words of yolo-eval; empty where it does not say."""
    parts = []
    if isinstance(imgsz, list) and len(imgsz) == 2 and all(type(side) is int for side in imgsz):
        parts.append(f"{imgsz[1]}x{imgsz[0]}")
    settings = settings if isinstance(settings, dict) else {}
    if isinstance(settings.get("mode"), str):
        parts.append(settings["mode"])
    for key, before, after in (
        ("conf", "confidence ", ""), ("iou", "IoU ", ""), ("max_det", "at most ", " boxes")
    ):  # fmt: skip
        if _is_figure(settings.get(key)):
            parts.append(f"{before}{settings[key]}{after}")
    return ", ".join(parts)[:_TEXT]


def _is_figure(value: Any) -> bool:
    # NaN and the infinities fail the comparison too.
    return type(value) in (int, float) and abs(value) < 1e18


def _text(value: Any, parts: int = 1) -> str:
    """The last parts of a path or name: where the rest lay is nobody else's business."""
    return "/".join(value.split("/")[-parts:])[:_TEXT] if isinstance(value, str) else ""
