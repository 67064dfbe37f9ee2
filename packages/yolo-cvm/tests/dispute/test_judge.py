"""Disputes from two receipts to a verdict."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from engine.random_graphs import random_program

from dispute.liar import honest_and_lying
from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.graph import Graph, GraphBuilder
from yolo_core.graph.files import params, symbol
from yolo_cvm import dispute
from yolo_cvm.cli import main
from yolo_cvm.dispute import Claim, NodeRun
from yolo_cvm.model import load
from yolo_cvm.receipts import Receipt, read_receipt, run_with_receipt
from yolo_cvm.receipts.trees import root_from, siblings, tree_levels, tree_root


def convolution(side: int = 24) -> tuple[Graph, Array]:
    """Convolution, clip and sum of 16 channels: results of several leaves."""
    b = GraphBuilder()
    draw = np.random.default_rng(5)
    x = b.input("data", (1, 8, side, side), 8)
    w = b.parameter("w", draw.integers(-127, 128, (16, 8, 3, 3)), 8)
    bias = b.parameter("bias", draw.integers(-999, 999, (16,)), 12)
    y = b.operator("conv2d", [x, w, bias], channels=16, kernel_size=(3, 3), padding=(1, 1))
    z = b.operator("cvm_right_shift", [y], precision=8, shift_bit=9)
    graph = b.build([b.operator("broadcast_add", [z, b.parameter("one", np.array([1]), 2)])])
    return graph, draw.integers(-127, 128, graph.input_shape).astype(np.int32)


def narrowed(first: NodeRun, second: NodeRun, output: int) -> tuple[Claim, int, int]:
    """The claim of a leaf at which the two end, whose it is (0 or 1), and how many were sent."""
    runs = (first, second)
    claim = dispute.first_claim(first.node, output, first.results[output])
    sent = 1
    while not claim.is_leaf:
        claim = dispute.next_claim(runs[sent % 2].results[output], claim)
        sent += 1
    return claim, (sent - 1) % 2, sent


def decide(graph: Graph, data: Array, node: int, output: int, position: int) -> int:
    """Let an honest run and one with a wrong element be judged both ways; the witness's size."""
    models = honest_and_lying(graph, node, output, position)
    receipts = [run_with_receipt(model, data)[1] for model in models]
    runs = [dispute.observe_node(model, data, node) for model in models]
    claim, owner, _ = narrowed(runs[0], runs[1], output)
    witness = dispute.make_witness(runs[1 - owner], claim)
    for order in ((0, 1), (1, 0)):
        verdict = dispute.judge(witness, receipts[order[0]], receipts[order[1]])
        assert verdict.wrong == (("second",) if order == (0, 1) else ("first",))
        assert verdict.element is not None
        shape = graph.nodes[node].shapes[output]
        assert np.ravel_multi_index(verdict.element, shape) == position
        assert verdict.claimed[order.index(0)] == verdict.computed
        assert verdict.claimed[order.index(1)] == verdict.computed + 1
    # The liar may write the witness as well: it decides against him all the same.
    by_liar = (
        dispute.make_witness(runs[1]) if sum(a.size for a in runs[1].operands) < 9999 else None
    )
    if by_liar is not None:
        assert dispute.judge(by_liar, receipts[0], receipts[1]).wrong == ("second",)
    return len(witness.to_json())


def test_one_wrong_element_in_any_of_fifty_random_nodes_is_found() -> None:
    draw = random.Random(3)
    decided = 0
    for seed in range(40):
        graph, data = random_program(seed)
        nodes = [k for k, node in enumerate(graph.nodes) if not node.is_variable]
        for node in draw.sample(nodes, min(2, len(nodes))):
            output = draw.randrange(len(graph.nodes[node].shapes))
            size = int(np.prod(graph.nodes[node].shapes[output]))
            decide(graph, data, node, output, draw.randrange(size))
            decided += 1
        if decided >= 50:
            break
    assert decided >= 50


def test_a_dispute_is_narrowed_by_small_messages_to_a_small_witness() -> None:
    graph, data = convolution(64)
    node = next(k for k, one in enumerate(graph.nodes) if one.op == "conv2d")
    assert decide(graph, data, node, 0, 40_000) < 1 << 15
    models = honest_and_lying(graph, node, 0, 40_000)
    runs = [dispute.observe_node(model, data, node) for model in models]
    claim, _, sent = narrowed(runs[0], runs[1], 0)
    assert claim.index == (40_000 % 4096 * 16 + 40_000 // 4096) // 256
    assert sent == 9  # 256 leaves
    assert len(claim.to_json()) < 4096


def test_both_are_wrong_where_both_lie() -> None:
    graph, data = convolution()
    node = next(k for k, one in enumerate(graph.nodes) if one.op == "cvm_right_shift")
    _, one = honest_and_lying(graph, node, 0, 7)
    _, other = honest_and_lying(graph, node, 0, 3000)
    receipts = [run_with_receipt(model, data)[1] for model in (one, other)]
    whole = dispute.make_witness(dispute.observe_node(one, data, node))
    assert dispute.judge(whole, *receipts).wrong == ("first", "second")


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 8, 13])
def test_proofs_of_several_leaves(count: int) -> None:
    leaves = [bytes([k]) * 32 for k in range(count)]
    levels = tree_levels(leaves)
    for chosen in range(1, 2**count, max(1, 2**count // 97)):
        wanted = [k for k in range(count) if chosen >> k & 1]
        proof = siblings(levels, wanted)
        known = {k: leaves[k] for k in wanted}
        assert root_from("t", count, known, proof) == tree_root("t", leaves)
        with pytest.raises(ValueError, match="too long"):
            root_from("t", count, known, [*proof, b"0" * 32])
        if proof:
            with pytest.raises(ValueError, match="too short"):
                root_from("t", count, known, proof[:-1])
    with pytest.raises(ValueError, match="no node"):
        root_from("t", count, {count: leaves[0]}, [])


@pytest.fixture(name="case")
def _case(tmp_path: Path) -> Path:
    """A model, an input, and the receipts of an honest run and of a liar."""
    graph, data = convolution()
    node = next(k for k, one in enumerate(graph.nodes) if one.op == "conv2d")
    model = tmp_path / "model"
    model.mkdir()
    (model / "symbol").write_bytes(symbol.encode(graph))
    (model / "params").write_bytes(params.encode(graph))
    np.save(tmp_path / "x.npy", data)
    x = str(tmp_path / "x.npy")
    done = CliRunner().invoke(
        main, ["run", str(model), "--input", x, "--receipt", str(tmp_path / "honest.json")]
    )
    assert done.exit_code == 0, done.output
    honest = read_receipt(tmp_path / "honest.json")
    assert isinstance(honest, Receipt)
    _, liar = honest_and_lying(graph, node, 0, 2222)
    loaded = replace(load(model), engine=liar.engine)
    (tmp_path / "liar.json").write_text(run_with_receipt(loaded, data)[1].to_json())
    run = dispute.observe_node(loaded, data, node)
    first = dispute.first_claim(node, 0, run.results[0])
    (tmp_path / "claim-0").write_bytes(first.to_json())
    return tmp_path


def command(case: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(case / w[1:]) if w[0] == "@" else w for w in words])
    return done.exit_code, done.output


def test_the_commands_from_two_receipts_to_a_verdict(case: Path) -> None:
    code, told = command(case, "bisect", "@honest.json", "@liar.json")
    assert code == 1
    node = told.split()[3]
    where = ["@model", "--input", "@x.npy", "--node", node]
    code, told = command(case, "claim", *where, "--against", "@claim-0", "--out", "@claim-1")
    assert code == 0, told
    assert "level 5, branch" in told
    assert command(case, "witness", *where, "--out", "@w")[0] == 0
    code, told = command(case, "judge", "@w", "@honest.json", "@liar.json")
    assert (code, told.splitlines()[-1]) == (0, f"{case / 'liar.json'} is wrong")
    code, told = command(case, "judge", "@w", "@liar.json", "@honest.json", "--json")
    assert json.loads(told)["wrong"] == ["first"]
    code, told = command(case, "judge", "@w", "@honest.json", "@honest.json")
    assert (code, len(told.splitlines())) == (2, 1)
    assert "agree in every node" in told


def test_a_claim_that_agrees_is_not_answered(case: Path) -> None:
    node = command(case, "bisect", "@honest.json", "@liar.json")[1].split()[3]
    where = ["@model", "--input", "@x.npy", "--node", node]
    assert command(case, "claim", *where, "--out", "@own")[0] == 0
    code, told = command(case, "claim", *where, "--against", "@own", "--out", "@answer")
    assert (code, "agrees with this run" in told) == (2, True)
    code, told = command(case, "witness", *where, "--against", "@own", "--out", "@answer")
    assert (code, "answered by a claim" in told) == (2, True)
    assert not (case / "answer").exists()
    code, told = command(case, "claim", *where[:-1], "9999", "--out", "@answer")
    assert (code, "not an operator of the model" in told) == (2, True)


def test_a_witness_of_another_node_or_model_is_refused() -> None:
    graph, data = convolution()
    nodes = [k for k, one in enumerate(graph.nodes) if not one.is_variable]
    models = honest_and_lying(graph, nodes[0], 0, 5)
    receipts = [run_with_receipt(model, data)[1] for model in models]
    later = dispute.make_witness(dispute.observe_node(models[0], data, nodes[1]))
    with pytest.raises(InputError, match=f"is of node {nodes[1]}; expected of node {nodes[0]}"):
        dispute.judge(later, *receipts)
    other, _ = convolution(20)
    model = honest_and_lying(other, nodes[0], 0, 5)[0]
    x = np.zeros(other.input_shape, np.int32)
    foreign = dispute.make_witness(dispute.observe_node(model, x, nodes[0]))
    with pytest.raises(InputError, match="shows another model"):
        dispute.judge(foreign, *receipts)
