"""The table as Markdown, as an HTML page and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from yolo_core import words
from yolo_core.files import atomic_files
from yolo_eval.figures.metrics import percent
from yolo_eval.figures.table import Row
from yolo_eval.pages import wording
from yolo_eval.pages.rendering import render_page
from yolo_eval.runs import provenance

FILES = ("table.md", "table.json", "table.html")

HEADS = (
    "model", "form", "weights", "input", "size MB", "params M", "GMAC", "gas G", "AP", "AP50",
    "ΔAP", "95 % interval", "ms", "threads", "peak MB", "SHA-256 of outputs",
    "licence of the weights",
)  # fmt: skip
#: Columns of text; the rest are numbers and stand right.
_LEFT = frozenset(
    {"model", "form", "weights", "input", "SHA-256 of outputs", "licence of the weights"}
)

FOOT = (
    "ms: median of one image through the network on this machine, without letterbox and "
    "suppression. Peak memory: of a process of its own, framework included. Rows with generated "
    "weights are measured for speed alone. Outputs are those of one fixed picture; an integer "
    "model's are the same on every machine, a float model's need not be."
)


def cells(row: Row) -> list[str]:
    """One row as text, in the order of `HEADS`; a dash where there is nothing to say."""
    found = row.measured
    return [
        f"yolov5{row.size}",
        row.form,
        row.weights,
        f"{row.imgsz[1]}x{row.imgsz[0]}",
        f"{row.bytes / 1e6:.2f}" if row.bytes else "–",
        f"{row.parameters / 1e6:.2f}" if row.parameters else "–",
        f"{row.macs / 1e9:.2f}",
        "–" if row.gas is None else f"{row.gas / 1e9:.2f}",
        "–" if row.ap is None else percent(row.ap),
        "–" if row.ap50 is None else percent(row.ap50),
        "–" if row.delta is None else wording.points(row.delta),
        "–" if row.delta is None else wording.span(row.delta),
        f"{found.ms:.1f}" if found else "–",
        str(found.threads) if found else "–",
        f"{found.peak_bytes / 1e6:.0f}" if found else "–",
        f"{found.outputs[:12]}…" if found else "–",
        "–" if row.weights == "generated" else words.shown(row.licence) or "not stated",
    ]


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table; notes of rows that could not be measured follow it."""
    ruler = ["---" if head in _LEFT else "---:" for head in HEADS]
    told = ([*line[:-1], words.markdown(line[-1])] for line in map(cells, rows))
    lines = ["| " + " | ".join(line) + " |" for line in (HEADS, ruler, *told)]
    return "\n".join([*lines, "", *(f"- {note}" for note in _notes(rows)), "", FOOT]) + "\n"


def html(rows: Sequence[Row]) -> str:
    """The table as a self-contained page."""
    made = f"{provenance.command_line()}, " + ", ".join(
        f"{name} {version}" for name, version in provenance.versions().items()
    )
    digests = [
        (f"yolov5{row.size} {row.form}, {found.threads} thread(s)", found.outputs)
        for row in rows
        if (found := row.measured)
    ]
    return render_page(
        "table.html", heads=HEADS, left=_LEFT, rows=[_styled(row) for row in rows],
        notes=_notes(rows), foot=FOOT, digests=digests, made=made,
    )  # fmt: skip


def to_json(rows: Sequence[Row]) -> str:
    """`as_record` as text."""
    return json.dumps(as_record(rows), indent=1) + "\n"


def as_record(rows: Sequence[Row]) -> dict[str, Any]:
    """All rows with full digests and unrounded numbers, as plain JSON data."""
    return {
        "format": "yolo-eval-table/1",
        "rows": [asdict(row) for row in rows],
        "provenance": {
            "command": provenance.command_line(),
            "versions": provenance.versions(),
        },
    }


def write_table(rows: Sequence[Row], out: Path) -> list[Path]:
    """Write the three `FILES` into the folder `out`."""
    contents = dict(zip(FILES, (markdown(rows), to_json(rows), html(rows))))
    atomic_files({out / name: content for name, content in contents.items()})
    return [out / name for name in contents]


def _styled(row: Row) -> list[tuple[str, str, str]]:
    """(column, text, CSS class) of every cell."""
    kinds = dict.fromkeys(_LEFT, "left")
    if row.delta is not None:
        kinds["ΔAP"] = wording.tone(row.delta)
    return [(name, text, kinds.get(name, "")) for name, text in zip(HEADS, cells(row))]


def _notes(rows: Sequence[Row]) -> list[str]:
    """What AP is over, why rows are incomplete, and whether the engines of a size agree."""
    scored: dict[int, dict[str, None]] = {}
    for row in rows:
        if row.images is not None:
            scored.setdefault(row.images, {})[f"yolov5{row.size} {row.form}"] = None
    notes = [f"AP over {count} images: {', '.join(names)}." for count, names in scored.items()]
    notes += [f"yolov5{row.size} {row.form}: not measured: {row.note}" for row in rows if row.note]
    by_model: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.form != "float" and row.measured:
            by_model.setdefault((row.size, row.measured.digest), []).append(row)
    for (size, _), same in by_model.items():
        if len({row.form for row in same}) > 1:
            equal = len({row.measured.outputs for row in same if row.measured}) == 1
            notes.append(
                f"yolov5{size}: reference and fast engine give "
                + ("the same bytes." if equal else "DIFFERENT bytes: a defect, please report it.")
            )
    return notes
