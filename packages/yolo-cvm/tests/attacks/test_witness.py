"""Witnesses and claims that a liar writes: never another verdict, always one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from yolo_core.errors import InputError
from yolo_cvm import dispute
from yolo_cvm.cli import main
from yolo_cvm.dispute.witness import ModelPart
from yolo_cvm.receipts.digests import canonical, node_leaf
from yolo_cvm.receipts.reader import read_version_2
from yolo_cvm.receipts.trees import siblings, tree_levels, tree_root
from yolo_cvm.receipts.version_2 import identity_of

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "dispute").iterdir())
#: Changes per file; the larger files are sampled evenly.
TRIED = 150


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside a JSON value."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def changed(text: str, path: tuple[Any, ...]) -> str:
    """The text with the value at one place replaced by a similar one."""
    record = json.loads(text)
    inside = record
    for key in path[:-1]:
        inside = inside[key]
    old = inside[path[-1]]
    if type(old) is int:
        inside[path[-1]] = old + 1
    elif isinstance(old, str):
        inside[path[-1]] = ("1" if old[:1] == "0" else "0") + old[1:]
    elif isinstance(old, list) and old:
        inside[path[-1]] = old[:-1]
    else:
        inside[path[-1]] = 0
    return canonical(record) + "\n"


def verdict_of(folder: Path, witness: Path) -> dict[str, Any] | None:
    """The verdict on a witness file against the vector's receipts; None where it is refused."""
    receipts = [read_version_2(folder / name) for name in ("receipt.json", "false_receipt.json")]
    try:
        found = dispute.judge(dispute.read_witness(witness), receipts[0], receipts[1])
    except InputError:
        return None
    verdict: dict[str, Any] = json.loads(json.dumps(asdict(found)))
    return verdict


@pytest.mark.parametrize("folder", VECTORS, ids=lambda folder: folder.name)
def test_no_change_of_a_witness_changes_the_verdict(folder: Path, tmp_path: Path) -> None:
    text = (folder / "witness.json").read_text("ascii")
    right = json.loads((folder / "verdict.json").read_text("ascii"))
    assert verdict_of(folder, folder / "witness.json") == right
    every = [path for path in places(json.loads(text)) if path]
    for path in every[:: max(1, len(every) // TRIED)]:
        hostile = tmp_path / "w"
        hostile.write_text(changed(text, path), "ascii")
        assert verdict_of(folder, hostile) is None, path


@pytest.mark.parametrize("folder", VECTORS, ids=lambda folder: folder.name)
def test_no_change_of_a_claim_keeps_its_root(folder: Path, tmp_path: Path) -> None:
    text = (folder / "claim.json").read_text("ascii")
    root = dispute.read_claim(folder / "claim.json").root()
    for path in places(json.loads(text)):
        if not path or path in (("node",), ("output",)):
            continue  # these two say what the claim is about, and are compared by the judge
        hostile = tmp_path / "c"
        hostile.write_text(changed(text, path), "ascii")
        try:
            found = dispute.read_claim(hostile).root()
        except InputError:
            continue
        assert found != root, path


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"format":"yolo-cvm witness 1"}\n', "[" * 100_000, '{"format":1}', "é"],
)
def test_what_is_no_witness_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "w").write_text(text, "utf-8")
    receipt = str(VECTORS[0] / "receipt.json")
    words = ["judge", str(tmp_path / "w"), receipt, str(VECTORS[0] / "false_receipt.json")]
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, len(done.output.splitlines())) == (2, 1), done.output


def test_spelling_and_repeated_keys_are_refused(tmp_path: Path) -> None:
    text = (VECTORS[0] / "witness.json").read_text("ascii")
    for other in (
        text.replace(",", ", ", 1),
        text[:-1],
        text + "\n",
        text.replace('"node":', '"node":0,"node":', 1),
        json.dumps(json.loads(text), sort_keys=False),
    ):
        assert other != text
        (tmp_path / "w").write_text(other, "ascii")
        with pytest.raises(InputError):
            dispute.read_witness(tmp_path / "w")


def test_liars_of_one_mind_with_a_model_that_is_none_are_refused() -> None:
    """Both receipts and the witness agree on a model whose records are nonsense."""
    folder = VECTORS[0]
    witness = dispute.read_witness(folder / "witness.json")
    receipts = [read_version_2(folder / name) for name in ("receipt.json", "false_receipt.json")]
    (record,) = [item for item in witness.model.records if item["node"] == witness.node]
    huge = {**record, "shapes": [[2**31 - 1] * 6], "attributes": {"channels": "999999999999999"}}
    for hostile in (
        {**record, "op": "rm"}, {**record, "op": None}, {**record, "inputs": [[witness.node, 0]]},
        {**record, "inputs": []}, {**record, "attributes": {"x": "y" * 9999}}, huge,
        {**record, "shapes": []}, {**record, "inputs": [[0, 9]] * 3}, {"node": 0}, {},
    ):  # fmt: skip
        count = witness.node + 1
        leaves = [node_leaf({"node": k}) for k in range(count - 1)] + [node_leaf(hostile)]
        proof = tuple(siblings(tree_levels(leaves), [count - 1]))
        part = ModelPart("t", count, (hostile,), proof)
        root = tree_root("t", leaves).hex()
        told = [replace(one, model=root) for one in receipts]
        told = [replace(one, identity=identity_of(one)) for one in told]
        with pytest.raises(InputError):
            dispute.judge(replace(witness, model=part), told[0], told[1])
