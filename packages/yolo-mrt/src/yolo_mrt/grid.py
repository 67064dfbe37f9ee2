"""The quantizer's grid for a trainer (see `yolo_core.yolo.qat`): what integers will be.

Calibrated once on the network that is finetuned. Weights and activations move on it while they
are trained; the quantization that follows measures anew and finds almost the same grid.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.qat import ConvolutionGrid, Grid
from yolo_mrt.calibrate.calibration import make_scheme
from yolo_mrt.calibrate.float_pass import measure
from yolo_mrt.calibrate.scheme import INPUT_SCALE, Scheme
from yolo_mrt.calibrate.tables import CODE_LIMIT
from yolo_mrt.network.building import net_of
from yolo_mrt.network.net import Net, per_output
from yolo_mrt.quantize.effort import fine_reads
from yolo_mrt.quantize.quantizer import integer_convs


def make_grid(architecture: Architecture, parameters: Mapping[str, Array], images: Array) -> Grid:
    """Entry point `mrt` of `yolo_core.grids`; see `yolo_core.yolo.qat.GridMaker`."""
    net = net_of(architecture, parameters)
    planes = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(INPUT_SCALE)
    extents = net.extents(images.shape[1], images.shape[2])
    statistics = measure(net, (plane[None] for plane in planes), extents)
    return grid_of(net, make_scheme(net, statistics, fine_reads(net, extents), {}))


def grid_of(net: Net, scheme: Scheme) -> Grid:
    """What a network holds under a scheme, rounding to nearest."""
    integers = integer_convs(net, scheme)
    grid: dict[str, ConvolutionGrid] = {}
    for layer in net.convolutions():
        codes = scheme.codes(net, layer.inputs[0], scheme.fine.get(layer.name, ()))
        own = codes.coarse()
        coarse, zero = own.scale, own.zero
        finest = coarse.copy()
        finest[codes.channel[codes.fine]] = codes.scale[codes.fine]
        step = integers[layer.name].step
        grid[layer.name] = ConvolutionGrid(
            # The integer weight multiplies codes, so the step of its input is divided out.
            weight_step=step[:, None, None, None] / per_output(layer, coarse)[:, :, None, None],
            weight_limit=CODE_LIMIT,
            input_step=finest.reshape(1, -1, 1, 1),
            input_low=((-CODE_LIMIT - zero) * coarse).reshape(1, -1, 1, 1),
            input_high=((CODE_LIMIT - zero) * coarse).reshape(1, -1, 1, 1),
        )
    return grid
