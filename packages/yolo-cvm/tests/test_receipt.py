"""Receipts: the same for every engine, verifiable, and precise about where two runs part."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from cvm_samples import small_graph, some_input, write_model

import yolo_cvm
from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.graph.files import symbol
from yolo_cvm import receipts
from yolo_cvm.cli import main
from yolo_cvm.receipts import digests, trees, version_2


def make(folder: Path, engine: str | None = None) -> receipts.Receipt:
    model = yolo_cvm.load(folder, engine=engine)
    return receipts.run_with_receipt(model, np.load(folder / "input.npy"))[1]


def forged(receipt: receipts.Receipt, position: int) -> receipts.Receipt:
    """The receipt of a run whose operator at `position` gave something else."""
    nodes = list(receipt.nodes)
    nodes[position] = replace(nodes[position], outputs=("0" * 64,))
    other = replace(receipt, nodes=tuple(nodes), root=version_2.nodes_root(nodes))
    return replace(other, identity=version_2.identity_of(other))


def test_engines_and_threads_leave_no_trace(model_folder: Path) -> None:
    model = yolo_cvm.load(model_folder, threads=1)
    x = np.load(model_folder / "input.npy")
    texts = {make(model_folder, engine).to_json() for engine in ("reference", None)}
    texts.add(receipts.run_with_receipt(model, x.astype(np.int64))[1].to_json())
    assert len(texts) == 1


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def compact(record: object) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode("ascii")


def page_top(leaves: list[bytes]) -> bytes:
    """The tree of RFC 6962 as the page states it: the left child holds a power of two."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha(b"\1", page_top(leaves[:split]), page_top(leaves[split:]))


def page_root(title: str, contents: list[bytes]) -> str:
    count = len(contents).to_bytes(8, "big")
    top = page_top([sha(b"\0", content) for content in contents])
    return sha(b"\2", title.encode(), b"\n", count, top).hex()


def page_tensor(array: Array) -> str:
    order = array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
    data = order.astype("<i4").tobytes()
    shape = "x".join(map(str, array.shape))
    leaves = [data[at : at + 1024] for at in range(0, len(data), 1024)]
    return page_root(f"yolo-cvm tensor 2 int32 {shape}", leaves)


def test_receipt_holds_what_the_page_says(model_folder: Path) -> None:
    receipt = make(model_folder)
    model = yolo_cvm.load(model_folder, engine="reference")
    x = np.load(model_folder / "input.npy")
    assert receipt.heads == tuple(map(page_tensor, model.run(x)))
    assert receipt.input == page_tensor(x)
    assert receipt.symbol == hashlib.sha256((model_folder / "symbol").read_bytes()).hexdigest()
    assert [node.op for node in receipt.nodes] == ["conv2d", "cvm_clip", "relu"]
    listed = json.loads(receipt.to_json())["nodes"]
    for node, (number, outputs) in zip(listed, model.trace(x)):
        assert node["node"] == number
        assert node["outputs"] == [page_tensor(array) for array in outputs]
    root = page_root("yolo-cvm receipt 2 nodes", [compact(node) for node in listed])
    assert receipt.root == root
    fields = {
        "specification": "CVM, 37 operators, formal back end, 1", "operators": len(listed),
        "symbol": receipt.symbol, "params": receipt.params, "model": receipt.model,
        "input": receipt.input, "heads": list(receipt.heads), "gas": receipt.gas, "root": root,
    }  # fmt: skip
    assert receipt.identity == sha(b"yolo-cvm receipt 2\n", compact(fields)).hex()


def test_the_model_root_is_over_every_node_and_parameter(model_folder: Path) -> None:
    graph = yolo_cvm.load(model_folder).graph
    contents = []
    for number, node in enumerate(graph.nodes):
        attributes = symbol.attribute_strings(node)
        bound = graph.parameters.get(node.name)
        contents.append(compact({
            "node": number, "name": node.name, "op": node.op, "attributes": attributes,
            "inputs": [[e.node, e.output] for e in node.inputs],
            "shapes": [list(shape) for shape in node.shapes],
            "precisions": list(node.precisions),
            "value": None if bound is None else page_tensor(bound),
        }))  # fmt: skip
    heads = [[e.node, e.output] for e in graph.heads]
    title = compact({"heads": heads, "postprocess": ""}).decode()
    assert digests.model_root(graph) == page_root(f"yolo-cvm model 2 {title}", contents)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 33])
def test_trees_are_those_of_rfc_6962(count: int) -> None:
    leaves = [sha(bytes([k])) for k in range(count)]
    assert trees.tree_top(leaves) == page_top(leaves)


def test_commands_verify_and_bisect(model_folder: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    x = str(model_folder / "input.npy")
    done = runner.invoke(main, ["run", str(model_folder), "--input", x, "--receipt", str(good)])
    assert done.exit_code == 0, done.output
    verified = runner.invoke(main, ["verify", str(good), str(model_folder), "--input", x])
    assert verified.exit_code == 0
    assert "verified" in verified.output
    receipt = receipts.read_receipt(good)
    assert isinstance(receipt, receipts.Receipt)
    bad.write_text(forged(receipt, 1).to_json())
    refused = runner.invoke(main, ["verify", str(bad), str(model_folder), "--input", x])
    assert refused.exit_code == 1
    assert "'cvm_clip_0'" in refused.output
    parted = runner.invoke(main, ["bisect", str(good), str(bad)])
    assert parted.exit_code == 1
    assert "node 3 'cvm_clip_0' (cvm_clip)" in parted.output
    agreed = runner.invoke(main, ["bisect", str(good), str(good)])
    told = f"the receipts agree, identity {receipt.identity}\n"
    assert (agreed.exit_code, agreed.output) == (0, told)


def test_another_model_or_input_is_told_apart(model_folder: Path, tmp_path: Path) -> None:
    receipt = make(model_folder)
    model = yolo_cvm.load(model_folder)
    x = np.load(model_folder / "input.npy")
    assert receipts.verify(receipt, model, x) is None
    assert receipts.verify(receipt, model, -x) == "the input is another one"
    other = write_model(tmp_path / "other", small_graph("argmax"))
    assert receipts.verify(receipt, yolo_cvm.load(other), x) == "the symbol file is another one"
    assert receipts.verify(replace(receipt, gas=1), model, x)
    np.save(other / "input.npy", x)
    with pytest.raises(InputError, match="symbol differs"):
        receipts.first_difference(receipt, make(other))


@pytest.mark.parametrize(
    "change",
    [
        {"root": "0" * 64}, {"root": "x"}, {"gas": -1}, {"gas": 1.5}, {"heads": None},
        {"nodes": [{}]}, {"nodes": 7}, {"format": "other"}, {"specification": "2"},
        {"extra": 1}, {"input": None},
    ],
)  # fmt: skip
def test_a_damaged_receipt_is_refused_in_one_line(
    change: dict[str, Any], model_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "r.json"
    file.write_text(json.dumps({**json.loads(make(model_folder).to_json()), **change}))
    result = CliRunner().invoke(main, ["bisect", str(file), str(file)])
    assert result.exit_code == 2
    assert len(result.output.strip().splitlines()) == 1


def test_clamped_input_gives_the_receipt_of_what_was_computed(model_folder: Path) -> None:
    model = yolo_cvm.load(model_folder)
    wide = np.full(model.graph.input_shape, 1000)
    edge = np.full(model.graph.input_shape, 127)
    assert receipts.run_with_receipt(model, wide)[1] == receipts.run_with_receipt(model, edge)[1]
    assert some_input(model.graph).dtype == np.int8
