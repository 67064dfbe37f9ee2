"""Which node hurts: every tensor quantized alone, against the float network, worst first.

Per tensor: scale, bits, threshold, share of values clipped, signal-to-noise of its codes, and the
AP that is lost when it alone goes through its codes, where the float network's own confident
detections stand in for labels. The same for the weights of every convolution.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.boxes import NmsSettings, detections, iou, rows_of
from yolo_core.progress import progress
from yolo_mrt.float_pass import GRID, TensorStatistics
from yolo_mrt.scheme import Codes
from yolo_mrt.sensitivity import through_codes
from yolo_mrt.settings import Settings
from yolo_mrt.source import Source
from yolo_mrt.stages import calibrated, float_planes, prepared, statistics_of
from yolo_mrt.tables import CODE_LIMIT

LABEL_CONF = 0.25
IOUS = np.arange(0.5, 1.0, 0.05)


@dataclass(frozen=True)
class Node:
    """One row of the report. ap_lost in points; histogram: (edge, share of values) pairs."""

    name: str
    bits: int
    scale: tuple[float, float]
    threshold: tuple[float, float]
    clipped: float
    snr_db: float
    ap_lost: float
    done: str
    histogram: tuple[tuple[float, float], ...]


def average_precision(labels: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """Mean over classes and IoU 0.5…0.95 of the area under precision and recall, in points."""
    scores: list[float] = []
    classes = sorted({int(c) for label in labels for c in label[:, 5]})
    for kind in classes:
        truth = [label[label[:, 5] == kind] for label in labels]
        total = sum(len(t) for t in truth)
        rows = [
            (float(box[4]), index, box)
            for index, boxes in enumerate(found)
            for box in boxes[boxes[:, 5] == kind]
        ]
        rows.sort(key=lambda row: (-row[0], row[1]))
        overlaps = [iou(box[None, :4], truth[index][:, :4]) for _, index, box in rows]
        for threshold in IOUS:
            scores.append(_area(rows, overlaps, truth, total, float(threshold)))
    return 100 * float(np.mean(scores)) if scores else 0.0


def _area(
    rows: Sequence[tuple[float, int, np.ndarray]],
    overlaps: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
    total: int,
    threshold: float,
) -> float:
    taken = [np.zeros(len(t), bool) for t in truth]
    hits = np.zeros(len(rows))
    for at, ((_, index, _box), overlap) in enumerate(zip(rows, overlaps)):
        free = np.where(taken[index], -1.0, overlap)
        if len(free) and free.max() >= threshold:
            taken[index][int(free.argmax())] = True
            hits[at] = 1
    recall = hits.cumsum() / total
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(recall, np.linspace(0, 1, 101))
    return float(np.concatenate((precision, [0.0]))[reached].mean())


def judge_nodes(settings: Settings, images: int) -> list[Node]:
    """Every measured tensor, worst first."""
    from yolo_mrt.float_pass import FloatNet

    source = prepared(settings)
    scheme = calibrated(settings, source.net)
    statistics = statistics_of(settings)
    layers = source.net.by_name()
    planes = list(float_planes(settings, source, "images", images))
    net = FloatNet(source.net)
    answers = [_detect(source, net.run(p), settings) for p in planes]
    labels = [a[a[:, 4] >= LABEL_CONF] for a in answers]
    base = average_precision(labels, answers)
    fine_reads: dict[str, int] = {}
    for sites in scheme.fine.values():
        for site in sites:
            fine_reads[site] = fine_reads.get(site, 0) + 1
    nodes = []
    for name in progress(list(statistics), "report", unit="node"):
        codes = scheme.own_codes(layers[name], False)
        ap, snr = _quantized_alone(source, net, planes, labels, name, codes, settings)
        done = f"{len(set(np.round(codes.scale, 12)))} scales"
        if name in fine_reads:
            done += f", read finely {fine_reads[name]}x"
        if layers[name].op == "add":
            done += ", wide sum"
        nodes.append(_node(name, codes, statistics[name], snr, base - ap, done))
    return sorted(nodes, key=lambda node: (-node.ap_lost, node.snr_db))


def _detect(source: Source, heads: tuple[np.ndarray, ...], settings: Settings) -> np.ndarray:
    rows = rows_of(heads)[0]
    return detections(rows, source.architecture, settings.imgsz, NmsSettings(conf=0.01))


def _quantized_alone(
    source: Source,
    net: Any,
    planes: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    name: str,
    codes: Codes,
    settings: Settings,
) -> tuple[float, float]:
    signal = noise = 0.0

    def change(tensor: str, value: Any) -> Any:
        nonlocal signal, noise
        if tensor != name:
            return value
        coded = through_codes(value, codes)
        signal += float((value * value).sum().asscalar())
        noise += float(((coded - value) ** 2).sum().asscalar())
        return coded

    found = [_detect(source, net.run(p, change=change), settings) for p in planes]
    snr = 10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30))
    return average_precision(labels, found), float(snr)


def _node(
    name: str, codes: Codes, stats: TensorStatistics, snr: float, lost: float, done: str
) -> Node:
    top = (CODE_LIMIT - codes.zero) * codes.scale
    counts = stats.tails[0]
    edges = np.concatenate((GRID, [np.inf]))
    clipped = float((counts * (edges[:, None] > top[None])).sum())
    clipped -= float((counts * ((edges[:, None] > top[None]).cumsum(axis=0) == 1)).sum()) / 2
    total = max(stats.count * counts.shape[1], 1)
    shares = counts.sum(axis=1) / total
    histogram = tuple((float(GRID[min(i, len(GRID) - 1)]), float(s)) for i, s in enumerate(shares))
    return Node(
        name, 8, (float(codes.scale.min()), float(codes.scale.max())),
        (float(top.min()), float(top.max())), clipped / total, snr, lost, done, histogram,
    )  # fmt: skip


_COLUMNS = ("node", "bits", "scale", "threshold", "clipped", "SNR dB", "AP lost alone", "done")


def _cells(node: Node) -> tuple[str, ...]:
    return (
        node.name, str(node.bits), f"{node.scale[0]:.4g}…{node.scale[1]:.4g}",
        f"{node.threshold[0]:.3g}…{node.threshold[1]:.3g}", f"{100 * node.clipped:.4f} %",
        f"{node.snr_db:.1f}", f"{node.ap_lost:+.2f}", node.done,
    )  # fmt: skip


def table(nodes: Sequence[Node]) -> str:
    """The rows as text, columns aligned."""
    rows = [_COLUMNS, *(_cells(node) for node in nodes)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows)


def page(nodes: Sequence[Node], title: str) -> str:
    """One self-contained HTML page with a histogram per node."""
    worst = max((node.ap_lost for node in nodes), default=0.0)
    body = []
    for node in nodes:
        share = max(node.ap_lost, 0) / worst if worst > 0 else 0
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(node))
        body.append(
            f'<tr style="background:rgba(220,60,40,{0.6 * share:.2f})">{cells}'
            f"<td>{_histogram(node)}</td></tr>"
        )
    heads = "".join(f"<th>{name}</th>" for name in (*_COLUMNS, "values above 0.1, log scale"))
    name = html.escape(title)
    return (
        f'<!doctype html><meta charset="utf-8"><title>{name}: which node hurts</title>'
        "<style>body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}"
        "td,th{padding:3px 9px;text-align:left;border-bottom:1px solid #ddd}"
        "td{font-variant-numeric:tabular-nums}</style>"
        f"<h1>{name}: which node hurts</h1>"
        "<p>AP lost when this tensor alone is quantized and all else stays float; the float "
        "network's own detections stand in for labels. The red line marks the threshold.</p>"
        f"<table><tr>{heads}</tr>{''.join(body)}</table>"
    )


def _histogram(node: Node) -> str:
    width, height = 210, 36
    bars = [share for _, share in node.histogram]
    top = max(bars[1:], default=0) or 1.0
    step = width / len(bars)
    shapes = "".join(
        f'<rect x="{i * step:.1f}" y="{height * (1 - (b / top) ** 0.3):.1f}" '
        f'width="{step:.1f}" height="{height * (b / top) ** 0.3:.1f}" fill="#48a"/>'
        for i, b in enumerate(bars) if i and b > 0
    )  # fmt: skip
    at = float(np.searchsorted(GRID, node.threshold[1])) * step
    mark = f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{height}" stroke="#c22"/>'
    return f'<svg width="{width}" height="{height}">{shapes}{mark}</svg>'
