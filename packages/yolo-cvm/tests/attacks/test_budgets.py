"""What a user grants: every command that loads or runs a model keeps to it."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from cvm_samples import write_model

import yolo_cvm
from yolo_core.arrays import Array
from yolo_core.budget import Budget, grant, granted
from yolo_core.command import BAD_INPUT, LATE
from yolo_core.graph import GraphBuilder, LogicError
from yolo_core.yolo.letterbox import opencv
from yolo_cvm.cli import main

OPTIONS = {"max_gas", "max_memory", "max_steps", "max_seconds"}
#: Commands that load no model; `judge` runs one operator, so that it takes the time alone.
WITHOUT = {"bisect", "serve", "node"}
COMMANDS = [
    "inspect {m}", "inspect {m} --engine", "inspect {m} --plan", "certify {m}", "gas {m}",
    "run {m} --input {m}/input.npy", "verify {m}/r.json {m} --input {m}/input.npy",
    "bundle {m} --out {m}/b", "bundle --check {m}/made", "model-meta {m}",
    "claim {m} --input {m}/input.npy --node 3 --out {m}/c",
    "witness {m} --input {m}/input.npy --node 3 --out {m}/w", "detect {m} {m}/p.png",
    "encode {m} {m}/p.png --out {m}/e", "decode {m} {m}/input.npy", "contract {m} --out {m}/c",
    "plan {m} --out {m}/pl",
]  # fmt: skip


@pytest.mark.parametrize("limit", ["--max-gas 1", "--max-memory 1", "--max-steps 1"])
def test_no_command_loads_a_model_beyond_the_budget(limit: str, model_folder: Path) -> None:
    opencv().imwrite(str(model_folder / "p.png"), np.zeros((8, 8, 3), np.uint8))
    for prepare in ("run {m} --input {m}/input.npy --receipt {m}/r.json",
                    "bundle {m} --out {m}/made"):  # fmt: skip
        done = CliRunner().invoke(main, prepare.format(m=model_folder).split())
        assert done.exit_code == 0, done.output
    for command in COMMANDS:
        done = CliRunner().invoke(main, f"{command.format(m=model_folder)} {limit}".split())
        assert done.exit_code == BAD_INPUT, (command, done.output)
        last = done.output.strip().splitlines()[-1]
        assert "at most 1" in last, (command, last)


def test_every_command_but_those_without_a_model_takes_the_options() -> None:
    for name, command in main.commands.items():
        taken = {parameter.name for parameter in command.params} & OPTIONS
        expected = set() if name in WITHOUT else {"max_seconds"} if name == "judge" else OPTIONS
        assert taken == expected, name


@pytest.mark.parametrize("engine", ["reference"])
def test_the_deadline_is_seen_within_one_operator(engine: str, tmp_path: Path) -> None:
    """Suppression over so many rows would take many minutes."""
    b = GraphBuilder()
    x = b.input("data", (1, 1, 6), 8)
    rows = b.operator("repeat", [x], repeats=100_000, axis=1)
    counts = b.parameter("counts", np.array([100_000]), 18)
    out = b.operator("non_max_suppression", [rows, counts], iou_threshold=100, force_suppress=False)
    folder = write_model(tmp_path / "m", b.build([out]))
    np.save(folder / "x.npy", np.array([[[0, 1, 0, 0, 0, 0]]], np.int8))
    run = ["run", str(folder), "--input", str(folder / "x.npy"), "--engine", engine]
    late = CliRunner().invoke(main, [*run, "--max-seconds", "0.5"])
    assert late.exit_code == LATE, late.output
    assert len(late.output.strip().splitlines()) == 1


def test_a_budget_is_granted_for_one_command_alone(model_folder: Path) -> None:
    with grant(Budget(steps=1)), pytest.raises(LogicError, match="steps"):
        yolo_cvm.load(model_folder)
    assert granted() == Budget()
    assert isinstance(main, click.Group)
    yolo_cvm.load(model_folder)


@pytest.mark.parametrize(
    ("values", "clamped", "found"),
    [
        (np.array([2**64 - 5, 2**63, 128, 127], np.uint64), 3, "127..127"),
        (np.array([-(2**63), 2**63 - 1, -127, 0], np.int64), 2, "-127..127"),
        (np.array([200, 0, 0, 0], np.uint8), 1, "0..127"),
        (np.array([-128, 0, 1, 2], np.int8), 1, "-127..2"),
        (np.array([-127, 127, 1, 2], ">i4"), 0, "-127..127"),
    ],
)
def test_values_beyond_the_input_are_clamped_and_told(
    values: Array, clamped: int, found: str, tmp_path: Path
) -> None:
    b = GraphBuilder()
    x = b.input("data", (4,), 8)
    folder = write_model(tmp_path / "m", b.build([b.operator("clip", [x], a_min=-127, a_max=127)]))
    np.save(folder / "x.npy", values)
    done = CliRunner().invoke(main, ["run", str(folder), "--input", str(folder / "x.npy")])
    assert done.exit_code == 0, done.output
    head, *notes = done.output.strip().splitlines()
    assert found in head
    expected = f"note: {clamped} values of the input were clamped to -127..127"
    assert [line for line in notes if line.startswith("note")] == [expected] * bool(clamped)
