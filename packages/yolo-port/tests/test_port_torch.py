"""`.pt` files: what is understood, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from port_samples import (
    module,
    random_checkpoint,
    same,
    stand_in,
    state_dict,
    training_checkpoint,
    ultralytics_model,
    write_pt,
)

from yolo_core.errors import InputError
from yolo_core.yolo.architecture import Architecture
from yolo_port.readers import load, read


@pytest.mark.parametrize(("size", "nc"), [("n", 1), ("n", 3), ("n", 80), ("s", 3), ("m", 1)])
def test_whole_model_is_read_bit_for_bit(tmp_path: Path, size: str, nc: int) -> None:
    checkpoint = random_checkpoint(size, nc)
    path = write_pt(tmp_path / "m.pt", training_checkpoint(ultralytics_model(checkpoint)))
    assert same(load(path), checkpoint)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("kind", ["models.yolo.Model", "models.yolo.DetectionModel"])
def test_both_class_names_and_all_precisions(tmp_path: Path, dtype: str, kind: str) -> None:
    checkpoint = random_checkpoint()
    model = ultralytics_model(checkpoint, dtype, kind)
    assert same(load(write_pt(tmp_path / "m.pt", training_checkpoint(model))), checkpoint)


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    model, ema = random_checkpoint(seed=1), random_checkpoint(seed=2)
    saved = training_checkpoint(ultralytics_model(model), ultralytics_model(ema))
    found = load(write_pt(tmp_path / "m.pt", saved))
    assert np.array_equal(
        found.parameters["model.0.conv.weight"], ema.parameters["model.0.conv.weight"]
    )
    assert found.meta == {
        "epoch": 3, "date": "2023-01-01T00:00:00", "imgsz": 640, "weights": "ema",
    }  # fmt: skip


def test_model_without_a_dictionary_around_it(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    assert same(load(write_pt(tmp_path / "m.pt", ultralytics_model(checkpoint))), checkpoint)


def test_names_anchors_and_activation_come_from_the_file(tmp_path: Path) -> None:
    anchors = tuple(
        tuple((8.0 * stride + level, 16.0 * stride) for level in range(3)) for stride in (1, 2, 4)
    )
    architecture = Architecture.named("n", 2, ["cat", "dog"], anchors, "leaky")
    checkpoint = replace(random_checkpoint(nc=2), architecture=architecture)
    model = ultralytics_model(checkpoint, "float32")
    found = load(write_pt(tmp_path / "m.pt", training_checkpoint(model)))
    assert found.architecture == architecture


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
def test_state_dict_with_the_prefixes_of_wrappers(tmp_path: Path, prefix: str) -> None:
    checkpoint = random_checkpoint(nc=80)
    values = {prefix + name: tensor for name, tensor in state_dict(checkpoint).items()}
    assert same(load(write_pt(tmp_path / "m.pt", values)), checkpoint)


@pytest.mark.parametrize("key", ["model", "ema", "state_dict"])
def test_state_dict_inside_a_dictionary(tmp_path: Path, key: str) -> None:
    checkpoint = random_checkpoint()
    path = write_pt(tmp_path / "m.pt", {"epoch": 1, key: state_dict(checkpoint)})
    assert same(load(path), checkpoint)
    assert read(path).form == "PyTorch state dict"


def test_other_epsilon_is_taken_up_by_gamma(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    model = ultralytics_model(checkpoint, "float32")
    for layer in model._modules["model"]._modules.values():
        _set_epsilon(layer, 1e-5)
    found = load(write_pt(tmp_path / "m.pt", model)).parameters
    variance = checkpoint.parameters["model.0.bn.running_var"].astype(np.float64)
    wanted = checkpoint.parameters["model.0.bn.gamma"] / np.sqrt(variance + 1e-5)
    assert np.allclose(found["model.0.bn.gamma"] / np.sqrt(variance + 1e-3), wanted, rtol=1e-6)


def _set_epsilon(layer: Any, value: Any) -> None:
    if hasattr(layer, "eps"):
        layer.eps = value
    for child in layer._modules.values():
        _set_epsilon(child, value)


def test_three_parallel_pools_are_the_same_layer(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    model = ultralytics_model(checkpoint)
    layer = model._modules["model"]._modules["9"]
    pools = {
        str(index): module("torch.nn.modules.pooling.MaxPool2d", kernel_size=side, stride=1,
                           padding=side // 2)
        for index, side in enumerate((5, 9, 13))
    }  # fmt: skip
    children = {**layer._modules, "m": module("torch.nn.modules.container.ModuleList", pools)}
    spp = module("models.common.SPP", children, i=9, f=-1)
    model._modules["model"]._modules["9"] = spp
    assert same(load(write_pt(tmp_path / "m.pt", model)), checkpoint)


# What tensors alone would not tell.


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda layers: layers["1"]._modules["conv"].__dict__.update(stride=(1, 1)), "stride"),
        (lambda layers: layers["1"]._modules["conv"].__dict__.update(groups=2), "groups"),
        (lambda layers: layers["1"]._modules["conv"].__dict__.update(dilation=(2, 2)), "dilation"),
        (lambda layers: layers["1"]._modules["conv"].__dict__.update(padding=(0, 1)), "padding"),
        (lambda layers: layers["12"].__dict__.update(f=[-1, 4]), "layer 12"),
        (lambda layers: layers["12"].__dict__.update(d=2), "another d"),
        (lambda layers: layers["11"].__dict__.update(mode="bilinear"), "mode"),
        (lambda layers: layers["9"]._modules["m"].__dict__.update(kernel_size=3), "pool"),
        (
            lambda layers: layers["13"]._modules["m"]._modules["0"].__dict__.update(add=True),
            "shortcut",
        ),
        (lambda layers: layers["0"]._modules["bn"].__dict__.update(eps=2.0), "epsilon"),
        (lambda layers: layers.pop("23"), "model.24"),
    ],
)
def test_layers_that_work_in_another_way_are_refused(
    tmp_path: Path, change: Callable[..., Any], cause: str
) -> None:
    model = ultralytics_model(random_checkpoint())
    change(model._modules["model"]._modules)
    with pytest.raises(InputError, match=cause):
        load(write_pt(tmp_path / "m.pt", model))


def test_a_wrapper_may_name_functions_of_the_repository_and_none_is_called(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    loader = stand_in("models.experimental", "attempt_load")  # pickled as its name alone
    wrapped = module(
        "models.common.DetectMultiBackend", {"model": ultralytics_model(checkpoint)},
        attempt_load=loader, attempt_download=stand_in("utils.downloads", "attempt_download"),
    )  # fmt: skip
    path = write_pt(tmp_path / "hub.pt", module("models.common.AutoShape", {"model": wrapped}))
    assert same(load(path), load(write_pt(tmp_path / "m.pt", ultralytics_model(checkpoint))))

    class Called:
        def __reduce__(self) -> Any:
            return loader, ("weights.pt",)

    called = write_pt(tmp_path / "called.pt", {"model": Called()})
    with pytest.raises(InputError, match=r"models\.experimental\.attempt_load.*allow-list"):
        load(called)


@pytest.mark.parametrize(("channels", "said"), [(1, "one input channel"), (4, "4 input channels")])
def test_another_number_of_input_channels_is_named(
    channels: int, said: str, tmp_path: Path
) -> None:
    checkpoint = random_checkpoint()
    name = "model.0.conv.weight"
    weight = np.repeat(checkpoint.parameters[name][:, :1], channels, axis=1)
    changed = replace(checkpoint, parameters={**checkpoint.parameters, name: weight})
    path = write_pt(tmp_path / "grey.pt", state_dict(changed))
    with pytest.raises(InputError, match=f"is a YOLOv5 of {said}; expected three"):
        load(path)
