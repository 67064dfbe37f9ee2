"""Writing tile code: the pointwise operations of a region on registers that hold a few pixels.

Values are kept as requantizations not yet done for as long as possible: a clamp, a multiplication,
a rounding shift, a clamp and an addition become one REQUANT, which the library does on the
accumulators of a convolution.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.integers import INT32_MAX, INT32_MIN
from yolo_cvm.engine.format import MOST_OPERATIONS, REGISTERS, Tile
from yolo_cvm.engine.planner.form import ImageName, Interval, Operation, Scatter


class TooWide(Exception):
    """A region needs more registers or operations than there are."""


#: What writes no register.
_SINKS = frozenset([Tile.STORE, Tile.LOOKUP_STORE, Tile.SCATTER])

#: How far a requantization has got; a later stage cannot take an earlier operation.
_START, _CLIP, _MUL, _SHIFT, _CLAMP, _OFFSET = range(6)


@dataclass(frozen=True)
class Value:
    """A register, and the requantization that is still to be done on it.

    known: proven range of the finished value; before: of the value that is shifted, to which
    `addend` is still to be added. addend, offset: one value or one per channel.
    """

    register: int
    known: Interval
    stage: int = _START
    clip: Interval | None = None
    mul: Array | None = None
    shift: int = 0
    carry_free: bool = False
    before: Interval = (0, 0)
    addend: Array | None = None
    low: int = INT32_MIN
    high: int = INT32_MAX
    offset: Array | None = None


def _before_addition(v: Value, low: int, high: int) -> Interval | None:
    """The clamp of v before its addition that does what one to [low, high] would do after it;
    None where the addition is by channel, or may wrap."""
    assert v.offset is not None
    if v.offset.size > 1:
        return None
    move = int(v.offset.reshape(-1)[0])
    first, last = (v.low, v.high) if v.shift else v.before
    found = [min(max(bound, low - move), high - move) for bound in (v.low, v.high)]
    reach = [first + move, last + move, *found]
    fits = min(reach) >= INT32_MIN and max(reach) <= INT32_MAX
    return (found[0], found[1]) if fits else None


@dataclass
class TileCode:
    """Operations in order, and which registers are free.

    A copy is made by the first operation on it, which reads the register of the original; by a
    clamp that changes nothing only where the original changes before.
    """

    operations: list[Operation] = field(default_factory=list)
    _free: list[int] = field(default_factory=lambda: list(range(REGISTERS)))
    #: the originals of copies that are still to be made
    _originals: dict[int, int] = field(default_factory=dict)

    def take(self) -> int:
        """A free register. TooWide where there is none."""
        if not self._free:
            raise TooWide
        return self._free.pop(0)

    def release(self, register: int) -> None:
        """The register's value is no longer needed."""
        self._make_copies_of(register)
        self._originals.pop(register, None)
        self._free.append(register)
        self._free.sort()

    def emit(self, kind: Tile, dst: int, a: int, b: int, **fields: Any) -> None:
        """Append one operation."""
        a, b = self._originals.get(a, a), self._originals.get(b, b)
        if kind not in _SINKS:
            self._make_copies_of(dst)
            self._originals.pop(dst, None)
        if len(self.operations) == MOST_OPERATIONS:
            raise TooWide
        self.operations.append(Operation(kind, dst, a, b, fields))

    def _make_copies_of(self, register: int) -> None:
        """The register's value goes: copies of it can wait no longer."""
        for copy in [c for c, original in self._originals.items() if original == register]:
            del self._originals[copy]
            self.emit(Tile.CLAMP, copy, register, 0, low=INT32_MIN, high=INT32_MAX)

    # --- operations on values; each returns the value after it

    def load(self, image: ImageName, known: Interval) -> Value:
        """An image's pixels in a new register."""
        register = self.take()
        self.emit(Tile.LOAD, register, 0, 0, image=image)
        return Value(register, known)

    def clamp(self, v: Value, low: int, high: int) -> Value:
        """v brought into [low, high]; v must be the only user of its register."""
        known = (min(max(v.known[0], low), high), min(max(v.known[1], low), high))
        if low <= v.known[0] and v.known[1] <= high:
            return v
        if v.stage <= _CLIP:
            old = v.clip or (INT32_MIN, INT32_MAX)
            clip = (min(max(old[0], low), high), min(max(old[1], low), high))
            return replace(v, known=known, clip=clip, stage=_CLIP)
        if v.stage == _OFFSET:
            bounds = _before_addition(v, low, high)
            if bounds is None:
                return self.clamp(self.finish(v), low, high)
            return replace(v, known=known, low=bounds[0], high=bounds[1])
        return replace(
            v,
            known=known,
            stage=_CLAMP,
            low=min(max(v.low, low), high),
            high=min(max(v.high, low), high),
        )

    def multiply(self, v: Value, factor: Array, known: Interval) -> Value:
        """v times a constant, one or per channel, wrapping."""
        if v.stage > _CLIP:
            v = self.finish(v)
        return replace(v, known=known, stage=_MUL, mul=factor)

    def shift(self, v: Value, bits: int, low: int, high: int, known: Interval) -> Value:
        """floor(v / 2^bits + 1/2) brought into [low, high]."""
        half = 1 << (bits - 1)
        if v.stage == _OFFSET and v.low == INT32_MIN and v.high == INT32_MAX and not v.shift:
            # An addition straight before the shift rides on the rounding, if nothing wraps.
            assert v.offset is not None
            first, last = v.before[0] + int(v.offset.min()), v.before[1] + int(v.offset.max())
            if (
                bits <= 30
                and first >= INT32_MIN
                and last + half <= INT32_MAX
                and int(v.offset.max()) + half <= INT32_MAX
            ):
                return replace(
                    v,
                    known=known,
                    stage=_SHIFT,
                    shift=bits,
                    carry_free=True,
                    addend=v.offset,
                    offset=None,
                    low=low,
                    high=high,
                )
        if v.stage > _MUL:
            v = self.finish(v)
        carry_free = bits <= 30 and v.known[1] + half <= INT32_MAX
        return replace(
            v,
            known=known,
            stage=_SHIFT,
            shift=bits,
            carry_free=carry_free,
            before=v.known,
            low=low,
            high=high,
        )

    def add(self, v: Value, constant: Array, known: Interval) -> Value:
        """v plus a constant, one or per channel, wrapping."""
        if v.stage > _CLAMP:
            v = self.finish(v)
        before = v.before if v.shift else v.known
        return replace(v, known=known, before=before, stage=_OFFSET, offset=constant)

    def maximum(self, v: Value, constant: Array, known: Interval) -> Value:
        """The larger of v and a constant."""
        v = self.finish(v)
        self.emit(Tile.MAX_CONSTANT, v.register, v.register, 0, values=constant)
        return Value(v.register, known)

    def finish(self, v: Value) -> Value:
        """v with nothing left to do, in the same register."""
        if v.stage == _START:
            return v
        clip_low, clip_high = v.clip or (0, 0)
        low, high, offset = v.low, v.high, v.offset
        rounding: Array = np.zeros(1, np.int64)
        if v.carry_free:
            rounding += 1 << (v.shift - 1)
            if v.addend is not None:
                rounding = rounding + v.addend
        if v.carry_free and offset is not None and (offset.size == 1 or low > INT32_MIN):
            # The addition after the shift costs nothing when the rounding carries it. Of an
            # addition by channel it carries what makes values count from 0: they may be indices.
            more = int(offset[0]) if offset.size == 1 else -low
            moved = rounding + (more << v.shift)
            reach = [
                int(moved.min()),
                int(moved.max()),
                int(moved.min()) + v.before[0],
                int(moved.max()) + v.before[1],
                low + more,
                high + more,
                int(offset.min()) - more,
                int(offset.max()) - more,
            ]
            if max(map(abs, reach)) <= INT32_MAX:
                rounding, low, high = moved, low + more, high + more
                offset = None if offset.size == 1 else offset - more
        self.emit(
            Tile.REQUANT,
            v.register,
            v.register,
            0,
            clip=int(v.clip is not None),
            clip_lo=clip_low,
            clip_hi=clip_high,
            mul=v.mul,
            shift=v.shift,
            carry_free=int(v.carry_free),
            rounding=rounding,
            low=low,
            high=high,
            offset=offset,
        )
        return Value(v.register, v.known)

    def copied(self, v: Value) -> Value:
        """v in a register of its own, for a value with several users."""
        v = self.finish(v)
        register = self.take()
        self._originals[register] = self._originals.get(v.register, v.register)
        return Value(register, v.known)

    def pair(self, kind: Tile, a: Value, b: Value, known: Interval) -> Value:
        """Two finished values combined in a new register."""
        register = self.take()
        self.emit(kind, register, a.register, b.register)
        return Value(register, known)

    def lookup(self, v: Value, table: Array, known: Interval) -> Value:
        """A table's entry for a finished value, in a new register."""
        register = self.take()
        self.emit(Tile.LOOKUP, register, v.register, 0, table=table)
        return Value(register, known)

    def lookup_store(self, v: Value, table: Array, image: ImageName) -> None:
        """A byte table's entry for a finished value, straight to an image."""
        self.emit(Tile.LOOKUP_STORE, 0, v.register, 0, table=table, image=image)

    def store(self, v: Value, image: ImageName) -> None:
        """A finished value to an image."""
        self.emit(Tile.STORE, 0, v.register, 0, image=image)

    def scatter(self, v: Value, place: Scatter) -> None:
        """A finished value to a plain tensor."""
        self.emit(
            Tile.SCATTER,
            0,
            v.register,
            0,
            target=place.entry,
            offsets=place.offsets,
            image_stride=place.image,
            row_stride=place.row,
            pixel_stride=place.pixel,
        )
