"""A run in a few lines of plain text, for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from yolo_core.detecting.run import Found
from yolo_core.words import shown
from yolo_eval.figures.compare import Comparison
from yolo_eval.figures.metrics import percent
from yolo_eval.pages import mistakes, wording
from yolo_eval.runs.run import Run


def summary(run: Run) -> str:
    """Model, data, the twelve COCO figures and the operating point; figures in percent."""
    digest = run.model["digest"][:16]
    lines = [f"model   {run.model['name']} ({shown(run.model['kind'])}), sha256 {shown(digest)}"]
    if run.metrics is None:
        index, count = run.shard or (1, 1)
        lines.append(
            f"shard   {index}/{count}: {len(run.truth.images)} images, "
            f"{len(run.predictions)} detections; merge the shards for figures"
        )
        return "\n".join(lines)
    m = run.metrics
    chosen = wording.settings(run)
    if chosen:
        lines.append(f"input   {chosen}")
    lines.append(
        f"images  {m['images']}, objects {m['objects']}, crowds {m['crowds']}, "
        f"detections {m['detections']}"
    )
    if run.truth.left_out:
        parts = ", ".join(f"{count} {kind}" for kind, count in run.truth.left_out.items())
        lines.append(f"data    {parts}")
    groups: list[list[str]] = [
        ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"],
        ["AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"],
        ["precision", "recall", "f1"],
    ]
    for names in groups:
        told = {name: percent(m[name]) for name in names}
        if "AP" in told:
            told["AP"] = wording.with_interval(m)
        lines.append("        " + "  ".join(f"{name} {value}" for name, value in told.items()))
    if m["confidence"] is not None:
        lines[-1] += f"  at confidence {m['confidence']:.3f}"
    rate = run.provenance.get("images_per_second")
    if rate:
        lines.append(f"speed   {rate:.1f} images/s, {run.provenance.get('jobs', 1)} process(es)")
    return "\n".join(lines)


def details(run: Run) -> str:
    """Every class, then the mistakes by kind, as tables for the terminal."""
    rows = [["class", "pictures", "objects", "P", "R", "AP50", "AP"], *wording.class_rows(run)]
    wide = max(len(shown(row[0], 40)) for row in rows)
    lines = [
        f"{shown(row[0], 40):<{wide}}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows
    ]
    lines += ["", f"{'mistakes':<14}{'AP50 lost':>10}{'shown':>8}"]
    table = (run.metrics or {})["errors"]
    for kind, entry in table["kinds"].items():
        lines.append(f"{kind:<14}{mistakes.points(table, kind):>10}{entry['shown']:>8}")
    return "\n".join(lines)


def after_run(run: Run, file: Path | None) -> list[Sequence[object]]:
    """The commands that come after a run was written to `file`."""
    if file is None:
        return []
    if run.metrics is None:
        return [("yolo-eval", "merge", file, "OTHERS.json", "--json", "WHOLE.json")]
    place = ("--out", "runs/compare")
    if run.model["kind"] == "predictions":  # of a model that is not known here
        return [("yolo-eval", "compare", file, "OTHER.json", *place)]
    if run.model["kind"] != "integer":
        return [("yolo-eval", "compare", file, "INTEGER.json", *place)]
    return [("yolo-eval", "compare", "FLOAT.json", file, *place), _bundle(run, file)]


def after_comparison(comparison: Comparison, files: Sequence[Path]) -> list[Sequence[object]]:
    """The commands that come after a comparison of the runs in `files`."""
    return [
        _bundle(run, file)
        for run, file in zip(comparison.runs, files)
        if run.model["kind"] == "integer"
    ]


def _bundle(run: Run, file: Path) -> Sequence[object]:
    return ("yolo-cvm", "bundle", run.model["path"], "--metrics", file, "--out", "bundle")


def one_line(found: Found) -> str:
    """One picture's detections in a line: "bus.jpg: 3 person, 1 bus"."""
    counts = Counter(found.classes[int(label)] for label in found.boxes[:, 5])
    listed = ", ".join(f"{count} {shown(name)}" for name, count in counts.most_common())
    frame = "" if found.frame is None else f" frame {found.frame}"
    return f"{shown(found.name)}{frame}: {listed or 'nothing'}"
