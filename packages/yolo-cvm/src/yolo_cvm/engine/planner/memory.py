"""Pass 10: where every buffer lies in the arena, none overlapping another that lives meanwhile."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from yolo_cvm.engine.format import ALIGNMENT, PROGRAMS, STEPS, TENSORS, Storage
from yolo_cvm.engine.planner.form import Form, Memory, PlanStep, Tensor

NAME = "memory"
#: Buffers that are placed with a look at all others; the rest, the smallest, one after the other.
MOST_COMPARED = 500


@dataclass(frozen=True)
class Life:
    """A buffer of the arena: bytes in whole units of alignment, first and last step in use."""

    number: int
    size: int
    first: int
    last: int


def run(form: Form) -> Form:
    """Large buffers first, each at the lowest free place; small ones in order of time."""
    living = sorted(lives(form), key=lambda life: -life.size)
    offsets = [0] * len(form.steps.buffers)
    arena = _by_size(living[:MOST_COMPARED], offsets)
    rest = sorted(living[MOST_COMPARED:], key=lambda life: life.first)
    arena += _by_time(rest, offsets, arena)
    return form.after(NAME, memory=Memory(tuple(offsets), arena))


def lives(form: Form) -> list[Life]:
    """When each buffer of the arena is in use; those that no step touches are left out."""
    buffers = form.steps.buffers
    first: dict[int, int] = {}
    last: dict[int, int] = dict(form.steps.until)
    for number, step in enumerate(form.steps.steps):
        for tensor in touched(step):
            first.setdefault(tensor.buffer, number)
            last[tensor.buffer] = max(number, last.get(tensor.buffer, 0))
    return [
        Life(number, -(-buffers[number].size // ALIGNMENT) * ALIGNMENT, begin, last[number])
        for number, begin in sorted(first.items())
        if buffers[number].storage == Storage.ARENA
    ]


def touched(step: PlanStep) -> Iterator[Tensor]:
    """Every tensor that a step reads or writes, its program included."""
    for field_ in STEPS[step.kind]:
        value = step.fields[field_.name]
        if field_.kind in TENSORS and value is not None:
            yield value
        elif field_.kind in PROGRAMS:
            for operation in value:
                for inner in PROGRAMS[field_.kind][operation.kind]:
                    if inner.kind in TENSORS:
                        yield operation.fields[inner.name]


def _by_size(living: Sequence[Life], offsets: list[int]) -> int:
    """Each at the lowest place that is free while it lives. Returns the bytes of the whole."""
    total = 0
    placed: list[tuple[int, int, Life]] = []
    for life in living:
        offset = 0
        for begin, _, other in placed:
            if other.last < life.first or life.last < other.first:
                continue
            if offset + life.size <= begin:
                break
            offset = max(offset, begin + other.size)
        offsets[life.number] = offset
        total = max(total, offset + life.size)
        insort(placed, (offset, life.number, life))
    return total


@dataclass
class _Free:
    """Free pieces above `base`, neighbours joined, and the end of what was ever used."""

    base: int
    end: int = 0
    by_size: list[tuple[int, int]] = field(default_factory=list)
    size_at: dict[int, int] = field(default_factory=dict)
    start_at: dict[int, int] = field(default_factory=dict)

    def take(self, size: int) -> int:
        """The smallest free piece that is large enough, or new memory at the end."""
        found = bisect_left(self.by_size, (size, 0))
        if found < len(self.by_size):
            piece, offset = self.by_size[found]
            self._remove(offset, piece)
            if piece > size:
                self._insert(offset + size, piece - size)
            return offset
        offset = self.start_at.get(self.end, self.end)
        if offset < self.end:
            self._remove(offset, self.end - offset)
        self.end = offset + size
        return offset

    def give(self, offset: int, size: int) -> None:
        """A piece is free again."""
        before = self.start_at.get(offset)
        if before is not None:
            self._remove(before, offset - before)
            offset, size = before, size + offset - before
        behind = self.size_at.get(offset + size)
        if behind is not None:
            self._remove(offset + size, behind)
            size += behind
        self._insert(offset, size)

    def _insert(self, offset: int, size: int) -> None:
        insort(self.by_size, (size, offset))
        self.size_at[offset] = size
        self.start_at[offset + size] = offset

    def _remove(self, offset: int, size: int) -> None:
        del self.by_size[bisect_left(self.by_size, (size, offset))]
        del self.size_at[offset], self.start_at[offset + size]


def _by_time(living: Sequence[Life], offsets: list[int], base: int) -> int:
    """One after the other as they begin to live. Returns the bytes of the whole."""
    free = _Free(base)
    ending: list[tuple[int, int, Life]] = []
    for life in living:
        while ending and ending[0][0] < life.first:
            _, offset, other = ending.pop(0)
            free.give(offset, other.size)
        offset = free.take(life.size)
        offsets[life.number] = base + offset
        insort(ending, (life.last, offset, life))
    return free.end
