"""The commands `bundle` and `model-meta`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from yolo_cvm.bundle.command import bundle as bundle_command
from yolo_cvm.bundle.command import model_meta


def run(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_bundle_then_check(model: Path, tmp_path: Path) -> None:
    made = run(bundle_command, model, "--out", tmp_path / "out", "--comment", "hello")
    assert made.exit_code == 0, made.output
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["info_hash"] in made.output
    assert manifest["creation"]["payload"] in made.output
    assert manifest["stored_input"]["payload"] in made.output
    checked = run(bundle_command, "--check", tmp_path / "out")
    assert checked.exit_code == 0, checked.output
    assert [line.split()[:2] for line in checked.output.splitlines()] == [
        ["ok", name] for name in ("manifest", "files", "model", "figures", "self-test")
    ]


def test_check_names_the_damage_in_one_line(bundle: Path, home: Path) -> None:
    data = bytearray((home / "data" / "symbol").read_bytes())
    data[0] ^= 1
    (home / "data" / "symbol").write_bytes(data)
    result = run(bundle_command, "--check", bundle)
    assert result.exit_code == 2
    last = result.output.splitlines()[-1]
    assert last.startswith(f"Error: {home / 'data' / 'symbol'}: ")


def test_json_is_the_manifest(model: Path, tmp_path: Path) -> None:
    result = run(bundle_command, model, "--out", tmp_path / "out", "--json")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {**json.loads(result.output), "sha256": manifest["sha256"]} == manifest


def test_royalty_above_the_limit_is_refused(model: Path, tmp_path: Path) -> None:
    result = run(bundle_command, model, "--out", tmp_path / "out", "--royalty", 20_001)
    assert result.exit_code == 2
    assert "refuses every call" in result.output
    assert not (tmp_path / "out").exists()


def test_creation_date_without_a_value(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "77")
    result = run(bundle_command, model, "--creation-date", "--out", tmp_path / "out", "--json")
    assert json.loads(result.output)["choices"]["creation_date"] == 77


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["model"],
        ["model", "--out", "out", "--check", "out"],
        ["--check", "nowhere"],
        ["nowhere", "--out", "out"],
        ["nowhere", "--out", "out", "--author", "0x12"],
        ["nowhere", "--out", "out", "--creation-date", "never"],
        ["nowhere", "--out", "out", "--metrics", "nowhere.json"],
        ["nowhere", "--out", "out", "--tracker", "tcp://x"],
    ],
    ids=" ".join,
)
def test_bad_usage(arguments: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(bundle_command, *arguments)
    assert result.exit_code == 2
    assert "Error: " in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_model_meta(model: Path, bundle: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 32, 32), np.int8))
    result = run(model_meta, model, "--comment", "small", "--input", tmp_path / "x.npy")
    assert result.exit_code == 0, result.output
    assert manifest["creation"]["payload"] in result.output
    assert "input payload 0x0002" in result.output
    record = json.loads(run(model_meta, model, "--json", "--royalty", 7).output)
    assert record["creation"]["royalty"] == 7
    assert "stored_input" not in record
