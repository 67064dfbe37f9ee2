"""Names that write on the terminal: every command shows them escaped, on one line, cut."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from cvm_samples import write_model

from yolo_core.graph import GraphBuilder
from yolo_core.words import shown
from yolo_cvm.cli import main

PROVEN = "proven: no value can leave its precision; the widest needs 3 of 32 bits"
NAMES = [
    f"a\n  99  conv2d  invented  1x64  8  -127..127  1,234\n\n{PROVEN}\n",
    "visible\rOVERWRITTEN", "\x9b2J\x9b1;1Hcleared", "\x9d0;title\x9c", "safe\u202etxe.exe",
    "\u2066isolated\u2028line\u2029paragraph", "zero\u200bwidth\ufeff", "\x85next",
    "x" * 40_000,
]  # fmt: skip


def hostile_model(folder: Path) -> Path:
    """A chain of clips whose names are those above."""
    b = GraphBuilder()
    at = b.input("data", (1,), 8)
    for _ in NAMES:
        at = b.operator("clip", [at], a_min=-5, a_max=5)
    write_model(folder, b.build([at]))
    document = json.loads((folder / "symbol").read_bytes())
    operators = [node for node in document["nodes"] if node["op"] != "null"]
    for node, name in zip(operators, NAMES):
        node["name"] = name
    raw = json.dumps(document, ensure_ascii=False)
    (folder / "symbol").write_bytes(raw.encode("utf-8"))
    np.save(folder / "x.npy", np.zeros(1, np.int8))
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "inspect {m}", "inspect {m} --nodes", "inspect {m} --engine", "certify {m}",
        "certify {m} --nodes", "gas {m}",
        "run {m} --input {m}/x.npy --receipt {m}/r.json",
        "verify {m}/r.json {m} --input {m}/x.npy", "bisect {m}/r.json {m}/r.json",
        "bundle {m} --out {m}/b", "model-meta {m}", "detect {m} {m}/x.npy", "conform {m}",
    ],
)  # fmt: skip
def test_no_command_lets_a_name_write_a_line(command: str, tmp_path: Path) -> None:
    model = hostile_model(tmp_path / "m")
    run = ["run", str(model), "--input", str(model / "x.npy"), "--receipt", str(model / "r.json")]
    assert CliRunner().invoke(main, run).exit_code == 0
    done = CliRunner().invoke(main, command.format(m=model).split())
    assert done.exit_code in (0, 2), done.output
    assert all(line.isprintable() for line in done.output.split("\n"))
    assert max(map(len, done.output.split("\n"))) < 1200
    invented = [line for line in done.output.split("\n") if line.startswith("  99")]
    assert not invented
    assert sum(line.startswith("proven:") for line in done.output.split("\n")) <= 1


def test_the_first_node_that_differs_is_named_on_one_line(tmp_path: Path) -> None:
    model = hostile_model(tmp_path / "m")
    table = CliRunner().invoke(main, ["inspect", str(model), "--nodes"]).output
    assert shown(NAMES[1]) in table
    assert len([line for line in table.split("\n") if " clip " in line]) == len(NAMES)
