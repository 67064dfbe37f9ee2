"""The network on codes: what its integers will be, image by image, to learn how weights round.

Codes are small integers held in float32, and every sum of products stays below 2^24, so each
convolution is exact whatever order the machine adds in: nothing of a machine leaks into the
rounding. The moments gathered here are sums of integers too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.importing import mxnet
from yolo_mrt.calibrate.beside import beside
from yolo_mrt.calibrate.float_pass import pointwise
from yolo_mrt.calibrate.scheme import INPUT_ZERO, Scheme, wide_sites
from yolo_mrt.calibrate.tables import CODE_LIMIT, INDEX_LIMIT, TABLE_SIZE
from yolo_mrt.network.net import Layer, Net, per_output
from yolo_mrt.quantize.moments import Moments, MomentSums, columns, sample_positions
from yolo_mrt.quantize.weights import IntegerConv, read_weights


class CodedNet:
    """Scheme and integer convolutions, run in float32 by MXNet. Tensors hold code - zero."""

    def __init__(self, net: Net, scheme: Scheme, convs: Mapping[str, IntegerConv]) -> None:
        self._mx = mxnet()
        self._net, self._scheme = net, scheme
        self._layers = net.by_name()
        self._coded, self._summed = net.coded(), net.summed()
        self._wide = set(wide_sites(net))
        fine_sites = {name for fine in scheme.fine.values() for name in fine}
        array = self._mx.nd.array
        #: Per convolution, which of the channels that it reads are coarse codes.
        self.coarse: dict[str, Array] = {}
        self._constants: dict[str, tuple[Any, ...]] = {}
        for layer in net.convolutions():
            conv = convs[layer.name]
            codes = scheme.codes(net, layer.inputs[0], scheme.fine.get(layer.name, ()))
            weight = read_weights(conv.weight, codes)
            taps = weight.sum(axis=(2, 3), dtype=np.int64)
            bias = conv.bias + (taps * per_output(layer, codes.zero)).sum(axis=1)
            self.coarse[layer.name] = ~codes.fine
            ratio = np.ldexp(conv.multiplier.astype(np.float64), -conv.shift)
            self._constants[layer.name] = (
                array(weight.astype(np.float32)),
                array(bias.astype(np.float32)),
                array(ratio.astype(np.float32).reshape(1, -1, 1, 1)),
            )
        self._tables: dict[str, tuple[Any, Any, Any, Any]] = {}
        kinds: dict[tuple[str, float], tuple[Any, Any, Any]] = {}
        for layer in net.convolutions():
            if not layer.activation:
                continue
            kind = (layer.activation, layer.slope)
            if kind not in kinds:
                menu = scheme.tables(layer)
                kinds[kind] = (
                    array(np.concatenate([t.codes() - t.zero for t in menu]), dtype="float32"),
                    array(np.concatenate([t.fine_codes() for t in menu[: scheme.fine_tables]]),
                          dtype="float32") if fine_sites else None,
                    array(scheme.wide_table(layer).wide_codes(scheme.wide_exponent),
                          dtype="float32"),
                )  # fmt: skip
            offset = scheme.table[layer.name] * TABLE_SIZE + INDEX_LIMIT
            self._tables[layer.name] = (
                array(offset.astype(np.float32).reshape(1, -1, 1, 1)), *kinds[kind],
            )  # fmt: skip
        self._fine_sites = fine_sites

    def run(self, codes: Array, gather: Any | None = None) -> tuple[Array, ...]:
        """Input codes int [1, 3, h, w] → raw heads float32 in output integers.

        gather(conv name, input NDArray) sees what every convolution reads.
        """
        nd = self._mx.nd
        plain: dict[str, Any] = {}
        wide: dict[str, Any] = {}
        fine: dict[str, Any] = {}
        heads: dict[str, Array] = {}
        last = self._net.last_use()
        for index, layer in enumerate(self._net.layers):
            if layer.op == "input":
                plain[layer.name] = nd.array((codes - INPUT_ZERO).astype(np.float32))
            elif layer.op == "conv":
                x = self._read(layer.inputs[0], self._scheme.fine.get(layer.name, ()), plain, fine)
                if gather is not None:
                    gather(layer, x)
                self._conv(layer, x, plain, wide, fine, heads)
            elif layer.op == "add":
                self._add(layer, plain, wide)
            else:
                for kind, wanted in ((plain, self._coded), (wide, self._summed)):
                    if layer.name in wanted:
                        inputs = [kind[name] for name in layer.inputs]
                        kind[layer.name] = pointwise(nd, layer, inputs)
            for name in layer.inputs:
                if last[name] == index and not fine:
                    plain.pop(name, None)
                    wide.pop(name, None)
        return tuple(heads[name] for name in self._net.heads)

    def _read(
        self, name: str, fine: tuple[str, ...], plain: dict[str, Any], parts: dict[str, Any]
    ) -> Any:
        layer = self._layers[name]
        if not fine:
            return plain[name]
        nd = self._mx.nd
        if name in fine:
            return nd.concat(plain[name], parts[name], dim=1)
        if layer.op in ("concat", "upsample"):
            return pointwise(nd, layer, [self._read(i, fine, plain, parts) for i in layer.inputs])
        return plain[name]

    def _conv(
        self, layer: Layer, x: Any, plain: dict[str, Any], wide: dict[str, Any],
        fine: dict[str, Any], heads: dict[str, Array],
    ) -> None:  # fmt: skip
        nd = self._mx.nd
        weight, bias, ratio = self._constants[layer.name]
        y = nd.Convolution(
            x, weight, bias, kernel=layer.kernel, stride=layer.stride, pad=layer.padding,
            num_filter=weight.shape[0], num_group=layer.groups,
        )  # fmt: skip
        y = nd.floor(nd.broadcast_mul(y, ratio) + 0.5)
        if not layer.activation:
            limit = 2.0 ** (self._scheme.head_bits - 1) - 1
            heads[layer.name] = nd.clip(y, -limit, limit).asnumpy()
            return
        offset, codes, fine_codes, wide_codes = self._tables[layer.name]
        y = nd.clip(y, -INDEX_LIMIT, INDEX_LIMIT)
        index = nd.broadcast_add(y, offset)
        plain[layer.name] = nd.take(codes, index)
        if layer.name in self._fine_sites:
            fine[layer.name] = nd.take(fine_codes, index)
        if layer.name in self._wide:
            wide[layer.name] = nd.take(wide_codes, y + INDEX_LIMIT)

    def _add(self, layer: Layer, plain: dict[str, Any], wide: dict[str, Any]) -> None:
        nd = self._mx.nd
        sums = self._scheme.sums[layer.name]
        total = wide[layer.inputs[0]] + wide[layer.inputs[1]]
        wide[layer.name] = total
        shape = (1, -1, 1, 1)
        factor = np.ldexp(sums.multiplier.astype(np.float64), -sums.shift).astype(np.float32)
        code = nd.floor(nd.broadcast_mul(total, nd.array(factor.reshape(shape))) + 0.5)
        low = nd.array((-CODE_LIMIT - sums.zero).astype(np.float32).reshape(shape))
        high = nd.array((CODE_LIMIT - sums.zero).astype(np.float32).reshape(shape))
        plain[layer.name] = nd.broadcast_minimum(nd.broadcast_maximum(code, low), high)


def moments_of(
    coded: CodedNet, names: Collection[str], images: Iterable[Array]
) -> dict[str, Moments]:
    """Of these convolutions, how what they read is spread over input codes int [1, 3, h, w]."""
    sums: dict[str, MomentSums] = {}

    def add(layer: Layer, x: Array, number: int) -> None:
        matrix = columns(layer, x, sample_positions(layer, x, number))
        if layer.name not in sums:
            sums[layer.name] = MomentSums(matrix.shape[1])
        sums[layer.name].add(matrix)

    with beside() as later:
        for number, image in enumerate(images):

            def gather(layer: Layer, value: Any, number: int = number) -> None:
                if layer.name in names:
                    x = value.asnumpy()[0][coded.coarse[layer.name]]
                    later(add, layer, x, number)

            coded.run(image, gather)
    return {name: found.moments() for name, found in sums.items()}
