"""Scheme and weights together: the steps between calibration and the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from yolo_core.arrays import Array
from yolo_mrt.calibrate.scheme import Scheme, wide_sites
from yolo_mrt.calibrate.tables import INDEX_BITS
from yolo_mrt.calibrate.views import MAX_VIEWS
from yolo_mrt.network.net import Layer, Net
from yolo_mrt.quantize.coded_pass import CodedNet, moments_of
from yolo_mrt.quantize.moments import Moments
from yolo_mrt.quantize.weights import IntegerConv, quantize_conv

NORMAL_IMAGES = 32
#: Moments that are held in memory at once.
MOMENT_BYTES = 400 << 20


def integer_convs(net: Net, scheme: Scheme) -> dict[str, IntegerConv]:
    """Every convolution in integers, its weights rounded to nearest."""
    return {layer.name: _integer_conv(net, layer, scheme, None) for layer in net.convolutions()}


def _integer_conv(net: Net, layer: Layer, scheme: Scheme, moments: Moments | None) -> IntegerConv:
    codes = scheme.codes(net, layer.inputs[0], scheme.fine.get(layer.name, ()))
    if layer.activation:
        own = scheme.index_table(layer, layer.name in wide_sites(net))
        unit = np.array([table.index_step for table in own])
        offset = np.array([table.index_centre for table in own])
        return quantize_conv(layer, codes, unit, offset, INDEX_BITS, moments)
    unit = np.full(len(layer.biases), 2.0**-scheme.head_exponent)
    return quantize_conv(layer, codes, unit, np.zeros_like(unit), scheme.head_bits, moments)


def moment_images(effort: str, available: int) -> tuple[int, int]:
    """How many images the rounding is learned on, and in how many ways each of them is seen."""
    if available < NORMAL_IMAGES:
        return available, min(NORMAL_IMAGES // max(available, 1), MAX_VIEWS)
    return (available if effort == "high" else NORMAL_IMAGES), 1


def learn_rounding(
    net: Net,
    scheme: Scheme,
    images: Callable[[str], Iterable[Array]],
) -> dict[str, IntegerConv]:
    """Convolutions whose rounding minimises the error on these images, and whose biases take out
    what rounding adds to the mean.

    images(label): the input codes, from the first image on each time it is called; networks whose
    moments do not fit MOMENT_BYTES at once go through them several times.
    """
    plain = integer_convs(net, scheme)
    coded = CodedNet(net, scheme, plain)
    groups = _groups(net, plain)
    del plain
    learned: dict[str, IntegerConv] = {}
    for number, group in enumerate(groups):
        label = "rounding" if len(groups) == 1 else f"rounding {number + 1}/{len(groups)}"
        names = {layer.name for layer in group if layer.groups == 1}
        moments = moments_of(coded, names, images(label))
        for layer in group:
            # Grouped convolutions have few weights to a sum and round to nearest.
            learned[layer.name] = _integer_conv(net, layer, scheme, moments.pop(layer.name, None))
    return learned


def _groups(net: Net, convs: Mapping[str, IntegerConv]) -> list[list[Layer]]:
    """The convolutions in order, cut where the moments of a group would outgrow MOMENT_BYTES."""
    groups: list[list[Layer]] = [[]]
    held = 0
    for layer in net.convolutions():
        columns = convs[layer.name].weight[0].size if layer.groups == 1 else 0
        size = columns * columns * 8
        if groups[-1] and held + size > MOMENT_BYTES:
            groups.append([])
            held = 0
        groups[-1].append(layer)
        held += size
    return groups
