from __future__ import annotations

import numpy as np
from mrt_samples import random_parameters, tiny_architecture

from yolo_core.arrays import Array
from yolo_core.mxnet.network import build, mx
from yolo_core.yolo.qat import grid_maker
from yolo_mrt.calibrate.calibration import make_scheme
from yolo_mrt.calibrate.float_pass import measure
from yolo_mrt.grid import grid_of, make_grid
from yolo_mrt.network.building import net_of
from yolo_mrt.quantize.quantizer import integer_convs


def _pictures(count: int) -> Array:
    generator = np.random.RandomState(3)
    blocks = generator.randint(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    return blocks.repeat(8, axis=1).repeat(8, axis=2)


def test_weights_on_the_grid_are_the_integer_weights() -> None:
    architecture = tiny_architecture()
    parameters = random_parameters(architecture)
    net = net_of(architecture, parameters)
    planes = _pictures(3).transpose(0, 3, 1, 2).astype(np.float32) / 255
    statistics = measure(net, (plane[None] for plane in planes), net.extents(64, 64))
    scheme = make_scheme(net, statistics, {}, {})
    grid = grid_of(net, scheme)
    for name, integer in integer_convs(net, scheme).items():
        weight = parameters[f"{name}.weight"]
        on_grid = np.clip(np.rint(weight / grid[name].weight_step), -127, 127)
        # Where float32 and float64 see a tie differently the two may be one apart.
        apart = np.abs(on_grid - integer.weight)
        assert apart.max() <= 1
        assert (apart > 0).mean() < 1e-3


def test_the_network_on_its_grid_says_nearly_the_same_and_trains() -> None:
    assert grid_maker("mrt") is make_grid
    architecture = tiny_architecture()
    parameters = random_parameters(architecture)
    pictures = _pictures(4)
    grid = make_grid(architecture, parameters, pictures)
    assert set(grid) == {conv.name for conv in architecture.convolutions()}
    x = mx.nd.array(pictures.transpose(0, 3, 1, 2) / 255.0)
    plain = build(architecture, parameters, fused=True)
    gridded = build(architecture, parameters, fused=True, grid=grid)
    with mx.autograd.record():
        heads = gridded(x)
    mx.autograd.backward(list(heads))
    for exact, near in zip(plain(x), heads):
        error = np.abs(near.asnumpy() - exact.asnumpy()).mean()
        assert 0 < error < 0.1 * exact.asnumpy().std()
    gradient = gridded.collect_params()["model.0.conv.weight"].grad().asnumpy()
    assert np.abs(gradient).max() > 0
