"""Receipts that part in their lists of nodes, their heads or their gas."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dispute.liar import honest_and_lying
from dispute.test_judge import convolution
from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.graph import Graph, GraphBuilder
from yolo_core.graph.files import params, symbol
from yolo_cvm import dispute
from yolo_cvm.cli import main
from yolo_cvm.model import Model, load
from yolo_cvm.receipts import NodeDigest, Receipt, first_difference, run_with_receipt
from yolo_cvm.receipts.digests import node_leaf
from yolo_cvm.receipts.trees import tree_root
from yolo_cvm.receipts.version_2 import identity_of, nodes_root

GRAPH, DATA = convolution(8)


def told_again(receipt: Receipt, **changed: object) -> Receipt:
    """The receipt with some fields changed and all digests following."""
    other = replace(receipt, **changed)  # type: ignore[arg-type]
    other = replace(other, root=nodes_root(other.nodes))
    return replace(other, identity=identity_of(other))


def honest(graph: Graph = GRAPH, data: Array = DATA) -> Receipt:
    return run_with_receipt(honest_and_lying(graph, 0, 0, 0)[0], data)[1]


RIGHT = honest()
EXTRA = NodeDigest(RIGHT.nodes[-1].node + 1, "more", "relu", ("0" * 64,))
LIES: dict[str, tuple[dict[str, object], str]] = {
    "left out": ({"nodes": RIGHT.nodes[1:]}, "where the model has node 3"),
    "none at all": ({"nodes": ()}, "lists no further node"),
    "cut off": ({"nodes": RIGHT.nodes[:-1]}, "lists no further node"),
    "one more": ({"nodes": (*RIGHT.nodes, EXTRA)}, "the model has no further node"),
    "a variable": (
        {"nodes": (NodeDigest(0, "data", "relu", ("0" * 64,)), *RIGHT.nodes)},
        "lists node 0 'data' (relu)",
    ),
    "another number": (
        {"nodes": (replace(RIGHT.nodes[0], node=2), *RIGHT.nodes[1:])},
        "lists node 2",
    ),
    "another name": (
        {"nodes": (replace(RIGHT.nodes[0], name="x"), *RIGHT.nodes[1:])},
        "lists node 3 'x'",
    ),
    "two results": (
        {"nodes": (replace(RIGHT.nodes[0], outputs=("0" * 64,) * 2), *RIGHT.nodes[1:])},
        "with 2 results",
    ),
    "other heads": ({"heads": ("0" * 64,)}, "its heads are not the results of its nodes"),
    "two heads": ({"heads": RIGHT.heads * 2}, "its heads are not the results of its nodes"),
    "less gas": ({"gas": RIGHT.gas - 1}, f"gas {RIGHT.gas - 1} where the model takes {RIGHT.gas}"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_receipt_that_contradicts_the_model_is_judged_wrong(lie: str) -> None:
    changed, reason = LIES[lie]
    false = told_again(RIGHT, **changed)
    assert false.fault() is None
    witness = dispute.make_model_witness(GRAPH)
    verdict = dispute.judge_model(witness, RIGHT, false)
    assert verdict.wrong == ("second",)
    assert reason in verdict.reasons[0]
    assert dispute.judge_model(witness, false, RIGHT).wrong == ("first",)
    assert dispute.judge_model(witness, false, false).wrong == ("first", "second")
    difference = first_difference(RIGHT, false)
    assert difference is not None
    if lie in ("left out", "none at all", "cut off", "one more", "a variable", "another number"):
        assert difference.startswith("the lists of nodes, at ")
        whole = dispute.make_witness(dispute.observe_node(model(), DATA, RIGHT.nodes[0].node))
        with pytest.raises(InputError, match="list different nodes"):
            dispute.judge(whole, RIGHT, false)


def model() -> Model:
    return honest_and_lying(GRAPH, 0, 0, 0)[0]


def test_a_result_that_parts_before_the_lists_do_is_judged_by_its_node() -> None:
    node = RIGHT.nodes[0].node
    liar = honest_and_lying(GRAPH, node, 0, 5)[1]
    false = run_with_receipt(liar, DATA)[1]
    cut = told_again(false, nodes=false.nodes[:-1])
    whole = dispute.make_witness(dispute.observe_node(model(), DATA, node))
    assert dispute.judge(whole, RIGHT, cut).wrong == ("second",)


def test_both_are_wrong_who_leave_out_what_the_disputed_node_reads() -> None:
    first = told_again(RIGHT, nodes=RIGHT.nodes[1:])
    changed = replace(first.nodes[0], outputs=("0" * 64,))
    second = told_again(first, nodes=(changed, *first.nodes[1:]))
    whole = dispute.make_witness(dispute.observe_node(model(), DATA, changed.node))
    assert dispute.judge(whole, first, second).wrong == ("first", "second")


def test_heads_that_are_the_input_or_a_parameter() -> None:
    b = GraphBuilder()
    x = b.input("data", (1, 4), 8)
    w = b.parameter("w", np.arange(4, dtype=np.int32).reshape(1, 4), 8)
    y = b.operator("broadcast_add", [x, w])
    graph = b.build([x, y, w])
    data = np.ones((1, 4), np.int32)
    right = honest(graph, data)
    witness = dispute.make_model_witness(graph)
    with pytest.raises(InputError, match="contradicts neither receipt"):
        dispute.judge_model(witness, right, right)
    for heads in (
        right.heads[::-1],
        right.heads[:1] * 3,
        (right.heads[0], right.heads[1], "0" * 64),
    ):
        false = told_again(right, heads=heads)
        assert dispute.judge_model(witness, right, false).wrong == ("second",)


def test_the_commands(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "symbol").write_bytes(symbol.encode(GRAPH))
    (folder / "params").write_bytes(params.encode(GRAPH))
    right = run_with_receipt(load(folder), DATA)[1]
    (tmp_path / "a").write_text(right.to_json())
    (tmp_path / "b").write_text(told_again(right, gas=7).to_json())
    a, b, w = (str(tmp_path / name) for name in "abw")
    code, told = run("bisect", a, b)
    assert code == 1
    first, took, then = told.splitlines()
    assert first == f"first difference: no node, but the gas, {right.gas} and 7"
    assert took.startswith("Took ")
    assert then == "Next: yolo-cvm witness MODEL --records --out W"
    assert run("witness", str(folder), "--records", "--out", w)[0] == 0
    code, told = run("judge", w, a, b)
    assert (code, told.splitlines()[-1]) == (0, f"{b} is wrong")
    assert json.loads(run("judge", w, b, a, "--json")[1])["wrong"] == ["first"]
    assert run("judge", w, a, a)[0] == 2
    assert run("witness", str(folder), "--records", "--node", "3", "--out", w)[0] == 2
    assert run("witness", str(folder), "--out", w)[0] == 2


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(words))
    return done.exit_code, done.output


def test_hostile_model_witnesses_are_refused(tmp_path: Path) -> None:
    witness = dispute.make_model_witness(GRAPH)
    false = told_again(RIGHT, gas=7)
    before, record, after = witness.records[:3], witness.records[3], witness.records[4:]
    for hostile in (
        replace(witness, title=witness.title.replace("[[", "[[1,0],[")),
        replace(witness, title="x"),
        replace(witness, records=witness.records[:-1]),
        replace(witness, records=(*witness.records, witness.records[-1])),
        replace(witness, records=(*before, {**record, "op": None}, *after)),
        replace(witness, records=(*before, {}, *after)),
    ):
        (tmp_path / "w").write_bytes(hostile.to_json())
        with pytest.raises(InputError):
            dispute.judge_file(tmp_path / "w", RIGHT, false)


@pytest.mark.parametrize(
    ("number", "changed"),
    [
        (3, {"op": "rm"}),
        (3, {"inputs": [[3, 0], [1, 0], [2, 0]]}),
        (3, {"inputs": [[0, 9], [1, 0], [2, 0]]}),
        (3, {"shapes": [[1, 1, 1, 1]]}),
        (3, {"shapes": []}),
        (0, {"shapes": [[2**31 - 1] * 6]}),
        (0, {"shapes": [[1] * 99]}),
    ],
)
def test_liars_of_one_mind_with_a_model_that_is_none_are_refused(
    number: int, changed: dict[str, object]
) -> None:
    witness = dispute.make_model_witness(GRAPH)
    records = list(witness.records)
    records[number] = {**records[number], **changed}
    hostile = replace(witness, records=tuple(records))
    root = tree_root(hostile.title, [node_leaf(one) for one in records]).hex()
    first = told_again(RIGHT, model=root)
    with pytest.raises(InputError):
        dispute.judge_model(hostile, first, told_again(first, gas=7))
