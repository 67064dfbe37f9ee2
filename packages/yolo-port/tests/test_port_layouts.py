"""Networks that are not all of one piece: further layouts by their tensors alone, levels in another
order, and blocks with an activation or an epsilon of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from port_samples import module, random_checkpoint, ultralytics_model, write_original, write_pt

from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.layout import Row
from yolo_port.layouts import layouts
from yolo_port.matching import assumptions, match
from yolo_port.oracle import Oracle
from yolo_port.readers import load
from yolo_port.source import Answers, SourceModel
from yolo_port.state_dict import ultralytics_state_dict

_LAYOUTS = [rows for _, rows in layouts()]


def described(rows: tuple[Row, ...], **keys: Any) -> Architecture:
    lists = [row.to_list() for row in rows]
    description = {
        "nc": 2, "depth_multiple": 0.33, "width_multiple": 0.03125, "anchors": 3,
        "backbone": lists[:1], "head": lists[1:], **keys,
    }  # fmt: skip
    return Architecture.from_description(description, "test")


def checkpoint_of(architecture: Architecture) -> Checkpoint:
    random = np.random.default_rng(3)
    parameters = {
        name: random.random(shape, np.float32) + np.float32(0.5)
        for name, shape in architecture.parameter_shapes(fused=False).items()
    }
    return Checkpoint(architecture, parameters, False)


def heads(checkpoint: Checkpoint) -> tuple[Any, ...]:
    image = np.random.default_rng(1).random((3, 128, 128))
    return Oracle(checkpoint).run(image)[1]


@pytest.mark.parametrize("number", range(len(_LAYOUTS)))
def test_a_state_dict_of_every_layout_is_recognised(tmp_path: Path, number: int) -> None:
    wanted = checkpoint_of(described(_LAYOUTS[number]))
    words: dict[str, Any] = dict(ultralytics_state_dict(wanted))
    np.savez(tmp_path / "m.npz", **words)
    found = load(tmp_path / "m.npz", Answers(activation="silu"))
    kinds = {row.kind for row in _LAYOUTS[number]}
    if {"Focus", "BottleneckCSP"} <= kinds:
        assert found.architecture.csp_activation == "leaky"
        assert any("branches join" in line for line in assumptions(found))
        found = replace(found, architecture=replace(found.architecture, csp_activation=None))
    assert found.architecture.steps() == wanted.architecture.steps()
    assert found.architecture.strides == wanted.architecture.strides


def test_releases_of_before_4_are_no_silu_networks(tmp_path: Path) -> None:
    (rows,) = [rows for rows in _LAYOUTS if len(rows) == 25
               and rows[0].kind == "Focus" and rows[2].kind == "BottleneckCSP"]  # fmt: skip
    words: dict[str, Any] = dict(ultralytics_state_dict(checkpoint_of(described(rows))))
    np.savez(tmp_path / "m.npz", **words)
    found = load(tmp_path / "m.npz")
    assert found.architecture.activation == "hardswish"
    assert any("releases 1 and 2: --activation leaky" in line for line in assumptions(found))
    assert load(tmp_path / "m.npz", Answers(activation="leaky")).architecture.activation == "leaky"


def test_levels_from_the_coarsest_to_the_finest(tmp_path: Path) -> None:
    *rows, detect = Architecture.named("n").layout
    turned = (*rows, replace(detect, sources=detect.sources[::-1]))
    wanted = checkpoint_of(described(turned))
    words: dict[str, Any] = dict(ultralytics_state_dict(wanted))
    np.savez(tmp_path / "m.npz", **words)
    found = load(tmp_path / "m.npz")
    assert found.architecture.strides == (32, 16, 8)
    assert all(np.array_equal(left, right) for left, right in zip(heads(found), heads(wanted)))


def test_blocks_with_an_activation_of_their_own(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    model = ultralytics_model(checkpoint)
    layers = model.__dict__["_modules"]["model"].__dict__["_modules"]
    layers["1"].__dict__["_modules"]["act"] = module("torch.nn.modules.activation.ReLU")
    layers["2"].__dict__["_modules"]["cv3"].__dict__["_modules"]["act"] = module(
        "torch.nn.modules.linear.Identity"
    )
    found = load(write_pt(tmp_path / "m.pt", {"model": model}))
    words = {conv.activation for conv in found.architecture.convolutions()}
    assert {"silu", "relu"} <= words
    rows = list(checkpoint.architecture.layout)
    rows[1] = replace(rows[1], arguments=(*rows[1].arguments, None, 1, 1, "nn.ReLU()"))
    lists = [row.to_list() for row in rows]
    description = {**checkpoint.architecture.to_description(), "backbone": lists[:1],
                   "head": lists[1:]}  # fmt: skip
    almost = replace(checkpoint, architecture=Architecture.from_description(description, "test"))
    layers["2"].__dict__["_modules"]["cv3"].__dict__["_modules"]["act"] = module(
        "torch.nn.modules.activation.SiLU"
    )
    again = load(write_pt(tmp_path / "m.pt", {"model": model}))
    for left, right in zip(heads(again), heads(almost)):
        assert np.array_equal(left, right)
    assert not np.array_equal(heads(found)[0], heads(again)[0])
    assert again.architecture.names == checkpoint.architecture.names


def test_normalisations_of_different_epsilon(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    model = ultralytics_model(checkpoint)
    layers = model.__dict__["_modules"]["model"].__dict__["_modules"]
    layers["1"].__dict__["_modules"]["bn"].__dict__["eps"] = 0.25
    found = load(write_pt(tmp_path / "m.pt", {"model": model}))
    gamma, variance = (checkpoint.parameters[f"model.1.bn.{part}"].astype(np.float64)
                       for part in ("gamma", "running_var"))  # fmt: skip
    wanted = gamma / np.sqrt(variance + 0.25) * np.sqrt(variance + 0.001)
    np.testing.assert_allclose(found.parameters["model.1.bn.gamma"], wanted, rtol=1e-6)
    assert np.array_equal(found.parameters["model.0.bn.gamma"],
                          checkpoint.parameters["model.0.bn.gamma"])  # fmt: skip
    layers["1"].__dict__["_modules"]["bn"].__dict__["eps"] = 2.0
    with pytest.raises(InputError, match=r"has epsilon 2.0 in model.1.bn"):
        load(write_pt(tmp_path / "m.pt", {"model": model}))


def test_symbols_of_different_epsilon(tmp_path: Path) -> None:
    stem = write_original(tmp_path / "m", random_checkpoint(), "0.001")
    symbol = tmp_path / "m-symbol.json"
    text = symbol.read_text()
    symbol.write_text(text.replace('"eps": "0.001"', '"eps": "0.25"', 1))
    found = load(stem)
    first = random_checkpoint().parameters["model.0.bn.gamma"].astype(np.float64)
    spread = random_checkpoint().parameters["model.0.bn.running_var"].astype(np.float64)
    wanted = first / np.sqrt(spread + 0.25) * np.sqrt(spread + 0.001)
    np.testing.assert_allclose(found.parameters["model.0.bn.gamma"], wanted, rtol=1e-6)


def release_1(words: dict[str, Any]) -> dict[str, Any]:
    """A state dict of release 2, its coarsest level first, as release 1 names it."""
    found = {}
    for name, value in words.items():
        _, layer, rest = name.split(".", 2)
        number = int(layer) + sum(int(layer) > head for head in (17, 20, 23))
        if layer == "24" and rest.startswith("m."):
            number, rest = (26, 22, 18)[int(rest[2])], rest[4:]
        found[f"model.{number}.{rest}"] = value
    return found


def test_detection_convolutions_that_are_layers(tmp_path: Path) -> None:
    (rows,) = [rows for rows in _LAYOUTS if len(rows) == 25
               and rows[0].kind == "Focus" and rows[2].kind == "BottleneckCSP"]  # fmt: skip
    turned = (*rows[:-1], replace(rows[-1], sources=rows[-1].sources[::-1]))
    wanted = checkpoint_of(described(turned, activation="leaky"))
    words = release_1(ultralytics_state_dict(wanted))
    np.savez(tmp_path / "m.npz", **words)
    found = load(tmp_path / "m.npz")
    assert any("as in release 1" in line for line in assumptions(found))
    assert all(np.array_equal(left, right) for left, right in zip(heads(found), heads(wanted)))

    lists: list[Any] = []
    for row in rows[:-1]:
        after = bool(lists) and lists[-1][2] == "nn.Conv2d"
        sources = [
            (-2 if after and each == -1 else each) if each < 0
            else each + sum(each > head for head in (17, 20, 23))
            for each in row.sources
        ]  # fmt: skip
        lists.append([sources, *row.to_list()[1:]])
        if len(lists) in (18, 22, 26):
            lists.append([-1, 1, "nn.Conv2d", ["na * (nc + 5)", 1, 1]])
    description: dict[str, Any] = {
        "nc": 2, "depth_multiple": 0.33, "width_multiple": 0.03125, "activation": "leaky",
        "anchors": [[9, 9, 8, 8, 7, 7], [6, 6, 5, 5, 4, 4], [3, 3, 2, 2, 1, 1]],
        "backbone": lists[:10], "head": [*lists[10:], [[], 1, "Detect", ["nc", "anchors"]]],
    }  # fmt: skip
    tensors = {name: value for name, value in words.items() if not name.endswith(".anchors")
               and "num_batches" not in name}  # fmt: skip
    source = SourceModel("m.pt", "test", tensors, description=description)
    by_description = match(source)
    for left, right in zip(heads(by_description), heads(wanted)):
        assert np.array_equal(left, right)
    assert by_description.architecture.anchors[2] == ((3, 3), (2, 2), (1, 1))
    description["head"][-1] = [["x"], 1, "Detect", ["nc", "anchors"]]
    with pytest.raises(InputError, match=r"m.pt: has a layer"):
        match(source)


def test_what_an_unknown_layout_has_is_said(tmp_path: Path) -> None:
    (rows,) = [rows for name, rows in layouts() if name == "yolov5n.yaml"]
    other = (*rows[:17], Row((-1,), 1, "Conv", (256, 3, 1)), *rows[18:])
    words: dict[str, Any] = dict(ultralytics_state_dict(checkpoint_of(described(other))))
    np.savez(tmp_path / "m.npz", **words)
    with pytest.raises(InputError) as caught:
        load(tmp_path / "m.npz")
    assert "as yolov5n.yaml up to layer 17: Conv instead of C3" in str(caught.value)
    assert "expected --cfg MODEL.yaml" in str(caught.value)
    words = dict(ultralytics_state_dict(checkpoint_of(described(rows))))
    del words["model.9.cv2.conv.weight"]
    np.savez(tmp_path / "m.npz", **words)
    with pytest.raises(InputError, match="up to layer 9: cv1, cv2 instead of SPPF"):
        load(tmp_path / "m.npz")
