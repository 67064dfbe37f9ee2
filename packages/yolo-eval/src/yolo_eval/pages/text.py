"""A run in a few lines of plain text, for the terminal."""

from __future__ import annotations

from collections import Counter

from yolo_core.detecting.run import Found
from yolo_core.words import shown
from yolo_eval.figures.metrics import percent
from yolo_eval.runs.run import Run


def summary(run: Run) -> str:
    """Model, data, the twelve COCO figures and the operating point; figures in percent."""
    imgsz = run.model.get("imgsz")
    size = f", {imgsz[1]}x{imgsz[0]}" if imgsz else ""
    digest = run.model["digest"][:16]
    lines = [
        f"model   {run.model['name']} ({shown(run.model['kind'])}{size}), sha256 {shown(digest)}"
    ]
    if run.metrics is None:
        index, count = run.shard or (1, 1)
        lines.append(
            f"shard   {index}/{count}: {len(run.truth.images)} images, "
            f"{len(run.predictions)} detections; merge the shards for figures"
        )
        return "\n".join(lines)
    m = run.metrics
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
        lines.append("        " + "  ".join(f"{name} {percent(m[name])}" for name in names))
    if m["confidence"] is not None:
        lines[-1] += f"  at confidence {m['confidence']:.3f}"
    rate = run.provenance.get("images_per_second")
    if rate:
        lines.append(f"speed   {rate:.1f} images/s, {run.provenance.get('jobs', 1)} process(es)")
    return "\n".join(lines)


def one_line(found: Found) -> str:
    """One picture's detections in a line: "bus.jpg: 3 person, 1 bus"."""
    counts = Counter(found.classes[int(label)] for label in found.boxes[:, 5])
    listed = ", ".join(f"{count} {shown(name)}" for name, count in counts.most_common())
    frame = "" if found.frame is None else f" frame {found.frame}"
    return f"{shown(found.name)}{frame}: {listed or 'nothing'}"
