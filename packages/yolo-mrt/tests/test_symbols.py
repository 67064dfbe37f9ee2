"""Networks from MXNet symbols: the original's way of writing them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mrt_samples import decibels_of, random_parameters, tiny_architecture
from test_quantize import quantize

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.mxnet.importing import mxnet
from yolo_core.mxnet.network import symbol_json
from yolo_core.mxnet.params import encode_params
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.model_folder import read_model_folder
from yolo_mrt.calibrate.float_pass import FloatNet
from yolo_mrt.network.building import net_of, read_net

NUMBERS = 7


class _Maker:
    """Writes a small three-head network as the original's exporter did."""

    def __init__(self, fused: bool) -> None:
        self.mx = mxnet()
        self.fused, self.count = fused, 0

    def conv(self, x: Any, channels: int, stride: int = 1, kernel: int = 3) -> Any:
        sym = self.mx.sym
        name = f"yolov5_conv{self.count}"
        self.count += 1
        x = sym.Convolution(x, kernel=(kernel, kernel), stride=(stride, stride), name=name,
                            pad=((kernel - 1) // 2,) * 2, num_filter=channels,
                            no_bias=not self.fused)  # fmt: skip
        if not self.fused:
            x = sym.BatchNorm(x, eps=1e-3, fix_gamma=False, name=f"{name}_batchnorm")
        return sym.elemwise_mul(x, sym.Activation(x, act_type="sigmoid"))

    def head(self, x: Any, name: str, side: int) -> Any:
        sym = self.mx.sym
        x = sym.Convolution(x, kernel=(1, 1), num_filter=3 * NUMBERS, name=name)
        x = sym.reshape(x, shape=(-1, 3, NUMBERS, side, side))
        return sym.transpose(x, axes=(0, 1, 3, 4, 2))

    def network(self, side: int = 64) -> Any:
        sym = self.mx.sym
        x = self.conv(self.conv(sym.var("data"), 8, 2, 6), 8, 2)
        p3 = self.conv(x, 16, 2)
        y = self.conv(self.conv(p3, 16, 1, 1), 16)
        p4 = self.conv(sym.elemwise_add(p3, y), 16, 2)
        p5 = self.conv(p4, 16, 2)
        pooled = sym.Pooling(p5, kernel=(5, 5), stride=(1, 1), pad=(2, 2), pool_type="max")
        p5 = self.conv(sym.Concat(p5, pooled, dim=1), 16, 1, 1)
        up = sym.repeat(sym.repeat(p5, repeats=2, axis=2), repeats=2, axis=3)
        p4 = self.conv(sym.Concat(up, p4, dim=1), 16)
        return sym.Group([
            self.head(p3, "h0", side // 8), self.head(p4, "h1", side // 16),
            self.head(p5, "h2", side // 32),
        ])  # fmt: skip


def export(fused: bool, seed: int = 1) -> tuple[Any, dict[str, Array]]:
    symbol = _Maker(fused).network()
    shapes, _, auxiliary = symbol.infer_shape(data=(1, 3, 64, 64))
    generator = np.random.RandomState(seed)
    parameters = {}
    for name, shape in zip(symbol.list_arguments(), shapes):
        if name.endswith("weight"):
            value = generator.normal(0, 1.3 / np.sqrt(np.prod(shape[1:])), shape)
        elif name.endswith("gamma"):
            value = generator.uniform(0.7, 1.3, shape)
        else:
            value = generator.normal(0, 0.2, shape)
        if name != "data":
            parameters[f"arg:{name}"] = value.astype(np.float32)
    for name, shape in zip(symbol.list_auxiliary_states(), auxiliary):
        parameters[f"aux:{name}"] = generator.uniform(0.5, 1.5, shape).astype(np.float32)
    return symbol, parameters


@pytest.mark.parametrize("fused", [True, False])
def test_net_computes_what_the_symbol_computes(fused: bool) -> None:
    symbol, parameters = export(fused)
    net = read_net(symbol.tojson(), parameters, "test")
    image = np.random.RandomState(3).rand(1, 3, 64, 64).astype(np.float32)
    mx = mxnet()
    arrays = {n.partition(":")[2]: mx.nd.array(a) for n, a in parameters.items()}
    auxiliary = {n: arrays.pop(n) for n in symbol.list_auxiliary_states()}
    bound = symbol.bind(mx.cpu(), {**arrays, "data": mx.nd.array(image)}, aux_states=auxiliary)
    for ours, theirs in zip(FloatNet(net).run(image), bound.forward()):
        flat = theirs.asnumpy()
        side = flat.shape[2]
        as_rows = ours.reshape(1, 3, NUMBERS, side, side).transpose(0, 1, 3, 4, 2)
        np.testing.assert_allclose(as_rows, flat, atol=2e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("endings", [(".json", ".params"), ("-symbol.json", "-0000.params")])
def test_an_export_is_quantized(
    fused: bool, endings: tuple[str, str], pictures: Path, tmp_path: Path
) -> None:
    symbol, parameters = export(fused)
    Path(f"{tmp_path}/old{endings[0]}").write_text(symbol.tojson())
    Path(f"{tmp_path}/old{endings[1]}").write_bytes(encode_params(parameters))
    result = quantize(tmp_path / "old", pictures, tmp_path / "out")
    assert result.exit_code == 0, result.output
    extension = read_model_folder(tmp_path / "out").extension()
    assert extension.color == "bgr"
    assert extension.architecture.no == NUMBERS
    assert decibels_of(tmp_path / "out") > 28


def test_unsupported_operator_is_named_with_its_node() -> None:
    symbol, parameters = export(True)
    text = symbol.tojson().replace('"op": "Pooling"', '"op": "LRN"')
    with pytest.raises(InputError, match=r"pooling\d+.*LRN"):
        read_net(text, parameters, "old.json")


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('"act_type": "sigmoid"', '"act_type": "tanh"', "tanh"),
        ('"pool_type": "max"', '"pool_type": "avg"', "avg"),
        ('"kernel": "(6, 6)"', '"kernel": "(6, 7)"', "conv0"),
        ('"kernel": "(6, 6)"', '"kernel": "__import__(1)"', "kernel"),
        ('"kernel": "(6, 6)"', '"kernel": "1.5"', "kernel"),
        ('"kernel": "(6, 6)"', '"kernel": 6', "kernel"),
        ('"kernel": "(6, 6)"', f'"kernel": "{"-" * 100_000}6"', "kernel"),
        ('"repeats": "2", ', '"repeats": "3", ', "repeat"),
        ('"axis": "3"', '"axis": "1"', "repeat"),
    ],
)  # fmt: skip
def test_damaged_attributes_are_refused(old: str, new: str, word: str) -> None:
    symbol, parameters = export(True)
    text = symbol.tojson()
    # MXNet repeats a convolution's attributes at its variables, which nobody reads.
    changed = text.replace(old, new, -1 if "kernel" in old else 1)
    if old.startswith('"repeats"') and changed == text:
        changed = text.replace('"repeats": "2"', '"repeats": "3"', 1)
    assert changed != text
    with pytest.raises(InputError, match=word):
        read_net(changed, parameters, "old.json")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"nodes": [], "heads": [[0, 0, 0]]}', "null"])
def test_texts_that_are_no_symbol(text: str) -> None:
    with pytest.raises(InputError, match=r"old\.json"):
        read_net(text, {}, "old.json")


def test_missing_and_non_finite_parameters_are_named() -> None:
    symbol, parameters = export(True)
    without = {n: a for n, a in parameters.items() if n != "arg:h1_bias"}
    with pytest.raises(InputError, match="h1_bias"):
        read_net(symbol.tojson(), without, "old.json")
    parameters["arg:h1_bias"] = parameters["arg:h1_bias"] * np.nan
    with pytest.raises(InputError, match=r"h1_bias.*finite"):
        read_net(symbol.tojson(), parameters, "old.json")


@pytest.mark.parametrize(
    "architecture",
    [Architecture.named("n", nc=2), Architecture.named("m", nc=3, activation="leaky"),
     tiny_architecture("relu")],
    ids=["n", "m", "tiny"],
)  # fmt: skip
def test_the_network_of_an_architecture_is_the_one_in_its_symbol(
    architecture: Architecture,
) -> None:
    parameters = random_parameters(architecture)
    built = net_of(architecture, parameters)
    read = read_net(symbol_json(architecture, fused=True), parameters, "symbol")
    assert built.heads == read.heads
    for ours, theirs in zip(built.layers, read.layers):
        assert replace(ours, weight=None, bias=None) == replace(theirs, weight=None, bias=None)
        if ours.op == "conv":
            assert np.array_equal(ours.weights, theirs.weights)
            assert np.array_equal(ours.biases, theirs.biases)
    assert len(built.layers) == len(read.layers)


def test_operators_behind_nothing_that_is_needed_are_passed_over() -> None:
    symbol, parameters = export(True)
    content = json.loads(symbol.tojson())
    content["nodes"].append(
        {"op": "SoftmaxOutput", "name": "aside", "inputs": [content["heads"][0]]}
    )
    wanted = read_net(symbol.tojson(), parameters, "old.json")
    found = read_net(json.dumps(content), parameters, "old.json")
    assert [layer.name for layer in found.layers] == [layer.name for layer in wanted.layers]
    content["heads"][0] = [len(content["nodes"]) - 1, 0, 0]
    with pytest.raises(InputError, match=r"aside.*SoftmaxOutput"):
        read_net(json.dumps(content), parameters, "old.json")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda nodes: nodes[1].update(inputs=[[1, 0, 0]]), "invalid node 1"),
        (lambda nodes: nodes[0].update(op=None), "invalid node 0"),
        (lambda nodes: nodes[0].update(attrs=[1]), "invalid node 0"),
        (lambda nodes: nodes.insert(0, []), "invalid node 0"),
        (
            lambda nodes: next(n for n in nodes if n["op"] == "Convolution").update(inputs=[]),
            "has 0 inputs",
        ),
        (lambda nodes: nodes.extend([nodes[0]] * 20_000), "1 to 20000 nodes"),
    ],
)
def test_damaged_nodes_are_refused(change: Callable[..., Any], word: str) -> None:
    symbol, parameters = export(True)
    content = json.loads(symbol.tojson())
    change(content["nodes"])
    with pytest.raises(InputError, match=word):
        read_net(json.dumps(content), parameters, "old.json")
