"""Pieces of HTML that every section of the report uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from yolo_eval.figures.compare import Comparison, Pair

#: CSS classes that colour the runs, in turn.
TONES = "abcd"


def pairs(comparison: Comparison) -> Iterable[tuple[Pair, str]]:
    """Every compared run with its label."""
    return zip(comparison.pairs, comparison.labels[1:])


def tone(number: int) -> str:
    """The CSS class that colours a run."""
    return TONES[number % len(TONES)]


def run_label(comparison: Comparison, number: int) -> str:
    """A run's label in its colour."""
    return f'<span class="{tone(number)}">{escape(comparison.labels[number])}</span>'


def difference_label(comparison: Comparison, label: str) -> str:
    """ "B minus A": what the signs of a pair's differences mean."""
    return f"{escape(label)} minus {escape(comparison.labels[0])}"


def scrolled(head: str, rows: Sequence[str], caption: str, kind: str = "") -> str:
    """A table that scrolls sideways where it does not fit. head, rows: HTML. kind: CSS class."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="{kind}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
