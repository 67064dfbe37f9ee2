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
from yolo_core.errors import InputError
from yolo_cvm import receipt as receipts
from yolo_cvm.cli import main


def make(folder: Path, engine: str | None = None) -> receipts.Receipt:
    model = yolo_cvm.load(folder, engine=engine)
    return receipts.run_with_receipt(model, np.load(folder / "input.npy"))[1]


def forged(receipt: receipts.Receipt, position: int) -> receipts.Receipt:
    """The receipt of a run whose operator at `position` gave something else."""
    nodes = list(receipt.nodes)
    nodes[position] = replace(nodes[position], outputs=("0" * 64,))
    return replace(receipt, nodes=tuple(nodes), root=receipts.merkle_root(nodes))


def test_engines_and_threads_leave_no_trace(model_folder: Path) -> None:
    model = yolo_cvm.load(model_folder, threads=1)
    x = np.load(model_folder / "input.npy")
    texts = {make(model_folder, engine).to_json() for engine in ("reference", None)}
    texts.add(receipts.run_with_receipt(model, x.astype(np.int64))[1].to_json())
    assert len(texts) == 1


def test_receipt_holds_what_the_page_says(model_folder: Path) -> None:
    receipt = make(model_folder)
    heads = yolo_cvm.load(model_folder).run(np.load(model_folder / "input.npy"))
    shape = "x".join(map(str, heads[0].shape))
    digest = hashlib.sha256(f"int32 {shape}\n".encode() + heads[0].astype("<i4").tobytes())
    assert receipt.heads == (digest.hexdigest(),)
    assert receipt.output == hashlib.sha256(digest.digest()).hexdigest()
    assert receipt.symbol == hashlib.sha256((model_folder / "symbol").read_bytes()).hexdigest()
    assert [node.op for node in receipt.nodes] == ["conv2d", "cvm_clip", "relu"]
    leaves = [
        hashlib.sha256(
            b"\0" + node.node.to_bytes(8, "big") + bytes.fromhex(node.outputs[0])
        ).digest()
        for node in receipt.nodes
    ]
    left = hashlib.sha256(b"\1" + leaves[0] + leaves[1]).digest()
    assert receipt.root == hashlib.sha256(b"\1" + left + leaves[2]).hexdigest()


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
    bad.write_text(forged(receipt, 1).to_json())
    refused = runner.invoke(main, ["verify", str(bad), str(model_folder), "--input", x])
    assert refused.exit_code == 1
    assert "'cvm_clip_0'" in refused.output
    parted = runner.invoke(main, ["bisect", str(good), str(bad)])
    assert parted.exit_code == 1
    assert "node 3 'cvm_clip_0' (cvm_clip)" in parted.output
    agreed = runner.invoke(main, ["bisect", str(good), str(good)])
    assert (agreed.exit_code, agreed.output) == (0, "the receipts agree\n")


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
