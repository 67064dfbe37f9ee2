"""What is gained beside what is lost: size, time, memory and the call on a chain of each model."""

from __future__ import annotations

from markupsafe import Markup

from yolo_core import words
from yolo_eval.figures.compare import Comparison
from yolo_eval.figures.cost import Cost
from yolo_eval.pages.markup import run_label
from yolo_eval.pages.rendering import render

_UNKNOWN = "not known"
_REMEDY = (
    "a contract cannot pay for its output; yolo-mrt boxes MODEL --out DIR makes a model of it "
    "whose graph decides, and whose boxes a contract can receive"
)


def section(comparison: Comparison) -> Markup:
    labels = [run_label(comparison, number) for number in range(len(comparison.runs))]
    return render("gain.html", labels=labels, rows=rows(comparison), notes=_notes(comparison))


def markdown(comparison: Comparison) -> list[str]:
    """The same as lines of Markdown; labels are no markup already."""
    head = " | ".join(comparison.labels)
    lines = [f"| what it takes | {head} |", "|---|" + "---:|" * len(comparison.labels)]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows(comparison)]
    return [*lines, *(f"\n{words.markdown(note)}" for note in _notes(comparison))]


def rows(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """A name and a cell per run; from the second run on with its ratio to the first."""
    costs = comparison.costs
    return [
        ("AP in percent", [_ap(comparison, number) for number in range(len(costs))]),
        (
            "size of the parameters",
            [_told(costs, n, "bytes", 1e6, "MB") for n in range(len(costs))],
        ),
        ("latency, one thread", [_told(costs, n, "ms", 1, "ms") for n in range(len(costs))]),
        ("peak memory", [_told(costs, n, "peak_bytes", 1e6, "MB") for n in range(len(costs))]),
        ("gas of one inference", [_gas(cost.gas) for cost in costs]),
        ("gas of a call on chain", [_gas(cost.call_gas) for cost in costs]),
        ("can be called on chain", [_callable(cost) for cost in costs]),
    ]


def _ap(comparison: Comparison, number: int) -> str:
    value = (comparison.runs[number].metrics or {}).get("AP")
    return "n/a" if value is None else f"{100 * value:.2f}"


def _told(costs: tuple[Cost, ...], number: int, key: str, unit: float, name: str) -> str:
    value, base = getattr(costs[number], key), getattr(costs[0], key)
    if value is None:
        return _UNKNOWN
    told = f"{value / unit:,.2f} {name}" if value < 100 * unit else f"{value / unit:,.0f} {name}"
    return told if not number or not base else f"{told} (× {value / base:.2f})"


def _gas(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _callable(cost: Cost) -> str:
    return {True: "yes", False: "no", None: _UNKNOWN}[cost.callable]


def _notes(comparison: Comparison) -> list[str]:
    told = [(label, cost.note) for label, cost in zip(comparison.labels, comparison.costs)]
    told += [
        (label, _REMEDY)
        for label, cost in zip(comparison.labels, comparison.costs)
        if cost.callable is False and cost.gas is not None
    ]
    return [f"{label}: {note}." for label, note in told if note]
