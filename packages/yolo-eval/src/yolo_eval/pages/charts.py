"""Charts as inline SVG: text that can be read aloud and searched, colours from the page's style.

Series are told apart by dash as well as by colour. Every chart has a title and a description. The
geometry is worked out here; `templates/chart.html` writes it down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from yolo_core.arrays import Array
from yolo_eval.pages.rendering import render

#: Widths in CSS pixels: charts shrink where there is less room and never grow, so that their
#: letters have one size all over the page.
_WIDTH = 560
_NARROW = 480
#: Largest confusion matrix whose names and counts are drawn.
LABELLED = 24


@dataclass(frozen=True)
class Shape:
    """One element of a drawing. tip: shown where the pointer rests. text: what it says."""

    tag: str
    attributes: Mapping[str, Any]
    text: str = ""
    tip: str = ""


@dataclass(frozen=True)
class Series:
    """One line of a chart. tone: CSS class, "a", "b", "c" … as the page colours the runs, "k0" to
    "k7" for classes, "rest" for lines in the background. label: empty for none in the legend."""

    label: str
    tone: str
    x: Sequence[float]
    y: Sequence[float]


def line_chart(
    title: str, about: str, series: Sequence[Series], x_label: str, y_label: str
) -> Markup:
    """Lines over the unit square; both axes run from 0 to 1."""
    left, top, width, height = 60, 12, _WIDTH - 76, 240
    parts = []
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        x, y = left + tick * width, top + (1 - tick) * height
        parts.append(_line(left, y, left + width, y, "grid"))
        parts.append(_line(x, top, x, top + height, "grid"))
        parts.append(_text(left - 8, y + 4, f"{tick:g}", "end"))
        parts.append(_text(x, top + height + 18, f"{tick:g}", "middle"))
    parts.append(_text(left + width / 2, top + height + 38, x_label, "middle"))
    parts.append(_upright(14, top + height / 2, y_label))
    for line in series:
        points = " ".join(
            f"{left + x * width:.1f},{top + (1 - y) * height:.1f}" for x, y in zip(line.x, line.y)
        )
        parts.append(Shape("polyline", {"class": f"line {line.tone}", "points": points}))
    named = [line for line in series if line.label]
    return _svg(title, about, parts, _WIDTH, top + height + 46, legend=named)


def bar_chart(
    title: str,
    about: str,
    rows: Sequence[tuple[str, Sequence[tuple[str, float, str]]]],
    x_label: str,
) -> Markup:
    """Horizontal bars from 0 on. rows: a label, and for each of its bars tone, length and text."""
    left, right, step = 108, 74, 15
    width = _NARROW - left - right
    bars = len(rows[0][1])
    most = max([1e-9, *(length for _, lines in rows for _, length, _ in lines)])
    parts = []
    y = 8.0
    for label, lines in rows:
        parts.append(_text(left - 10, y + step * bars / 2 + 4, _short(label), "end"))
        for tone, length, told in lines:
            wide = max(0.0, length) / most * width
            parts.append(_rectangle(f"cell {tone}", left, y + 1, wide, step - 3))
            parts.append(_text(left + wide + 6, y + step - 3, told, "start"))
            y += step
        y += 9
    parts.append(_line(left, 4, left, y - 4, "zero"))
    parts.append(_text(left + width / 2, y + 12, x_label, "middle"))
    return _svg(title, about, parts, _NARROW, y + 20)


def interval_chart(
    title: str, about: str, rows: Sequence[tuple[str, float, float, float]]
) -> Markup:
    """Differences with their intervals around a zero line. rows: label, delta, low, high."""
    left, right, step = 136, 64, 26
    width = _NARROW - left - right
    top, height = 10, step * len(rows)
    # Half a point to each side at least, so that equal runs have an axis too.
    low = min([-0.5, *(row[2] for row in rows)])
    high = max([0.5, *(row[3] for row in rows)])
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    scale = width / (high - low)
    parts = []
    for tick in ticks:
        x = left + (tick - low) * scale
        parts.append(_line(x, top, x, top + height, "zero" if tick == 0 else "grid"))
        parts.append(_text(x, top + height + 18, signed(tick, 1 if ticks[1] - ticks[0] < 1 else 0),
                           "middle"))  # fmt: skip
    for number, (label, delta, least, most) in enumerate(rows):
        y = top + step * (number + 0.5)
        x, x1, x2 = (left + (value - low) * scale for value in (delta, least, most))
        tone = "loss" if most < 0 else "gain" if least > 0 else "even"
        parts.append(_text(left - 10, y + 4, _short(label), "end"))
        parts.append(_line(x1, y, x2, y, f"bar {tone}"))
        circle = {"class": f"dot {tone}", "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": 5}
        parts.append(Shape("circle", circle))
        parts.append(_text(_NARROW, y + 4, signed(delta, 2), "end"))
    parts.append(_text(left + width / 2, top + height + 40, "percent points", "middle"))
    return _svg(title, about, parts, _NARROW, top + height + 48)


def histogram(
    title: str,
    about: str,
    counts: Sequence[int],
    edges: Sequence[float],
    x_label: str,
    y_label: str,
) -> Markup:
    """Counts per bin. edges: one more than counts, evenly spaced."""
    left, top, width, height = 60, 16, _WIDTH - 76, 190
    most = max([1, *counts])
    step = width / len(counts)
    parts = [_line(left, top + height, left + width, top + height, "zero")]
    for tick in _ticks(0, most):
        if tick <= most:
            y = top + (1 - tick / most) * height
            parts.append(_line(left, y, left + width, y, "grid"))
            parts.append(_text(left - 8, y + 4, f"{tick:g}", "end"))
    for number, count in enumerate(counts):
        tall = count / most * height
        middle = (edges[number] + edges[number + 1]) / 2
        tone = "even" if abs(middle) < 1e-9 else "loss" if middle < 0 else "gain"
        tip = f"{signed(edges[number], 2)} to {signed(edges[number + 1], 2)}: {count}"
        x, y = left + number * step + 1, top + height - tall
        parts.append(_rectangle(f"fill {tone}", x, y, step - 2, tall, tip))
    for number in range(0, len(counts), max(1, len(counts) // 4)):
        x = left + (number + 0.5) * step
        middle = (edges[number] + edges[number + 1]) / 2
        parts.append(_text(x, top + height + 18, signed(middle, 2), "middle"))
    parts.append(_text(left + width / 2, top + height + 38, x_label, "middle"))
    parts.append(_upright(14, top + height / 2, y_label))
    return _svg(title, about, parts, _WIDTH, top + height + 46)


def heat_map(title: str, about: str, table: Array, names: Sequence[str], tone: str) -> Markup:
    """A confusion matrix, each row shaded by its share; hover or `title` gives the counts.

    table: int64 [n, n]. names: n labels; drawn, with the counts, where they fit.
    """
    count = len(names)
    labelled = count <= LABELLED
    left = 110 if labelled else 28
    top = 86 if labelled else 24
    side = (_WIDTH - left - 8) / count
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    parts = [_rectangle("frame", left, top, side * count, side * count)]
    for row, column in zip(*np.nonzero(table)):
        tip = f"{names[row]} → {names[column]}: {table[row, column]}"
        x, y = left + column * side, top + row * side
        opacity = f"{0.12 + 0.88 * shares[row, column]:.2f}"
        parts.append(_rectangle(f"cell {tone}", x, y, side, side, tip, opacity=opacity))
        if labelled:
            kind = "n on" if shares[row, column] > 0.5 else "n"
            kind += " small" if count > 10 else ""
            told = str(table[row, column])
            parts.append(_text(x + side / 2, y + side / 2 + 4, told, "middle", kind))
    if labelled:
        for number, name in enumerate(names):
            middle = side * (number + 0.5)
            parts.append(_text(left - 6, top + middle + 4, _short(name), "end"))
            turned = f"translate({left + middle + 4:.1f} {top - 6}) rotate(-60)"
            parts.append(Shape("text", {"class": "t", "transform": turned}, _short(name)))
    else:
        parts.append(_text(left + side * count / 2, top - 8, "predicted class →", "middle"))
        parts.append(_upright(18, top + side * count / 2, "← true class"))
    return _svg(title, about, parts, _WIDTH, top + side * count + 8, "chart heat")


def signed(value: float, digits: int) -> str:
    """A number with its sign, minus as typographers write it; zero has none."""
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        return text[1:]
    return text.replace("-", "−")


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers that enclose low … high and contain 0 when they do."""
    span = high - low
    size = 10.0 ** np.floor(np.log10(span / 4))
    step = next(size * factor for factor in (1, 2, 5, 10) if span / (size * factor) <= 7)
    first, last = int(np.floor(low / step + 1e-9)), int(np.ceil(high / step - 1e-9))
    return [number * float(step) for number in range(first, last + 1)]


def _svg(
    title: str,
    about: str,
    shapes: Sequence[Shape],
    width: int,
    height: float,
    kind: str = "chart",
    legend: Sequence[Series] = (),
) -> Markup:
    return render(
        "chart.html", title=title, about=about, shapes=shapes, width=width,
        height=f"{height:.0f}", kind=kind, legend=legend,
    )  # fmt: skip


def _short(name: str) -> str:
    """A class name that fits beside a chart."""
    return name if len(name) <= 14 else name[:13] + "…"


def _line(x1: float, y1: float, x2: float, y2: float, tone: str) -> Shape:
    return Shape("path", {"class": tone, "d": f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"})


def _rectangle(
    kind: str, x: float, y: float, width: float, height: float, tip: str = "", **more: str
) -> Shape:
    sides = {"x": x, "y": y, "width": width, "height": height}
    attributes = {"class": kind, **{name: f"{side:.1f}" for name, side in sides.items()}, **more}
    return Shape("rect", attributes, tip=tip)


def _text(x: float, y: float, text: str, anchor: str, kind: str = "t") -> Shape:
    place = {"class": kind, "x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}
    return Shape("text", place, text)


def _upright(x: float, y: float, text: str) -> Shape:
    """Text that reads from below, around a middle."""
    turned = f"translate({x:.0f} {y:.0f}) rotate(-90)"
    return Shape("text", {"class": "t", "transform": turned, "text-anchor": "middle"}, text)
