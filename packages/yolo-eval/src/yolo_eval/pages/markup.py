"""What every section of the report hands to its template."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from yolo_eval.figures.bootstrap import Interval
from yolo_eval.figures.compare import Comparison, Pair
from yolo_eval.pages import wording

#: CSS classes that colour the runs, in turn.
TONES = "abcd"


@dataclass(frozen=True)
class RunLabel:
    """A run's label and the CSS class that colours it."""

    text: str
    tone: str


@dataclass(frozen=True)
class Difference:
    """A difference in percent points, its interval and the CSS class that colours it, as text."""

    points: str
    span: str
    tone: str


def pairs(comparison: Comparison) -> Iterable[tuple[Pair, str]]:
    """Every compared run with its label."""
    return zip(comparison.pairs, comparison.labels[1:])


def tone(number: int) -> str:
    """The CSS class that colours a run."""
    return TONES[number % len(TONES)]


def run_label(comparison: Comparison, number: int) -> RunLabel:
    return RunLabel(comparison.labels[number], tone(number))


def difference_label(comparison: Comparison, label: str) -> str:
    """ "B minus A": what the signs of a pair's differences mean."""
    return f"{label} minus {comparison.labels[0]}"


def difference(value: Interval) -> Difference:
    # A no-break space keeps the first number and the word together in a narrow column.
    span = wording.span(value).replace(" to", "\N{NO-BREAK SPACE}to")
    return Difference(wording.points(value), span, wording.tone(value))
