"""From integer convolutions to a CVM program: the only place that knows operator sequences.

A convolution becomes  pad, conv2d, cvm_clip, broadcast_mul, cvm_right_shift, broadcast_add,
cvm_lut.  Padding is spelt out as concatenations of the zero point's code, because conv2d pads
with code 0, which stands for the value 0 only where the zero point is 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Graph, GraphBuilder, Ref
from yolo_core.graph.integers import bits_for
from yolo_mrt.calibrate.scheme import Codes, Scheme, wide_sites
from yolo_mrt.calibrate.tables import (
    CODE_LIMIT,
    FINE_SHIFT,
    INDEX_BITS,
    INDEX_LIMIT,
    TABLE_SIZE,
)
from yolo_mrt.network.net import INPUT, Layer, Net
from yolo_mrt.quantize.weights import MULTIPLIER_BITS, IntegerConv

CODE_BITS = 8
WIDE_TABLE_BITS = 16
#: Precision of a sum that a multiplier and an offset still fit above in 32 bits.
LONGEST_SUM = 22
#: Of the weights that fine codes are multiplied by: an eighth of ±127.
SHARED_BITS = bits_for((CODE_LIMIT >> FINE_SHIFT) + 1)


class _Lowering:
    """Builds the program; `_plain`, `_fine`, `_wide` hold the tensors of each layer."""

    def __init__(
        self, net: Net, scheme: Scheme, convs: Mapping[str, IntegerConv], imgsz: tuple[int, int]
    ) -> None:
        self._net, self._scheme, self._convs = net, scheme, convs
        self._layers = net.by_name()
        self._wide_sites = set(wide_sites(net))
        self._coded, self._summed = net.coded(), net.summed()
        self._fine_sites = {name for fine in scheme.fine.values() for name in fine}
        self._builder = GraphBuilder()
        data = self._builder.input("data", (1, 3, *imgsz), CODE_BITS)
        self._plain: dict[str, Ref] = {INPUT: data}
        self._fine: dict[str, Ref] = {}
        self._wide: dict[str, Ref] = {}
        self._shared: dict[str, Ref] = {}
        self._terms: dict[str, int] = {}

    def graph(self) -> Graph:
        """The program of the whole network."""
        rows: list[Ref] = []
        for layer in self._net.layers:
            if layer.op == "conv":
                result = self._convolution(layer)
                if layer.activation:
                    self._activate(layer, result)
                else:
                    rows.append(self._rows(layer, result))
            elif layer.op == "add":
                self._add(layer)
            elif layer.op != "input":
                for kind, wanted in ((self._plain, self._coded), (self._wide, self._summed)):
                    if layer.name in wanted:
                        inputs = [kind[name] for name in layer.inputs]
                        kind[layer.name] = self._pointwise(layer, inputs)
        order = [rows[self._head_order().index(name)] for name in self._net.heads]
        head = self._builder.operator("concatenate", order, axis=1)
        return self._builder.build([head])

    def _head_order(self) -> list[str]:
        return [layer.name for layer in self._net.convolutions() if not layer.activation]

    def _parameter(self, name: str, values: Array, bits: int | None = None) -> Ref:
        values = np.asarray(values, np.int64)
        return self._builder.parameter(
            name, values, bits if bits is not None else bits_for(int(np.abs(values).max()))
        )

    def _share(self, name: str, values: Array, bits: int | None = None) -> Ref:
        if name not in self._shared:
            self._shared[name] = self._parameter(name, values, bits)
        return self._shared[name]

    def _pointwise(self, layer: Layer, inputs: list[Ref]) -> Ref:
        if layer.op == "concat":
            return self._builder.operator("concatenate", inputs, axis=1)
        if layer.op == "upsample":
            return self._builder.operator("upsampling", inputs, scale=layer.scale)
        return self._builder.operator(
            "max_pool2d", inputs, pool_size=layer.kernel, strides=layer.stride,
            padding=layer.padding,
        )  # fmt: skip

    def _read(self, name: str, fine: tuple[str, ...]) -> Ref:
        if not fine:
            return self._plain[name]
        layer = self._layers[name]
        if name in fine:
            key = f"{name}+fine"
            if key not in self._shared:
                parts = [self._plain[name], self._fine[name]]
                self._shared[key] = self._builder.operator("concatenate", parts, axis=1)
            return self._shared[key]
        if layer.op in ("concat", "upsample"):
            return self._pointwise(layer, [self._read(i, fine) for i in layer.inputs])
        return self._plain[name]

    def _weights(self, layer: Layer, codes: Codes) -> Ref:
        """What multiplies the codes: the parameter, and again an eighth of it for fine codes.

        A second reading costs multiplications but no bytes.
        """
        weight = self._convs[layer.name].weight
        stored = self._parameter(f"{layer.name}.weight", weight, CODE_BITS)
        if not codes.fine.any():
            return stored
        parts: list[Ref] = []
        ends = np.flatnonzero((np.diff(codes.fine) != 0) | (np.diff(codes.channel) != 1)) + 1
        for run in np.split(np.arange(len(codes.fine)), ends):
            begin, end = int(codes.channel[run[0]]), int(codes.channel[run[-1]]) + 1
            part = stored
            if end - begin < weight.shape[1]:
                part = self._builder.operator(
                    "strided_slice", [stored], begin=(0, begin), end=(len(weight), end)
                )
            if codes.fine[run[0]]:
                part = self._builder.operator(
                    "cvm_right_shift", [part], precision=SHARED_BITS, shift_bit=FINE_SHIFT
                )
            parts.append(part)
        return self._builder.operator("concatenate", parts, axis=1)

    def _pad(self, layer: Layer, x: Ref, codes: Codes) -> Ref:
        """The input with a border of its zero point's code."""
        (rows, cols), (_, _, height, width) = layer.padding, x.shape
        border = np.clip(codes.zero, -CODE_LIMIT, CODE_LIMIT)
        read = "".join(f"+{name}" for name in self._scheme.fine.get(layer.name, ()))
        cell = self._share(f"{layer.inputs[0]}.zero{read}", border.reshape(1, -1, 1, 1), CODE_BITS)
        tile, join = "tile", "concatenate"
        if rows:
            edge = self._builder.operator(tile, [cell], reps=(1, 1, rows, width))
            x = self._builder.operator(join, [edge, x, edge], axis=2)
        if cols:
            edge = self._builder.operator(tile, [cell], reps=(1, 1, height + 2 * rows, cols))
            x = self._builder.operator(join, [edge, x, edge], axis=3)
        return x

    def _convolution(self, layer: Layer) -> Ref:
        """Accumulate and requantize: an index for the table, or an output integer."""
        conv = self._convs[layer.name]
        fine = self._scheme.fine.get(layer.name, ())
        codes = self._scheme.codes(self._net, layer.inputs[0], fine)
        x = self._read(layer.inputs[0], fine)
        padding = layer.padding
        if any(padding) and codes.zero.any():
            x, padding = self._pad(layer, x, codes), (0, 0)
        weight = self._weights(layer, codes)
        bias = self._parameter(f"{layer.name}.bias", conv.bias)
        groups = {} if layer.groups == 1 else {"groups": layer.groups}
        y = self._builder.operator(
            "conv2d", [x, weight, bias], channels=len(conv.bias), kernel_size=layer.kernel,
            strides=layer.stride, padding=padding, use_bias=True,
            **groups,  # type: ignore[arg-type]  # only attributes, never the name
        )  # fmt: skip
        if conv.clip_bits < y.precision:
            y = self._builder.operator("cvm_clip", [y], precision=conv.clip_bits)
        multiplier = self._parameter(
            f"{layer.name}.multiplier", conv.multiplier.reshape(1, -1, 1, 1), MULTIPLIER_BITS
        )
        y = self._builder.operator("broadcast_mul", [y, multiplier])
        bits = INDEX_BITS if layer.activation else self._scheme.head_bits
        return self._builder.operator("cvm_right_shift", [y], precision=bits, shift_bit=conv.shift)

    def _activate(self, layer: Layer, index: Ref) -> None:
        menu = self._scheme.tables(layer)
        kind = layer.activation if layer.activation != "leaky" else f"leaky{layer.slope:g}"
        if layer.name in self._coded:
            moved = self._move(index, layer.name, self._scheme.table[layer.name])
            codes = np.concatenate([t.codes() for t in menu])
            self._plain[layer.name] = self._look_up(moved, f"{kind}.codes", codes, CODE_BITS)
            if layer.name in self._fine_sites:
                rest = [t.fine_codes() for t in menu[: self._scheme.fine_tables]]
                self._fine[layer.name] = self._look_up(
                    moved, f"{kind}.fine", np.concatenate(rest), CODE_BITS
                )
        if layer.name in self._wide_sites:
            moved = self._move(index, layer.name, np.zeros(1, np.int64))
            wide = self._scheme.wide_table(layer).wide_codes(self._scheme.wide_exponent)
            self._wide[layer.name] = self._look_up(moved, f"{kind}.wide", wide, WIDE_TABLE_BITS)

    def _move(self, index: Ref, name: str, table: Array) -> Ref:
        """The index moved to where the channel's table begins."""
        offset = INDEX_LIMIT + table * TABLE_SIZE
        if (table == table[0]).all():
            moved = self._share(f"offset.{table[0]}", offset[:1])
        else:
            moved = self._parameter(f"{name}.offset", offset.reshape(1, -1, 1, 1))
        return self._builder.operator("broadcast_add", [index, moved])

    def _look_up(self, index: Ref, name: str, values: Array, bits: int) -> Ref:
        table = self._share(name, values, bits)
        return self._builder.operator("cvm_lut", [index, table], in_dim=len(values))

    def _add(self, layer: Layer) -> None:
        sums = self._scheme.sums[layer.name]
        total = self._builder.operator("elemwise_add", [self._wide[i] for i in layer.inputs])
        self._terms[layer.name] = sum(map(self._summands, layer.inputs))
        if total.precision > LONGEST_SUM:
            # Long chains declare a bit more with every addition; the true bound is far lower.
            bound = ((1 << (WIDE_TABLE_BITS - 1)) - 1) * self._terms[layer.name]
            total = self._builder.operator("cvm_clip", [total], precision=bits_for(bound))
        self._wide[layer.name] = total
        if layer.name not in self._coded:
            return
        multiplier = self._parameter(
            f"{layer.name}.multiplier", sums.multiplier.reshape(1, -1, 1, 1), MULTIPLIER_BITS
        )
        y = self._builder.operator("broadcast_mul", [total, multiplier])
        offset = self._parameter(
            f"{layer.name}.offset", (sums.zero << sums.shift).reshape(1, -1, 1, 1)
        )
        y = self._builder.operator("broadcast_add", [y, offset])
        self._plain[layer.name] = self._builder.operator(
            "cvm_right_shift", [y], precision=CODE_BITS, shift_bit=sums.shift
        )

    def _summands(self, name: str) -> int:
        """How many tables of wide codes a value of this tensor is the sum of, at most."""
        layer = self._layers[name]
        if layer.op in ("concat", "upsample"):
            return max(map(self._summands, layer.inputs))
        return self._terms.get(name, 1)

    def _rows(self, layer: Layer, y: Ref) -> Ref:
        """[1, anchors * numbers, h, w] → [1, anchors * h * w, numbers]."""
        _, channels, height, width = y.shape
        anchors = self._net.anchors
        numbers, area = channels // anchors, height * width
        y = self._builder.operator("reshape", [y], shape=(1, anchors, numbers, area))
        y = self._builder.operator("transpose", [y], axes=(0, 1, 3, 2))
        return self._builder.operator("reshape", [y], shape=(1, anchors * area, numbers))


def lower(
    net: Net, scheme: Scheme, convs: Mapping[str, IntegerConv], imgsz: tuple[int, int]
) -> Graph:
    """The integer program for one image of (height, width) pixels."""
    return _Lowering(net, scheme, convs, imgsz).graph()
