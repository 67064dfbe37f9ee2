"""The scheme: which integers stand for which real numbers, everywhere in the network.

It is the whole outcome of calibration. A network and a scheme give the same model on any machine,
so the scheme is what the calibrate stage writes down (as JSON) and what `--scheme` reads back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_mrt.calibrate.tables import CODE_LIMIT, FINE, Table
from yolo_mrt.network.net import Layer, Net

INPUT_SCALE, INPUT_ZERO = 255.0, -128
FORMAT = "yolo-mrt-scheme-1"


@dataclass(frozen=True)
class Codes:
    """Codes of a tensor as a convolution reads it; one entry per channel of codes.

    value = (code - zero) * scale, summed over the entries of the same `channel` of the float
    tensor (a fine tensor has two). fine: entries that hold what the coarse code of their channel
    leaves over, in steps FINE times smaller.
    """

    scale: Array
    zero: Array
    channel: Array
    fine: Array

    @classmethod
    def plain(cls, scale: Array, zero: Array) -> Codes:
        """One coarse code per channel."""
        return cls(scale, zero, np.arange(len(scale)), np.zeros(len(scale), bool))

    @classmethod
    def join(cls, parts: tuple[tuple[Codes, int], ...]) -> Codes:
        """Side by side, as a concatenation does; each with the float tensor's channel count."""
        offsets = np.cumsum([0] + [channels for _, channels in parts])
        return cls(
            np.concatenate([codes.scale for codes, _ in parts]),
            np.concatenate([codes.zero for codes, _ in parts]),
            np.concatenate([codes.channel + o for (codes, _), o in zip(parts, offsets)]),
            np.concatenate([codes.fine for codes, _ in parts]),
        )

    def coarse(self) -> Codes:
        """One entry per channel of the float tensor."""
        own = ~self.fine
        return Codes(self.scale[own], self.zero[own], self.channel[own], self.fine[own])


@dataclass(frozen=True)
class SumCodes:
    """How a sum of wide codes becomes codes: code = (sum * multiplier >> shift) + zero."""

    multiplier: Array
    shift: int
    zero: Array


@dataclass(frozen=True)
class Scheme:
    """See the module.

    menu: (threshold, span) of every table, see Table; the first `fine_tables` also exist fine.
    table [C] per activated convolution: index into the menu of each channel.
    wide_span: span of the one table of wide codes, and of all who share their index with it.
    sums: of every addition. wide_exponent: wide codes have steps of 2^-wide_exponent.
    fine: convolution → the tensors that it reads with FINE times finer steps.
    head_exponent, head_bits: outputs have steps of 2^-head_exponent and that many bits.
    """

    menu: tuple[tuple[float, float], ...]
    fine_tables: int
    table: Mapping[str, Array]
    sums: Mapping[str, SumCodes]
    wide_exponent: int
    wide_span: float
    fine: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    head_exponent: int = 10
    head_bits: int = 16

    def tables(self, layer: Layer) -> tuple[Table, ...]:
        """The menu for this convolution's activation."""
        return tuple(Table(layer.activation, t, span, layer.slope) for t, span in self.menu)

    def wide_table(self, layer: Layer) -> Table:
        """The table of wide codes for this convolution's activation."""
        return Table(layer.activation, self.wide_span, self.wide_span, layer.slope)

    def index_table(self, layer: Layer, wide: bool) -> tuple[Table, ...]:
        """Per channel, the table that decides what an index means."""
        if wide:
            return (self.wide_table(layer),) * len(self.table[layer.name])
        menu = self.tables(layer)
        return tuple(menu[i] for i in self.table[layer.name])

    def own_codes(self, layer: Layer, fine: bool) -> Codes:
        """Codes of an activated convolution, an addition or the input."""
        scale: Array
        zero: Array
        if layer.op == "input":
            scale, zero = np.full(3, 1 / INPUT_SCALE), np.full(3, INPUT_ZERO)
        elif layer.op == "add":
            sums = self.sums[layer.name]
            scale = np.ldexp(1.0 / sums.multiplier, sums.shift - self.wide_exponent)
            zero = sums.zero
        else:
            menu = self.tables(layer)
            scale = np.array([menu[i].scale for i in self.table[layer.name]])
            zero = np.array([menu[i].zero for i in self.table[layer.name]])
        if fine:
            channel, coarse = np.arange(len(scale)), np.zeros(len(scale), bool)
            return Codes(
                np.concatenate((scale, scale / FINE)),
                np.concatenate((zero, np.zeros_like(zero))),
                np.concatenate((channel, channel)),
                np.concatenate((coarse, ~coarse)),
            )
        return Codes.plain(scale, zero)

    def codes(self, net: Net, name: str, fine: tuple[str, ...]) -> Codes:
        """Codes of any tensor as it is read by a convolution that reads `fine` finely."""
        layers, channels = net.by_name(), net.channels()
        layer = layers[name]
        if layer.op == "concat":
            return Codes.join(tuple((self.codes(net, i, fine), channels[i]) for i in layer.inputs))
        if layer.op in ("maxpool", "upsample"):
            return self.codes(net, layer.inputs[0], fine)
        return self.own_codes(layer, name in fine)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "format": FORMAT,
            "menu": [list(pair) for pair in self.menu],
            "fine_tables": self.fine_tables,
            "wide_span": self.wide_span,
            "wide_exponent": self.wide_exponent,
            "head_exponent": self.head_exponent,
            "head_bits": self.head_bits,
            "table": {name: [int(i) for i in table] for name, table in self.table.items()},
            "sums": {
                name: {
                    "multiplier": [int(m) for m in sums.multiplier],
                    "shift": sums.shift,
                    "zero": [int(z) for z in sums.zero],
                }
                for name, sums in self.sums.items()
            },
            "fine": {name: list(fine) for name, fine in self.fine.items()},
        }

    @classmethod
    def from_dict(cls, data: Any, net: Net, source: str) -> Scheme:
        """The scheme of a file; InputError unless it is complete and in range for this network."""
        try:
            if data["format"] != FORMAT:
                raise ValueError("format")
            scheme = cls(
                tuple((float(t), float(span)) for t, span in data["menu"]),
                int(data["fine_tables"]),
                {str(n): np.array(t, np.int64) for n, t in data["table"].items()},
                {
                    str(name): SumCodes(
                        np.array(s["multiplier"], np.int64),
                        int(s["shift"]),
                        np.array(s["zero"], np.int64),
                    )
                    for name, s in data["sums"].items()
                },
                int(data["wide_exponent"]),
                float(data["wide_span"]),
                {str(n): tuple(str(f) for f in fine) for n, fine in data["fine"].items()},
                int(data["head_exponent"]),
                int(data["head_bits"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(source, f"is not a scheme ({error!r:.60})", FORMAT) from error
        scheme._check(net, source)
        return scheme

    def _check(self, net: Net, source: str) -> None:
        channels = net.channels()
        sites = {n.name for n in net.layers if n.op == "conv" and n.activation}
        sums = {n.name for n in net.layers if n.op == "add"}
        good = (
            1 <= len(self.menu) <= 256
            and all(2.0**-10 <= t <= span <= 2.0**20 for t, span in self.menu)
            and 0 <= self.fine_tables <= len(self.menu)
            and 2.0**-10 <= self.wide_span <= 2.0**20
            and set(self.table) == sites
            and set(self.sums) == sums
            and all(
                t.shape == (channels[n],) and ((t >= 0) & (t < len(self.menu))).all()
                for n, t in self.table.items()
            )
            and all(
                s.multiplier.shape == s.zero.shape == (channels[n],)
                and ((s.multiplier >= 1) & (s.multiplier <= CODE_LIMIT)).all()
                and (abs(s.zero) <= CODE_LIMIT).all()
                and 1 <= s.shift <= 23
                for n, s in self.sums.items()
            )
            and -8 <= self.wide_exponent <= 20
            and -8 <= self.head_exponent <= 20
            and 8 <= self.head_bits <= 20
            and set(self.fine) <= {layer.name for layer in net.convolutions()}
            and all(set(fine) <= sites for fine in self.fine.values())
            and all(
                (self.table[site] < self.fine_tables).all()
                for fine in self.fine.values()
                for site in fine
            )
        )
        if not good:
            raise InputError(source, "is a scheme of another network", "the same checkpoint's")


def wide_sites(net: Net) -> tuple[str, ...]:
    """The convolutions whose result enters a sum."""
    summed = net.summed()
    return tuple(layer.name for layer in net.convolutions() if layer.name in summed)
