"""The reader of MXNet symbols on our own checkpoints' symbols, and on damaged ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from core_samples import random_parameters

from yolo_core.errors import InputError
from yolo_core.mxnet.network import symbol_json
from yolo_core.mxnet.symbol import SymbolReader
from yolo_core.yolo.architecture import LEAKY_SLOPE, Architecture

ARCHITECTURE = Architecture("custom", 0.34, 0.125, ("a", "b"), activation="leaky")


@pytest.mark.parametrize("fused", [False, True])
def test_the_layers_of_a_checkpoint_are_those_of_its_architecture(fused: bool) -> None:
    parameters = random_parameters(ARCHITECTURE, fused)
    layers, heads = SymbolReader(symbol_json(ARCHITECTURE, fused), parameters, "s").network()
    found = {layer.name: layer for layer in layers if layer.op == "conv"}
    convolutions = ARCHITECTURE.convolutions()
    assert set(found) == {conv.name for conv in convolutions}
    assert heads == tuple(conv.name for conv in convolutions if conv.batch_norm is None)
    for conv in convolutions:
        layer = found[conv.name]
        assert layer.weight is not None
        assert np.array_equal(layer.weight, parameters[f"{conv.name}.weight"])
        assert (layer.kernel, layer.stride) == (conv.kernel, (conv.stride,) * 2)
        assert layer.padding == conv.padding
        assert layer.activation == ("leaky" if conv.batch_norm else "")
        assert layer.slope == (LEAKY_SLOPE if conv.batch_norm else 0.0)
        assert (layer.norm is None) is (fused or conv.batch_norm is None)
        if layer.norm is not None:
            assert np.array_equal(layer.norm.mean, parameters[f"{conv.batch_norm}.running_mean"])
            assert (layer.norm.epsilon, layer.norm.fix_gamma) == (1e-3, False)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda nodes: nodes["model.0.conv.fwd"]["attrs"].update(num_group="3"), "unusual"),
        (lambda nodes: nodes["model.0.conv.fwd"]["attrs"].update(dilate="(2, 2)"), "unusual"),
        (lambda nodes: nodes["model.0.conv.fwd"]["attrs"].update(stride="(2, 900)"), "stride"),
        (lambda nodes: nodes["model.0.bn.fwd"]["attrs"].update(eps="-1"), "eps"),
        (lambda nodes: nodes["model.0.bn.fwd"].update(inputs=[]), "inputs"),
        (lambda nodes: nodes["concat0"]["attrs"].update(dim="2"), "joins axis 2"),
        (lambda nodes: nodes["pooling0"]["attrs"].update(global_pool="True"), "globally"),
        (lambda nodes: nodes["pooling0"]["attrs"].update(pool_type="avg"), "avg"),
        (lambda nodes: nodes["upsampling0"]["attrs"].update(scale="0"), "scale"),
        (lambda nodes: nodes["upsampling0"].update(op="Custom"), "unsupported operator Custom"),
        (lambda nodes: nodes["_plus0"].update(op="elemwise_mul"), "multiplies two tensors"),
        (lambda nodes: nodes["model.1.conv.fwd"].update(name="model.0.conv.fwd"), None),
    ],
)
def test_what_is_no_yolov5_is_one_line(
    change: Callable[[dict[str, Any]], object], cause: str | None
) -> None:
    content = json.loads(symbol_json(ARCHITECTURE, False))
    change({node["name"]: node for node in content["nodes"]})
    parameters = random_parameters(ARCHITECTURE, False)
    if cause is None:  # the names of nodes say nothing: layers are called after their weights
        assert SymbolReader(json.dumps(content), parameters, "s").network()
        return
    with pytest.raises(InputError, match=cause) as caught:
        SymbolReader(json.dumps(content), parameters, "s").network()
    assert "\n" not in str(caught.value)


def test_a_key_that_stands_twice_is_refused() -> None:
    text = symbol_json(ARCHITECTURE, True).replace('"heads"', '"nodes": [], "heads"', 1)
    assert json.loads(text)["nodes"] == []
    with pytest.raises(InputError, match="has the key nodes twice"):
        SymbolReader(text, random_parameters(ARCHITECTURE, True), "s")


def test_heads_are_detection_convolutions() -> None:
    content = json.loads(symbol_json(ARCHITECTURE, True))
    parameters = random_parameters(ARCHITECTURE, True)
    for heads, cause in (
        ([[10**9, 0, 0]], "heads"),
        ("x", "heads"),
        (content["heads"][:1] * 2, "2 outputs"),
        ([[0, 0, 0], *content["heads"][1:]], "detection convolutions"),
    ):
        with pytest.raises(InputError, match=cause):
            SymbolReader(json.dumps({**content, "heads": heads}), parameters, "s").network()
