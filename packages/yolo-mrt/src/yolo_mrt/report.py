"""Which node hurts: every tensor quantized alone, against the float network, worst first.

Per tensor: scale, bits, threshold, share of values clipped, signal-to-noise of its codes, and the
AP that is lost when it alone goes through its codes, where the float network's own confident
detections stand in for labels. The same for the weights of every convolution, whose
signal-to-noise is that of the convolution's result.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from yolo_core.arrays import Array
from yolo_core.yolo.boxes import NmsSettings, detections, rows_of
from yolo_core.yolo.scores import score_boxes
from yolo_mrt.calibrate.float_pass import THRESHOLDS, FloatNet
from yolo_mrt.calibrate.tables import CODE_LIMIT
from yolo_mrt.network.net import per_output
from yolo_mrt.network.source import Source
from yolo_mrt.quantize.sensitivity import Trial, coded_tensor, coded_weight
from yolo_mrt.settings import Settings
from yolo_mrt.stages import calibrated, float_planes, prepared, quantized, statistics_of

LABEL_CONF = 0.25
#: Edges of the histograms of weights.
WEIGHT_EDGES = 2.0 ** (np.arange(-48, 21) / 4.0)


@dataclass(frozen=True)
class Node:
    """One row of the report. ap_lost in points; histogram: (lower edge, share of values) pairs."""

    name: str
    bits: int
    scale: tuple[float, float]
    threshold: tuple[float, float]
    clipped: float
    done: str
    histogram: tuple[tuple[float, float], ...]
    snr_db: float = 0.0
    ap_lost: float = 0.0


def average_precision(labels: Sequence[Array], found: Sequence[Array], classes: int) -> float:
    """COCO's AP in points, the mean over the classes that the labels have; 0 without labels.

    labels, found: per image the rows of `detections`; the scores of labels play no part.
    """
    truths = [label[:, [5, 0, 1, 2, 3]] for label in labels]
    values = score_boxes(truths, found, classes).class_ap[:, 0]
    known = values[~np.isnan(values)]
    return 100 * float(known.mean()) if len(known) else 0.0


def judge_nodes(settings: Settings, images: int) -> list[Node]:
    """Every measured tensor and every convolution's weights, worst first."""
    source = prepared(settings)
    subjects = [*_tensors(settings, source), *_weights(settings, source)]
    net = FloatNet(source.net)
    answers: list[Array] = []
    found: list[list[Array]] = [[] for _ in subjects]
    energy = np.zeros((2, len(subjects)))
    for plane in float_planes(settings, source, "report", images):
        values: dict[str, Any] = {}
        answers.append(_detect(source, net.run(plane, values.__setitem__), settings))
        for index, (_, trial) in enumerate(subjects):
            name, value = trial(net, values)
            found[index].append(_detect(source, net.rerun(values, name, value), settings))
            energy[0, index] += float((values[name] ** 2).sum().asscalar())
            energy[1, index] += float(((value - values[name]) ** 2).sum().asscalar())
    labels = [answer[answer[:, 4] >= LABEL_CONF] for answer in answers]
    nc = source.architecture.nc
    base = average_precision(labels, answers, nc)
    signal, noise = np.maximum(energy, 1e-30)
    nodes = [
        replace(node, snr_db=float(decibels), ap_lost=base - average_precision(labels, boxes, nc))
        for (node, _), boxes, decibels in zip(subjects, found, 10 * np.log10(signal / noise))
    ]
    return sorted(nodes, key=lambda node: (-node.ap_lost, node.snr_db))


def _detect(source: Source, heads: tuple[Array, ...], settings: Settings) -> Array:
    rows = rows_of(heads, source.architecture.no)[0]
    return detections(rows, source.architecture, settings.imgsz, NmsSettings(conf=0.01))


def _tensors(settings: Settings, source: Source) -> Iterator[tuple[Node, Trial]]:
    """Every tensor with codes of its own, yet to be judged."""
    scheme, layers = calibrated(settings, source.net), source.net.by_name()
    reads = [site for sites in scheme.fine.values() for site in sites]
    for name, stats in statistics_of(settings).items():
        codes = scheme.own_codes(layers[name], False)
        top = (CODE_LIMIT - codes.zero) * codes.scale
        scales = len(set(np.round(codes.scale, 12)))
        done = f"{scales} scales" if scales > 1 else "one scale"
        if name in reads:
            done += f", read finely {reads.count(name)}x"
        shown = name
        if layers[name].op == "add":
            # A sum's own name tells nobody where it is.
            shown = f"{layers[name].inputs[-1]} sum"
            done += ", wide sum"
        counts = stats.tails[0]
        above = np.concatenate((THRESHOLDS, [np.inf]))[:, None] > top[None]
        # Of the slot that the threshold lies in, half.
        clipped = (counts * above).sum() - (counts * (above.cumsum(axis=0) == 1)).sum() / 2
        total = max(stats.count * counts.shape[1], 1)
        clipped = float(clipped) / total
        shares = counts[1:-1].sum(axis=1) / total
        histogram = tuple(zip(THRESHOLDS[:-1].tolist(), shares.tolist()))
        node = Node(shown, 8, _span(codes.scale), _span(top), clipped, done, histogram)
        yield node, coded_tensor(name, codes)


def _weights(settings: Settings, source: Source) -> Iterator[tuple[Node, Trial]]:
    """The weights of every convolution, yet to be judged."""
    scheme, integers = calibrated(settings, source.net), quantized(settings)
    for layer in source.net.convolutions():
        codes = scheme.codes(source.net, layer.inputs[0], scheme.fine.get(layer.name, ()))
        # Where a channel is read finely too, the coarse codes carry nearly all of it.
        order = np.lexsort((-codes.scale, codes.channel))
        coarse = order[np.unique(codes.channel[order], return_index=True)[1]]
        weight = integers[layer.name].weight
        if layer.groups == 1:
            weight = weight[:, coarse]
        step = integers[layer.name].step[:, None] / per_output(layer, codes.scale[coarse])
        counts = np.histogram(np.abs(layer.weights), WEIGHT_EDGES)[0] / layer.weights.size
        node = Node(
            f"{layer.name} weights", 8, _span(step), _span(CODE_LIMIT * step),
            float((np.abs(weight) == CODE_LIMIT).mean()), "rounding learned",
            tuple(zip(WEIGHT_EDGES[:-1].tolist(), counts.tolist())),
        )  # fmt: skip
        yield node, coded_weight(layer, weight * step[:, :, None, None])


def _span(values: Array) -> tuple[float, float]:
    return float(values.min()), float(values.max())


_COLUMNS = ("node", "bits", "scale", "threshold", "clipped", "SNR dB", "AP lost alone", "done")


def _cells(node: Node) -> tuple[str, ...]:
    return (
        node.name, str(node.bits), _spelled(node.scale, ".4g"), _spelled(node.threshold, ".3g"),
        f"{100 * node.clipped:.4f} %",
        f"{node.snr_db:.1f}", f"{node.ap_lost:+.2f}", node.done,
    )  # fmt: skip


def _spelled(span: tuple[float, float], form: str) -> str:
    low, high = format(span[0], form), format(span[1], form)
    return low if low == high else f"{low}…{high}"


def table(nodes: Sequence[Node]) -> str:
    """The rows as text, columns aligned."""
    rows = [_COLUMNS, *(_cells(node) for node in nodes)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows)


def page(nodes: Sequence[Node], title: str) -> str:
    """One self-contained HTML page with a histogram per node."""
    worst = max((node.ap_lost for node in nodes), default=0.0)
    rows = [
        {
            "cells": _cells(node),
            # Ten shades, of which the style sheet has one class each.
            "shade": round(10 * max(node.ap_lost, 0) / worst) if worst > 0 else 0,
            **_histogram(node),
        }
        for node in nodes
    ]
    environment = Environment(
        loader=PackageLoader("yolo_mrt", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style = environment.get_template("report.css").render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        title=title, columns=(*_COLUMNS, "sizes, log scale"), rows=rows, style=Markup(style),
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'",
    )  # fmt: skip


def _histogram(node: Node) -> dict[str, Any]:
    """Bars (left, top, width, height) and the place of the threshold, in pixels."""
    width, height = 210, 36
    shares = [share for _, share in node.histogram]
    top = max(shares, default=0) or 1.0
    step = width / len(shares)
    bars = [
        (i * step, height * (1 - (share / top) ** 0.3), step, height * (share / top) ** 0.3)
        for i, share in enumerate(shares)
        if share > 0
    ]
    at = step * float(np.searchsorted([edge for edge, _ in node.histogram], node.threshold[1]))
    return {"width": width, "height": height, "bars": bars, "threshold": at}
