"""The commands `bundle` and `model-meta`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from yolo_core.yolo.coco import COCO_NAMES
from yolo_cvm.bundle import unstated
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
    *passed, _, following = checked.output.splitlines()
    assert [line.split()[:2] for line in passed] == [
        ["ok", name] for name in ("manifest", "files", "model", "figures", "self-test")
    ]
    out = tmp_path / "out"
    assert following == f"Next: yolo-cvm run {out} --input INPUT --receipt r.json"


def test_check_names_the_damage_in_one_line(bundle: Path, home: Path) -> None:
    data = bytearray((home / "data" / "symbol").read_bytes())
    data[0] ^= 1
    (home / "data" / "symbol").write_bytes(data)
    result = run(bundle_command, "--check", bundle)
    assert result.exit_code == 2
    last = result.output.splitlines()[-1]
    assert last.startswith(f"Error: {home / 'data' / 'symbol'}: ")


def manifest_in(output: str) -> Any:
    """The JSON in what a command printed on both streams."""
    return json.loads(output[output.index("{") : output.rindex("}") + 1])


def test_json_is_the_manifest(model: Path, tmp_path: Path) -> None:
    result = run(bundle_command, model, "--out", tmp_path / "out", "--json")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {**manifest_in(result.output), "sha256": manifest["sha256"]} == manifest


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
    assert manifest_in(result.output)["choices"]["creation_date"] == 77


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
    record = json.loads(run(model_meta, model, "--json", "--royalty", 7).stdout)
    assert record["creation"]["royalty"] == 7
    assert "stored_input" not in record


def test_the_card_tells_what_the_publisher_states_of_the_weights(
    model: Path, tmp_path: Path
) -> None:
    out, said = tmp_path / "out", ("--licence", "AGPL-3.0", "--origin", "yolov5n.pt | *v7.0*")
    told = run(bundle_command, model, "--out", out, *said)
    assert "Warning" not in told.output
    card = (out / "MODEL_CARD.md").read_text()
    assert "| licence of the weights | AGPL-3.0 |" in card
    assert "yolov5n.pt \\| \\*v7.0\\*" in card
    assert "quantized with" not in card
    assert run(bundle_command, "--check", out).exit_code == 0
    silent = run(bundle_command, model, "--out", tmp_path / "silent")
    assert (
        "does not tell licence and origin of the weights (--licence and --origin)" in silent.output
    )
    assert "## Weights" not in (tmp_path / "silent" / "MODEL_CARD.md").read_text()
    long = run(bundle_command, model, "--out", tmp_path / "long", "--licence", "x" * 501)
    assert (long.exit_code, (tmp_path / "long").exists()) == (2, False)


def test_the_licence_of_stock_weights_is_told() -> None:
    names = {"detection": {"architecture": {"names": list(COCO_NAMES)}}}
    told = unstated({"choices": {}, "extension": names})
    assert told is not None
    assert "stock weights of YOLOv5 are under AGPL-3.0" in told
    named = unstated({"choices": {"licence": "MIT"}, "extension": names})
    assert named == "the card does not tell origin of the weights (--origin)"
