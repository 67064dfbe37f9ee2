"""Rows of the model card's accuracy table, taken from metrics files of yolo-eval.

A metrics file is a JSON object whose key `metrics` holds figures by name. Only plain numbers are
taken over; whatever else the file carries (predictions, curves) stays where it is.
"""

from __future__ import annotations

import json
import math
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_bytes

#: Largest metrics file that is read: one with all predictions of a large data set.
LIMIT = 1 << 30
_FIGURES = 64
_TEXT = 200


def read_row(path: PathLike) -> dict[str, Any]:
    """One row: `model`, `data` (texts), `digest` of the model or None, `figures` by name."""
    try:
        content = json.loads(read_bytes(path, LIMIT))
    except (ValueError, RecursionError) as error:
        raise InputError(path, "is not valid JSON", "a metrics file of yolo-eval") from error
    figures = content.get("metrics") if isinstance(content, dict) else None
    if not isinstance(figures, dict):
        raise InputError(path, "has no object `metrics`", "a metrics file of yolo-eval")
    model = content.get("model")
    model = model if isinstance(model, dict) else {}
    row = {
        "model": _text(model.get("name")) + _kind(model.get("kind")),
        "data": _text(content.get("source")),
        "digest": model.get("digest") if isinstance(model.get("digest"), str) else None,
        "figures": {name: value for name, value in figures.items() if _is_figure(value)},
    }
    check_row(row, str(path))
    return row


def check_row(row: Any, source: str) -> None:
    """Refuse what is no row. source: the file it stands in."""
    if not isinstance(row, dict) or set(row) != {"model", "data", "digest", "figures"}:
        raise InputError(source, "has a malformed accuracy row", "model, data, digest, figures")
    texts = [row["model"], row["data"], row["digest"] or ""]
    figures = row["figures"]
    if (
        not all(isinstance(text, str) and len(text) <= _TEXT for text in texts)
        or not isinstance(figures, dict)
        or not 0 < len(figures) <= _FIGURES
        or not all(len(name) <= _TEXT and _is_figure(value) for name, value in figures.items())
    ):
        raise InputError(source, "has unusable figures", f"1 to {_FIGURES} numbers by name")


def _is_figure(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e18


def _text(value: Any) -> str:
    return value[: _TEXT // 2] if isinstance(value, str) else "unnamed"


def _kind(value: Any) -> str:
    return f" ({value[:20]})" if isinstance(value, str) else ""
