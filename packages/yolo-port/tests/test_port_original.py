"""Checkpoints of the original port: recognised by their wiring, BGR, another epsilon."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from port_samples import random_checkpoint, same, write_original

from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import read_checkpoint
from yolo_port.conversion import convert
from yolo_port.oracle import Oracle
from yolo_port.readers import load


@pytest.mark.parametrize(("size", "nc"), [("n", 80), ("s", 1), ("m", 3)])
def test_weights_are_found_under_their_numbers_and_colour_is_bgr(
    tmp_path: Path, size: str, nc: int
) -> None:
    checkpoint = random_checkpoint(size, nc)
    stem = write_original(tmp_path / "seed", checkpoint, epsilon="0.001")
    wanted = replace(checkpoint, color="bgr")
    assert same(load(stem), wanted)
    assert same(load(tmp_path / "seed-0000.params"), wanted)
    assert same(load(tmp_path / "seed-symbol.json"), wanted)


def test_later_epochs_are_read_too(tmp_path: Path) -> None:
    write_original(tmp_path / "seed", random_checkpoint(), epsilon="0.001")
    (tmp_path / "seed-0000.params").rename(tmp_path / "seed-0123.params")
    assert load(tmp_path / "seed-0123.params").color == "bgr"


def test_epsilon_of_the_symbol_is_honoured(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    found = load(write_original(tmp_path / "seed", checkpoint, epsilon="1e-05")).parameters
    variance = checkpoint.parameters["model.6.cv3.bn.running_var"].astype(np.float64)
    wanted = checkpoint.parameters["model.6.cv3.bn.gamma"] / np.sqrt(variance + 1e-5)
    ours = found["model.6.cv3.bn.gamma"] / np.sqrt(variance + 1e-3)
    assert np.allclose(ours, wanted, rtol=1e-6)


def test_colour_order_stays_in_the_checkpoint_and_gives_the_same_heads(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    convert(write_original(tmp_path / "seed", checkpoint, "0.001"), tmp_path / "out")
    bgr = read_checkpoint(tmp_path / "out" / "seed")
    assert bgr.color == "bgr"
    convert(tmp_path / "out" / "seed", tmp_path / "rgb", "pt")
    image = np.random.default_rng(0).random((3, 32, 32))
    _, ours = Oracle(load(tmp_path / "rgb" / "seed.pt")).run(image)
    _, theirs = Oracle(bgr).run(image)
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(ours, theirs))


def _changed(tmp_path: Path, change: Any) -> Any:
    stem = write_original(tmp_path / "seed", random_checkpoint(), "0.001")
    file = tmp_path / "seed-symbol.json"
    symbol = json.loads(file.read_text())
    change({node["name"]: node for node in symbol["nodes"]}, symbol["nodes"])
    file.write_text(json.dumps(symbol))
    return stem


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda by_name, nodes: nodes.pop(), "invalid heads"),
        (lambda by_name, nodes: nodes.insert(5, 7), "invalid node 5"),
        (lambda by_name, nodes: nodes[9].update(inputs=[[10, 0, 0]]), "invalid node 9"),
        (lambda by_name, nodes: nodes[9].update(inputs=[[-1, 0, 0]]), "invalid node 9"),
        (lambda by_name, nodes: by_name["conv1_fwd"]["attrs"].update(stride="(2, 1)"), "unusual"),
        (lambda by_name, nodes: by_name["conv1_fwd"]["attrs"].update(num_group="2"), "groups"),
        (lambda by_name, nodes: by_name["batchnorm0_fwd"]["attrs"].update(eps="nan"), "eps"),
        (
            lambda by_name, nodes: by_name["conv1_weight"].update(name="conv999_weight"),
            "lacks conv999",
        ),
    ],
)
def test_other_symbols_are_refused(tmp_path: Path, change: Callable[..., Any], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        load(_changed(tmp_path, change))


def test_parameters_alone_are_refused(tmp_path: Path) -> None:
    write_original(tmp_path / "seed", random_checkpoint())
    (tmp_path / "seed-symbol.json").unlink()
    with pytest.raises(InputError, match="neither its symbol"):
        load(tmp_path / "seed-0000.params")


def test_a_symbol_without_its_parameters_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "m-symbol.json").write_text("{}")
    with pytest.raises(InputError, match=r"no parameters beside it; expected m-0000\.params"):
        load(tmp_path / "m-symbol.json")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    stem = write_original(tmp_path / "seed", random_checkpoint())
    params = tmp_path / "seed-0000.params"
    whole = params.read_bytes()
    params.write_bytes(whole[:-50])
    with pytest.raises(InputError, match=r"seed-0000\.params"):
        load(stem)
    params.write_bytes(whole)
    for text in ("", "[]", "{}", '{"nodes": []}', "[" * 50_000):
        (tmp_path / "seed-symbol.json").write_text(text)
        with pytest.raises(InputError, match=r"seed-symbol\.json"):
            load(stem)
