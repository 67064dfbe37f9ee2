"""The Gluon network and its checkpoint: names, folding, files that MXNet itself can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from core_samples import random_parameters

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.mxnet import network
from yolo_core.mxnet.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from yolo_core.mxnet.fusing import fuse
from yolo_core.mxnet.params import encode_params, read_params
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.predictor import open_predictor

mx = network.mx


@pytest.mark.parametrize("size", ["n", "s", "m", "l", "x"])
@pytest.mark.parametrize("fused", [False, True])
def test_parameters_are_those_of_the_architecture(size: str, fused: bool) -> None:
    architecture = Architecture.named(size, nc=2)
    own = network.YoloV5(architecture, fused).collect_params()
    assert {name: p.shape for name, p in own.items()} == architecture.parameter_shapes(fused)


@pytest.mark.parametrize("activation", ["silu", "leaky", "relu"])
def test_folding_keeps_the_outputs(activation: str) -> None:
    architecture = Architecture.named("n", nc=2, activation=activation)
    parameters = random_parameters(architecture, fused=False)
    x = mx.nd.array(np.random.default_rng(1).uniform(0, 1, (1, 3, 64, 96)))
    plain = network.build(architecture, parameters, fused=False)(x)
    folded = network.build(architecture, fuse(parameters, architecture), fused=True)(x)
    for level, (a, b) in enumerate(zip(plain, folded)):
        assert a.shape == (1, 21, 8 >> level, 12 >> level)
        np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), atol=2e-4)
        assert np.ptp(a.asnumpy()) > 0.1


@pytest.mark.parametrize("fused", [False, True])
def test_convolutions_in_another_precision_take_and_give_float32(fused: bool) -> None:
    architecture = Architecture.named("n", nc=2)
    parameters = random_parameters(architecture, fused)
    x = mx.nd.array(np.random.default_rng(1).uniform(0, 1, (1, 3, 64, 64)))
    nets = [network.build(architecture, parameters, fused, precision=p)
            for p in ("float32", "float64")]  # fmt: skip
    for net in nets:
        net.hybridize()
    for a, b in zip(nets[0](x), nets[1](x)):
        assert b.dtype == np.float32
        np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), atol=1e-5)
        assert (a.asnumpy() != b.asnumpy()).any()
    assert {p.data().dtype for p in nets[1].collect_params().values()} == {np.float32}


@pytest.mark.filterwarnings("ignore:Cannot decide type")  # MXNet's, of every symbol it reads
@pytest.mark.parametrize("fused", [False, True])
def test_checkpoint_round_trip_and_mxnets_own_readers(tmp_path: Path, fused: bool) -> None:
    architecture = Architecture.named("n", names=["red", "blue"])
    checkpoint = Checkpoint(
        architecture, random_parameters(architecture, fused), fused, "bgr", {"epoch": 3}
    )
    symbol, params, _ = write_checkpoint(tmp_path / "w" / "net", checkpoint)
    back = read_checkpoint(params)
    assert (back.architecture, back.fused, back.color, back.meta) == (
        architecture, fused, "bgr", {"epoch": 3},
    )  # fmt: skip
    for name, value in checkpoint.parameters.items():
        np.testing.assert_array_equal(back.parameters[name], value)
    x = mx.nd.array(np.random.default_rng(2).uniform(0, 1, (1, 3, 32, 32)))
    block = mx.gluon.SymbolBlock.imports(str(symbol), ["data"], str(params))
    for a, b in zip(block(x), network.build(architecture, back.parameters, fused)(x)):
        np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())


def test_same_checkpoint_same_bytes(tmp_path: Path) -> None:
    architecture = Architecture.named("n", nc=1)
    checkpoint = Checkpoint(architecture, random_parameters(architecture, True), True)
    first = write_checkpoint(tmp_path / "a", checkpoint)
    network.YoloV5(architecture)(mx.sym.var("data"))  # moves MXNet's own name counters on
    second = write_checkpoint(tmp_path / "b", checkpoint)
    for one, other in zip(first, second):
        assert one.read_bytes() == other.read_bytes()


def test_params_file_equals_mxnets(tmp_path: Path) -> None:
    arrays: dict[str, Array] = {
        "arg:a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "aux:b": np.array([-1, 7], np.int32),
        "arg:c": np.zeros((1, 1, 2), np.int8),
    }
    mx.nd.save(str(tmp_path / "x"), {k: mx.nd.array(v, dtype=v.dtype) for k, v in arrays.items()})
    assert (tmp_path / "x").read_bytes() == encode_params(arrays)
    for name, value in read_params(tmp_path / "x").items():
        np.testing.assert_array_equal(value, arrays[name])
        assert value.dtype == arrays[name].dtype


def test_float_predictor_takes_the_size_it_was_trained_at(tmp_path: Path) -> None:
    architecture = Architecture.named("n", nc=1)
    checkpoint = Checkpoint(
        architecture, random_parameters(architecture, False), False, meta={"imgsz": [64, 96]}
    )
    write_checkpoint(tmp_path / "net", checkpoint)
    predictor = open_predictor(tmp_path / "net")
    assert (predictor.kind, predictor.imgsz, len(predictor.digest)) == ("float", (64, 96), 64)
    batch = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    rows = predictor.logits(batch)
    assert rows.shape == (2, architecture.rows(64, 96), 6)
    with pytest.raises(InputError, match="uint8"):
        predictor.logits(batch[:, :32])
    with pytest.raises(InputError, match="multiples of 32"):
        open_predictor(tmp_path / "net", imgsz=(9000, 64))
    assert open_predictor(tmp_path / "net", imgsz=(60, 64)).imgsz == (64, 64)
    with pytest.raises(InputError, match="device"):
        open_predictor(tmp_path / "net", device="tpu")


def test_bgr_checkpoint_sees_turned_channels(tmp_path: Path) -> None:
    architecture = Architecture.named("n", nc=1)
    parameters = random_parameters(architecture, True)
    turned = dict(parameters)
    turned["model.0.conv.weight"] = parameters["model.0.conv.weight"][:, ::-1]
    write_checkpoint(tmp_path / "rgb", Checkpoint(architecture, parameters, True, "rgb"))
    write_checkpoint(tmp_path / "bgr", Checkpoint(architecture, turned, True, "bgr"))
    batch = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    one, other = (
        open_predictor(tmp_path / name, imgsz=(32, 32)).logits(batch) for name in ("rgb", "bgr")
    )
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_refuses_parameters_that_do_not_fit(tmp_path: Path) -> None:
    architecture = Architecture.named("n", nc=1)
    parameters = random_parameters(architecture, True)
    for name, value, word in [
        ("model.0.conv.bias", None, "lacks model.0.conv.bias"),
        ("model.0.conv.bias", np.zeros(3, np.float32), "shape"),
        ("model.0.conv.bias", np.full(16, np.nan, np.float32), "not finite"),
        ("model.99.x", np.zeros(1, np.float32), "model.99.x"),
    ]:
        changed = {**parameters, name: value}
        if value is None:
            del changed[name]
        with pytest.raises(InputError, match=word):
            write_checkpoint(tmp_path / "bad", Checkpoint(architecture, changed, True))
    assert not list(tmp_path.iterdir())
