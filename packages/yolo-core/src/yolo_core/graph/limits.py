"""The budgets of reading: what is refused before it costs memory or time.

Source: spec 4.5, 8.3, 8.6. Symbols that tools write stay far below these.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Largest sizes that a reader accepts, and what the caller is willing to spend.

    symbol_bytes: the whole symbol file; element_bytes: one node or one list item of it.
    nodes, operands: counts over the whole program; parameters: arrays in a params file.
    max_gas: gas of one inference; max_memory: bytes that one inference needs at its peak,
    parameters included; max_steps: elementary steps of all operators. None where the budget of the
    command decides (`yolo_core.budget`), which most often sets no limit.
    """

    symbol_bytes: int = 16 * 2**20
    element_bytes: int = 64 * 2**10
    nodes: int = 2**15
    operands: int = 2**17
    parameters: int = 2**15
    max_gas: int | None = None
    max_memory: int | None = None
    max_steps: int | None = None
