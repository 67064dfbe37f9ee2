"""Inputs that ought to break it: a valid model, or one clear line and exit code 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from mrt_samples import decibels_of, make_checkpoint
from test_quantize import quantize

from yolo_core.arrays import Array
from yolo_core.graph.proof.bounds import certify
from yolo_core.yolo.model_folder import read_model_folder
from yolo_mrt.cli import main

FIRST, LATER = "model.1.conv.weight", "model.4.cv1.conv.weight"


def refuse(result: object, *words: str) -> None:
    assert result.exit_code == 2, result.output  # type: ignore[attr-defined]
    lines = result.output.strip().splitlines()  # type: ignore[attr-defined]
    errors = [line for line in lines if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "Traceback" not in result.output  # type: ignore[attr-defined]
    for word in words:
        assert word in errors[0], errors[0]


def test_empty_folder(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refuse(quantize(checkpoint, tmp_path / "empty", tmp_path / "out"), "empty", "image")
    assert not (tmp_path / "out").exists()


def test_one_unreadable_image_among_good_ones(
    checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for picture in pictures.iterdir():
        (folder / picture.name).write_bytes(picture.read_bytes())
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    refuse(quantize(checkpoint, folder, tmp_path / "out", "--strict"), "broken.jpg")
    assert not (tmp_path / "out").exists()
    result = quantize(checkpoint, folder, tmp_path / "out", "--stage", "prepare")
    assert result.exit_code == 0, result.output
    assert "left out: " in result.output
    assert "broken.jpg" in result.output


def test_missing_checkpoint(pictures: Path, tmp_path: Path) -> None:
    refuse(quantize(tmp_path / "nothing", pictures, tmp_path / "out"), "nothing")


@pytest.mark.parametrize("name", ["nothing", ".", "..", "text"])
def test_a_refused_checkpoint_leaves_nothing_behind(
    name: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text-symbol.json").write_text("{}")
    (tmp_path / "text-0000.params").write_text("")
    (tmp_path / "work").mkdir()
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    refuse(quantize(Path(name), pictures, Path("work") / "out"))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("size", ["8200", "0", "-32"])
def test_wrong_imgsz(size: str, checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    refuse(quantize(checkpoint, pictures, tmp_path / "out", "--imgsz", size), "--imgsz", "32")


def test_wrong_num_calib(checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    refuse(quantize(checkpoint, pictures, tmp_path / "out", "--num-calib", "0"), "num-calib")


def test_unknown_stage(checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    refuse(quantize(checkpoint, pictures, tmp_path / "out", "--stage", "cook"), "cook")


def test_out_is_a_file(checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    refuse(quantize(checkpoint, pictures, tmp_path / "out"), "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_weights_with_nan(checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    from yolo_core.mxnet.params import encode_params, read_params

    for ending in ("-symbol.json", ".yaml"):
        (tmp_path / f"bad{ending}").write_bytes(Path(f"{checkpoint}{ending}").read_bytes())
    arrays = {n: a.copy() for n, a in read_params(f"{checkpoint}-0000.params").items()}
    arrays[f"arg:{FIRST}"][0, 0, 0, 0] = np.nan
    (tmp_path / "bad-0000.params").write_bytes(encode_params(arrays))
    refuse(quantize(tmp_path / "bad", pictures, tmp_path / "out"), FIRST, "finite")


def _dead_channel(p: dict[str, Array]) -> None:
    p[FIRST][1] = 0
    p[LATER][0] = 0
    p[LATER.replace("weight", "bias")][0] = 0


def _giant_channel(p: dict[str, Array]) -> None:
    p[FIRST][2] *= 1e4


def _constant_activation(p: dict[str, Array]) -> None:
    p[FIRST][:] = 0
    p[FIRST.replace("weight", "bias")][:] = 1.5


def _silent_layer(p: dict[str, Array]) -> None:
    p[LATER][:] = 0
    p[LATER.replace("weight", "bias")][:] = -50


@pytest.mark.parametrize(
    "change", [_dead_channel, _giant_channel, _constant_activation, _silent_layer]
)
def test_strange_weights_still_make_a_valid_model(
    change: object, pictures: Path, tmp_path: Path
) -> None:
    stem = make_checkpoint(tmp_path / "w" / "odd", change)  # type: ignore[arg-type]
    result = quantize(stem, pictures, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert certify(read_model_folder(tmp_path / "out").graph)
    decibels = decibels_of(tmp_path / "out")
    # Activations of 10^4 drive the logits far out of the output's range of 32, which saturates.
    assert decibels > (3 if change is _giant_channel else 18)


@pytest.mark.parametrize("text", ["[]", '{"model.0.conv": {}}', '{"a": {"shift": 1e999}}', "7"])
def test_stage_files_that_somebody_made_up(
    text: str, checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = quantize(checkpoint, pictures, out)
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "out.stages").glob("*.mrt.quantize.json")
    path.write_text(text)
    refuse(CliRunner().invoke(main, ["report", str(out)]), "damaged", "what quantize wrote")
