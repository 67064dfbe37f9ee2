"""The command line: what it prints, its exit codes, and that it leaves no half files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from port_samples import random_checkpoint, state_dict, write_original, write_pt

from yolo_core.mxnet.checkpoint import read_checkpoint, write_checkpoint


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_pt(tmp_path / "tiny.pt", state_dict(random_checkpoint()))


def test_convert_prints_the_model_and_its_files(
    run: Callable[..., Result], source: Path, tmp_path: Path
) -> None:
    result = run("convert", source, "--out", tmp_path / "w")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[:7] == [
        "yolov5n, 3 classes, with batch normalisation, rgb",
        "assumed: activation silu (--activation says another)",
        "assumed: epsilon 0.001 of batch normalisation",
        "assumed: class names class0, class1, class2 (--names DATA.yaml says others)",
        *(str(tmp_path / "w" / f"tiny{end}") for end in ("-symbol.json", "-0000.params", ".yaml")),
    ]
    stem = tmp_path / "w" / "tiny"
    assert f"yolo-mrt quantize {stem} --data PICTURES" in result.output
    assert lines[-1].strip() == f"yolo-train fit --weights {stem} --data DATA.yaml"
    assert not read_checkpoint(stem).fused


def test_fuse_folds_batch_normalisation_and_no_fuse_keeps_it(
    run: Callable[..., Result], source: Path, tmp_path: Path
) -> None:
    result = run("convert", source, "--out", tmp_path / "w", "--fuse")
    assert result.output.startswith("yolov5n, 3 classes, fused, rgb")
    assert "yolo-train fit" not in result.output  # which cannot train it
    assert read_checkpoint(tmp_path / "w" / "tiny").fused
    again = run("convert", tmp_path / "w" / "tiny", "--out", tmp_path / "x", "--no-fuse")
    assert again.exit_code == 2
    assert "fused already" in again.stderr
    assert run("convert", tmp_path / "w" / "tiny", "--out", tmp_path / "x").exit_code == 0


def test_to_picks_the_format(run: Callable[..., Result], source: Path, tmp_path: Path) -> None:
    result = run("convert", source, "--out", tmp_path / "w", "--to", "safetensors")
    assert result.exit_code == 0
    assert [file.name for file in (tmp_path / "w").iterdir()] == ["tiny.safetensors"]


@pytest.mark.parametrize("command", ["convert", "inspect", "verify"])
@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_bad_files_are_one_line_and_exit_code_2(
    run: Callable[..., Result], tmp_path: Path, command: str, content: bytes | None
) -> None:
    path = tmp_path / "bad.pt"
    if content is not None:
        path.write_bytes(content)
    out = {"convert": ("--out", tmp_path / "w"), "verify": (path,), "inspect": ()}[command]
    result = run(command, path, *out)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("Error: ")
    assert "bad.pt" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "w").exists()


def test_control_characters_of_a_hostile_file_do_not_reach_the_terminal(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    values = {"\x1b[31m\nmodel.0.conv.weight": state_dict(random_checkpoint())["model.24.m.0.bias"]}
    path = write_pt(tmp_path / "m.pt", {**state_dict(random_checkpoint()), **values})
    result = run("inspect", path)
    assert result.exit_code == 2
    assert "\x1b" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_output_that_cannot_be_written_is_refused(
    run: Callable[..., Result], source: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = run("convert", source, "--out", tmp_path / "file")
    assert result.exit_code == 2
    assert "file" in result.stderr


def test_inspect_says_what_a_file_holds(run: Callable[..., Result], source: Path) -> None:
    result = run("inspect", source)
    lines = dict(line.split(None, 1) for line in result.output.splitlines())
    assert result.exit_code == 0
    assert lines["form"] == "PyTorch state dict"
    assert lines["model"].startswith("yolov5n, 60 convolutions, ")
    assert lines["stored"] == "float32, batch normalisation kept (epsilon 0.001)"
    assert lines["input"] == "RGB, 0 to 1"
    assert lines["classes"] == "3: class0, class1, class2"
    assert lines["anchors"].startswith("10,13 16,30 33,23 | ")
    assert lines["assumed"].startswith("activation silu")
    assert "class names class0" in lines["assumed"]


def test_inspect_recognises_the_original_port(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("inspect", write_original(tmp_path / "seed", random_checkpoint()))
    assert "checkpoint of the original MXNet port" in result.output
    assert "BGR, 0 to 1" in result.output
    assert "epsilon 1e-05" in result.output


def test_verify_passes_for_what_convert_made(
    run: Callable[..., Result], source: Path, tmp_path: Path
) -> None:
    run("convert", source, "--out", tmp_path / "w")
    result = run("verify", source, tmp_path / "w" / "tiny", "--imgsz", 64)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[-3].startswith("same: heads differ by at most ")
    assert lines[-1].startswith("Next: yolo-mrt quantize ")
    assert [line.split(":")[1].split()[0] for line in lines[:3]] == [
        "activation",
        "epsilon",
        "class",
    ]
    names = [line.split()[0] for line in lines[4:-3]]
    assert names[0] == "model.0"
    assert names[-3:] == ["p3", "p4", "p5"]


def test_verify_finds_one_changed_weight_and_the_layer_it_is_in(
    run: Callable[..., Result], source: Path, tmp_path: Path
) -> None:
    checkpoint = random_checkpoint()
    checkpoint.parameters["model.13.cv3.conv.weight"][5, 5] += 1
    write_checkpoint(tmp_path / "changed", checkpoint)
    result = run("verify", source, tmp_path / "changed", "--imgsz", 64)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].startswith("DIFFERENT: ")
    rows = {line.split()[0]: float(line.split()[2]) for line in result.stdout.splitlines()[4:-1]}
    first = next(name for name, difference in rows.items() if difference > 1e-3)
    assert first == "model.13"


def test_verify_allows_what_single_precision_costs_the_source(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    """Large values that nearly cancel: float32 loses more of them than of any usual network."""
    checkpoint = random_checkpoint()
    for reader in ("model.18.conv.weight", "model.24.m.0.weight"):
        weight = checkpoint.parameters[reader]
        weight -= weight.mean(1, keepdims=True)
    weight *= 100
    checkpoint.parameters["model.17.cv3.bn.beta"] += np.float32(3e3)
    write_checkpoint(tmp_path / "large", checkpoint)
    for change, code in ((0, 0), (1, 1)):
        weight[0, 0] += change / 10
        write_checkpoint(tmp_path / "changed", checkpoint)
        result = run("verify", tmp_path / "large", tmp_path / "changed", "--imgsz", 64, "--json")
        found = json.loads(result.stdout)["result"]
        share = 5e-5 * max(row["magnitude"] for row in found["layers"] if row["kind"] == "head")
        assert (found["largest"] > share, result.exit_code) == (True, code), found["allowed"]


def test_verify_sees_swapped_colours(
    run: Callable[..., Result], source: Path, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "bgr", random_checkpoint(color="bgr"))
    result = run("verify", source, tmp_path / "bgr", "--imgsz", 64)
    assert result.exit_code == 1


def test_verify_on_given_pictures(run: Callable[..., Result], source: Path, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.full((50, 80, 3), 200, np.uint8))
    run("convert", source, "--out", tmp_path / "w")
    arguments = ("verify", source, tmp_path / "w" / "tiny", "--imgsz", 64, "--image")
    assert "on 1 image (" in run(*arguments, tmp_path / "a.png").stdout
    (tmp_path / "b.png").write_bytes(b"no picture")
    result = run(*arguments, tmp_path / "b.png")
    assert result.exit_code == 2
    assert "b.png" in result.stderr


def test_verify_refuses_models_that_differ(
    run: Callable[..., Result], source: Path, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "other", random_checkpoint(nc=2))
    result = run("verify", source, tmp_path / "other")
    assert result.exit_code == 2
    assert "other names" in result.stderr
    result = run("verify", source, source, "--imgsz", 0)
    assert result.exit_code == 2
    assert "--imgsz" in result.stderr


def test_what_the_user_says_is_not_assumed(
    run: Callable[..., Result], source: Path, tmp_path: Path
) -> None:
    (tmp_path / "data.yaml").write_text("names: [a, b, c]\n")
    words = ("--activation", "nn.Hardswish()", "--names", tmp_path / "data.yaml")
    result = run("convert", source, "--out", tmp_path / "w", *words)
    assert result.output.count("assumed") == 1
    assert "assumed: epsilon 0.001 of batch normalisation" in result.output
    found = read_checkpoint(tmp_path / "w" / "tiny").architecture
    assert (found.names, found.activation) == (("a", "b", "c"), "hardswish")
    assert run("verify", source, tmp_path / "w" / "tiny", "--imgsz", 64).exit_code == 2
    result = run("verify", source, tmp_path / "w" / "tiny", "--imgsz", 64, *words)
    assert result.exit_code == 0
    assert result.output.count("assumed") == 1
    assert "not compared: epsilon 0.001" in result.output
    assert run("convert", source, "--out", tmp_path / "w", "--activation", "tanh").exit_code == 2


def test_neither_torch_nor_pickle_is_imported(source: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from yolo_port.cli import main\n"
        "assert 'mxnet' not in sys.modules and 'numpy' not in sys.modules, 'slow --help'\n"
        "from yolo_port.readers import load\n"
        f"load({str(source)!r})\n"
        "assert 'torch' not in sys.modules and 'mxnet' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
