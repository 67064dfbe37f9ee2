"""Which node hurts: every tensor quantized alone, against the float network, worst first.

Per tensor: scale, bits, threshold, share of values clipped, signal-to-noise of its codes, and the
AP that is lost when it alone goes through its codes, where the float network's own confident
detections stand in for labels, with its interval and what finer steps would cost. The same for
the weights of every convolution, whose signal-to-noise is that of the convolution's result.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from yolo_core.arrays import Array
from yolo_core.yolo.boxes import NmsSettings, detections, rows_of
from yolo_mrt.calibrate.float_pass import THRESHOLDS, FloatNet
from yolo_mrt.calibrate.tables import CODE_LIMIT
from yolo_mrt.compile.comparison import average_precision
from yolo_mrt.compile.estimate import Estimate
from yolo_mrt.costs import check_judging
from yolo_mrt.network.net import per_output
from yolo_mrt.network.source import Source
from yolo_mrt.pictures import spread
from yolo_mrt.planes import float_planes
from yolo_mrt.quantize.effort import refinement
from yolo_mrt.quantize.sensitivity import Trial, coded_tensor, coded_weight
from yolo_mrt.settings import Settings
from yolo_mrt.stage_files import calibrated, estimated, prepared, quantized, statistics_of

LABEL_CONF = 0.25
#: Edges of the histograms of weights.
WEIGHT_EDGES = 2.0 ** (np.arange(-48, 21) / 4.0)


@dataclass(frozen=True)
class Node:
    """One row of the report.

    ap_lost: in points, the mean over the images of each image's AP. interval: its 95 % interval,
    None from one image. refinement: what reading the tensor finely adds, as a share of all
    multiplications; None where it cannot be read so. histogram: (lower edge, share of values)
    pairs.
    """

    name: str
    bits: int
    scale: tuple[float, float]
    threshold: tuple[float, float]
    clipped: float
    done: str
    histogram: tuple[tuple[float, float], ...]
    refinement: float | None = None
    snr_db: float = 0.0
    ap_lost: float = 0.0
    interval: tuple[float, float] | None = None

    @property
    def is_loss(self) -> bool:
        """Whether the loss is beyond what the choice of images explains."""
        return self.interval is not None and self.interval[0] > 0


@dataclass(frozen=True)
class Report:
    """nodes: worst first. images: how many they were judged on. own: whether these are images
    that the model was calibrated on. boxes: confident ones that the float network finds there.
    estimate: of what all of it together costs, where the evaluate stage knows."""

    nodes: list[Node]
    images: int
    own: bool
    boxes: int
    estimate: Estimate | None = None


def judge_nodes(
    settings: Settings, images: int, say: Callable[[str], object] = lambda text: None
) -> Report:
    """Every measured tensor and every convolution's weights, worst first.

    Judged on at most `images` of the images that were kept back from calibration, where there are
    any. say: hears what it needs, before the work. InputError where that is more than is granted.
    """
    source = prepared(settings)
    subjects = [*_tensors(settings, source), *_weights(settings, source)]
    net = FloatNet(source.net)
    own = not settings.judged
    places = spread(settings.images if own else settings.judged, images)
    say(check_judging(source.net, settings, len(places), len(subjects)))
    lost: list[list[float]] = [[] for _ in subjects]
    energy = np.zeros((2, len(subjects)))
    boxes = 0
    for plane in float_planes(replace(settings, images=tuple(places)), source, "report"):
        values: dict[str, Any] = {}
        answer = _detect(source, net.run(plane, values.__setitem__), settings)
        labels = answer[answer[:, 4] >= LABEL_CONF][:, [5, 0, 1, 2, 3]]
        boxes += len(labels)
        best = _image_ap(labels, answer)
        for index, (_, trial) in enumerate(subjects):
            name, value = trial(net, values)
            found = _detect(source, net.rerun(values, name, value), settings)
            if len(labels):
                lost[index].append(best - _image_ap(labels, found))
            energy[0, index] += float((values[name] ** 2).sum().asscalar())
            energy[1, index] += float(((value - values[name]) ** 2).sum().asscalar())
    signal, noise = np.maximum(energy, 1e-30)
    nodes = [
        replace(
            node, snr_db=float(decibels), ap_lost=float(np.mean(points)) if points else 0.0,
            interval=mean_interval(points),
        )
        for (node, _), points, decibels in zip(subjects, lost, 10 * np.log10(signal / noise))
    ]  # fmt: skip
    nodes.sort(key=lambda node: (not node.is_loss, -node.ap_lost, node.snr_db))
    return Report(nodes, len(places), own, boxes, estimated(settings))


def _image_ap(labels: Array, found: Array) -> float:
    """AP of one image's detections, over the classes that its labels have; 0 without labels."""
    classes = np.unique(labels[:, 0])
    known = found[np.isin(found[:, 5], classes)].copy()
    known[:, 5] = np.searchsorted(classes, known[:, 5])
    renamed = labels.copy()
    renamed[:, 0] = np.searchsorted(classes, labels[:, 0])
    return average_precision([renamed], [known], len(classes)) if len(classes) else 0.0


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean, by Student's t; None from fewer than two values."""
    count = len(values)
    if count < 2:
        return None
    mean = float(np.mean(values))
    half = _student(count - 1) * float(np.std(values, ddof=1)) / count**0.5
    return mean - half, mean + half


def _student(freedom: int) -> float:
    """The 97.5 % point of Student's t: tabulated up to 4 degrees of freedom, then by the first
    terms of its expansion about the normal distribution's (Abramowitz and Stegun, 26.7.5)."""
    few = (12.706, 4.303, 3.182, 2.776)
    if freedom <= len(few):
        return few[freedom - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


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
        cost = refinement(source.net, name, source.net.extents(*settings.imgsz))
        node = Node(shown, 8, _span(codes.scale), _span(top), clipped, done, histogram, cost)
        yield node, coded_tensor(name, codes)


def _weights(settings: Settings, source: Source) -> Iterator[tuple[Node, Trial]]:
    """The weights of every convolution, yet to be judged."""
    scheme, integers = calibrated(settings, source.net), quantized(settings)
    for layer in source.net.convolutions():
        codes = scheme.codes(source.net, layer.inputs[0], ())
        weight = integers[layer.name].weight
        step = integers[layer.name].step[:, None] / per_output(layer, codes.scale)
        counts = np.histogram(np.abs(layer.weights), WEIGHT_EDGES)[0] / layer.weights.size
        node = Node(
            f"{layer.name} weights", 8, _span(step), _span(CODE_LIMIT * step),
            float((np.abs(weight) == CODE_LIMIT).mean()), "rounding learned",
            tuple(zip(WEIGHT_EDGES[:-1].tolist(), counts.tolist())),
        )  # fmt: skip
        yield node, coded_weight(layer, weight * step[:, :, None, None])


def _span(values: Array) -> tuple[float, float]:
    return float(values.min()), float(values.max())


_COLUMNS = {
    "node": "The tensor, named by the convolution or the sum that makes it; or the weights of a "
    "convolution.",
    "AP lost alone": "How far AP falls when this alone is quantized and all else stays float. The "
    "float network's own confident boxes stand in for labels, and AP is the mean over the images.",
    "95 % interval": "Where that loss lies with 95 % confidence, as far as so many images can "
    "tell. A row is marked only where the whole interval is above zero.",
    "to refine": "What --refine NODE adds: the tensor is read with steps eight times as fine "
    "wherever it is read, which costs this share of all multiplications, no bytes, and wins "
    "back at most what is lost alone. Blank where that cannot be done.",
    "SNR dB": "Energy of the values over that of their quantization error.",
    "clipped": "Share of the values beyond the threshold; of weights, those at the largest code.",
    "threshold": "The largest value that has a code of its own; several where channels differ.",
    "scale": "The step from one code to the next.",
    "bits": "Of the codes.",
    "done": "How the tensor is coded.",
}


def _cells(node: Node) -> tuple[str, ...]:
    return (
        node.name, f"{node.ap_lost:+.2f}",
        "" if node.interval is None else "{:+.2f} to {:+.2f}".format(*node.interval),
        "" if node.refinement is None
        else f"+{100 * node.refinement:.1f} % mult.",
        f"{node.snr_db:.1f}", f"{100 * node.clipped:.4f} %", _spelled(node.threshold, ".3g"),
        _spelled(node.scale, ".4g"), str(node.bits), node.done,
    )  # fmt: skip


def _spelled(span: tuple[float, float], form: str) -> str:
    low, high = format(span[0], form), format(span[1], form)
    return low if low == high else f"{low}…{high}"


def table(nodes: Sequence[Node]) -> str:
    """The rows as text, columns aligned."""
    rows = [tuple(_COLUMNS), *(_cells(node) for node in nodes)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows)


def summary(report: Report) -> list[str]:
    """What the figures rest on, and what to do about the worst of them, in sentences."""
    images = "1 image" if report.images == 1 else f"{report.images} images"
    own = "was calibrated on" if report.own else "was not calibrated on"
    lines = [
        f"Judged on {images} that the model {own}, with {report.boxes} confident boxes of the "
        "float network in place of labels."
    ]
    if report.estimate is not None:
        lines.append(
            f"The whole model is estimated to lose {report.estimate.told()}, on "
            f"{report.estimate.images} images when it was quantized."
        )
    if not report.boxes:
        lines.append("Without boxes nothing is known of the accuracy: every loss is told as 0.")
    losses = [node for node in report.nodes if node.is_loss]
    refined = refinable(report)
    if not losses:
        lines.append("No loss of a single node is beyond what the choice of images explains.")
    else:
        lines.append(f"{len(losses)} nodes lose more than the choice of images explains.")
    if refined is not None:
        lines.append(f"To read the worst with finer steps: yolo-mrt quantize … --refine {refined}")
    return lines


def refinable(report: Report) -> str | None:
    """The tensor whose steps are worth making finer first, None where there is none."""
    names = (n.name for n in report.nodes if n.is_loss and n.refinement is not None)
    return next(names, None)


def page(report: Report, title: str) -> str:
    """One self-contained HTML page with a histogram per node."""
    worst = max((node.ap_lost for node in report.nodes if node.is_loss), default=0.0)
    rows = [
        {
            "cells": list(zip(_COLUMNS, _cells(node))),
            # Ten shades, of which the style sheet has one class each.
            "shade": round(10 * node.ap_lost / worst) if node.is_loss else 0,
            **_histogram(node),
        }
        for node in report.nodes
    ]
    environment = Environment(
        loader=PackageLoader("yolo_mrt", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style = environment.get_template("report.css").render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        title=title, columns=_COLUMNS, summary=summary(report), rows=rows, style=Markup(style),
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
