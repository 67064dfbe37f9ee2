"""Receipts that a liar writes: other models never share an identity, altered files are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from cvm_samples import small_graph, some_input, write_model

import yolo_cvm
from yolo_core.arrays import Array
from yolo_core.graph import Graph, GraphBuilder
from yolo_cvm import receipts
from yolo_cvm.cli import main
from yolo_cvm.receipts import digests, trees, version_1, version_2


def heads(first: bool) -> Graph:
    """relu and abs of the input; one or both, and the input, are heads."""
    b = GraphBuilder()
    x = b.input("data", (1, 2), 8)
    r, n = b.operator("relu", [x]), b.operator("abs", [x])
    return b.build([r] if first else [n, x])


def weights(first: bool) -> Graph:
    """A dense layer without a bias: with an input of zeros all weights give the same."""
    b = GraphBuilder()
    x = b.input("data", (1, 2), 8)
    w = b.parameter("w", np.array([[3, 4] if first else [5, -6]]), 8)
    return b.build([b.operator("dense", [x, w], units=1, use_bias=False)])


def nothing(first: bool) -> Graph:
    """No operators at all."""
    b = GraphBuilder()
    x = b.input("data", (1, 2), 8)
    return b.build([x] if first else [x, b.parameter("p", np.array([[7]]), 8)])


@pytest.mark.parametrize("make", [heads, weights, nothing])
def test_two_models_share_a_root_of_version_1_and_no_identity(
    make: Callable[[bool], Graph], tmp_path: Path
) -> None:
    x = np.zeros((1, 2), np.int8)
    models = [yolo_cvm.load(write_model(tmp_path / str(k), make(bool(k)))) for k in (0, 1)]
    old = [version_1.compute(model, x) for model in models]
    new = [receipts.run_with_receipt(model, x)[1] for model in models]
    assert old[0].root == old[1].root
    assert new[0].identity != new[1].identity
    assert new[0].model != new[1].model


@pytest.fixture(name="honest")
def honest_receipt(model_folder: Path) -> receipts.Receipt:
    model = yolo_cvm.load(model_folder)
    return receipts.run_with_receipt(model, np.load(model_folder / "input.npy"))[1]


def refused(text: str, folder: Path) -> str:
    """The one line with which a receipt is refused."""
    file = folder / "r.json"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    done = CliRunner().invoke(main, ["bisect", str(file), str(file)])
    assert done.exit_code == 2, done.output
    assert len(done.output.strip().splitlines()) == 1
    return done.output


@pytest.mark.parametrize("name", [field.name for field in fields(receipts.Receipt)])
def test_no_field_can_be_replaced(name: str, honest: receipts.Receipt, tmp_path: Path) -> None:
    record = json.loads(honest.to_json())
    other = {"gas": honest.gas + 1, "heads": record["heads"] * 2, "nodes": record["nodes"][:-1]}
    record[name] = other.get(name, "5" * 64)
    assert "follow" in refused(json.dumps(record, indent=1, sort_keys=True) + "\n", tmp_path)


@pytest.mark.parametrize("key", ["node", "name", "op", "outputs"])
def test_no_field_of_a_node_can_be_replaced(
    key: str, honest: receipts.Receipt, tmp_path: Path
) -> None:
    record = json.loads(honest.to_json())
    node = record["nodes"][-1]
    node[key] = {"node": 1000, "name": "other", "op": "abs", "outputs": ["5" * 64]}[key]
    assert "root" in refused(json.dumps(record, indent=1, sort_keys=True) + "\n", tmp_path)
    nodes = tuple(
        receipts.NodeDigest(**{**item, "outputs": tuple(item["outputs"])})
        for item in record["nodes"]
    )
    rooted = replace(honest, nodes=nodes, root=version_2.nodes_root(nodes))
    assert "identity" in refused(rooted.to_json(), tmp_path)


def respelled(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    "change",
    [
        respelled('{\n "format"', '{\n "gas": 0,\n "format"'),
        respelled('"node": 2', '"node": 2.0'),
        respelled('"relu_0"', '"rel\\u0075_0"'),
        respelled('"relu_0"', '["relu_0", {"a": 1}]'),
        respelled('"relu_0"', '"relu_é"'),
        respelled("\n", "\r\n"),
        respelled(" ", ""),
        respelled('"gas": ', '"gas":  '),
        lambda text: text + "\n",
        lambda text: "\ufeff" + text,
        lambda text: json.dumps(json.loads(text)),
        lambda text: text.replace('"heads"', '"HEADS"'),
        lambda text: "[" * 100_000,
        lambda text: "1" * 5000,
        lambda text: '{"format": ["yolo-cvm receipt 2"]}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", [1, 2])
def test_one_spelling_is_accepted(
    version: int, change: Callable[[str], str], model_folder: Path, tmp_path: Path
) -> None:
    model = yolo_cvm.load(model_folder)
    x = np.load(model_folder / "input.npy")
    made = version_1.compute(model, x) if version == 1 else receipts.run_with_receipt(model, x)[1]
    refused(change(made.to_json()), tmp_path)


def test_nodes_come_once_and_in_order(honest: receipts.Receipt, tmp_path: Path) -> None:
    for nodes in (honest.nodes[::-1], honest.nodes + honest.nodes[-1:]):
        other = replace(honest, nodes=nodes, root=version_2.nodes_root(nodes))
        other = replace(other, identity=version_2.identity_of(other))
        assert "order" in refused(other.to_json(), tmp_path)


def test_the_fields_of_version_1_that_follow_must(model_folder: Path, tmp_path: Path) -> None:
    old = version_1.compute(yolo_cvm.load(model_folder), np.load(model_folder / "input.npy"))
    for other in ({"heads": ("5" * 64,)}, {"output": "5" * 64}, {"root": "5" * 64}):
        changed: Any = other
        assert "follow" in refused(replace(old, **changed).to_json(), tmp_path)


def test_version_1_is_verified_and_told(model_folder: Path, tmp_path: Path) -> None:
    model, x = yolo_cvm.load(model_folder), np.load(model_folder / "input.npy")
    old, file = version_1.compute(model, x), tmp_path / "old.json"
    file.write_text(old.to_json())
    arguments = ["verify", str(file), str(model_folder), "--input", str(model_folder / "input.npy")]
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, "version 1" in done.output) == (0, True), done.output
    file.write_text(replace(old, gas=old.gas + 1).to_json())
    assert CliRunner().invoke(main, arguments).exit_code == 1
    new = tmp_path / "new.json"
    new.write_text(receipts.run_with_receipt(model, x)[1].to_json())
    parted = CliRunner().invoke(main, ["bisect", str(file), str(new)])
    assert parted.exit_code == 2
    assert "different versions" in parted.output


def test_names_of_another_node_are_shown_on_one_line(model_folder: Path, tmp_path: Path) -> None:
    model, x = yolo_cvm.load(model_folder), np.load(model_folder / "input.npy")
    honest = receipts.run_with_receipt(model, x)[1]
    lie = replace(honest.nodes[0], op="relu)\nverified, identity " + "0" * 64 + "\x9b2J")
    nodes = (lie, *honest.nodes[1:])
    other = replace(honest, nodes=nodes, root=version_2.nodes_root(nodes))
    other = replace(other, identity=version_2.identity_of(other))
    file = tmp_path / "lie.json"
    file.write_text(other.to_json())
    arguments = ["verify", str(file), str(model_folder), "--input", str(model_folder / "input.npy")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert len(done.output.splitlines()) == 1
    assert "\x9b" not in done.output


def test_trees_of_other_titles_lengths_and_shapes_never_meet() -> None:
    leaf = trees.leaf(b"x")
    roots = {trees.tree_root(title, [leaf] * count) for title in ("a", "b") for count in range(5)}
    assert len(roots) == 10
    flat = np.arange(600, dtype=np.int32)
    shapes: list[Array] = [flat, flat.reshape(1, 600), flat.reshape(1, 1, 1, 600), flat[:599]]
    assert len({digests.tensor_root(array) for array in shapes}) == 4
    # A branch, taken for a leaf, is another one: leaves and branches begin with different bytes.
    left, right = trees.leaf(b"l"), trees.leaf(b"r")
    assert trees.tree_top([left, right]) != trees.leaf(left + right)


def test_engines_agree_on_the_identity(tmp_path: Path) -> None:
    graph = small_graph()
    folder = write_model(tmp_path / "m", graph)
    x = some_input(graph)
    found = {
        receipts.run_with_receipt(yolo_cvm.load(folder, engine=engine), x)[1].identity
        for engine in ("reference", None)
    }
    assert len(found) == 1
