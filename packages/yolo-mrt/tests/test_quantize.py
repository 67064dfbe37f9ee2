"""The command `quantize`, from a checkpoint to a model folder, through its public interface."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from mrt_samples import decibels_of, make_checkpoint

from yolo_core.arrays import Array
from yolo_core.graph import interpret
from yolo_core.graph.costs.gas import gas
from yolo_core.graph.proof.bounds import certify
from yolo_core.yolo.letterbox import Letterbox, read_image
from yolo_core.yolo.model_folder import read_model_folder
from yolo_mrt.calibrate.float_pass import FloatNet, measured
from yolo_mrt.calibrate.views import views, views_each
from yolo_mrt.cli import main
from yolo_mrt.command import stage_folder
from yolo_mrt.pictures import calibration_images
from yolo_mrt.report import Node, Report, page
from yolo_mrt.settings import STAGES, Settings
from yolo_mrt.stage_files import prepared
from yolo_mrt.stages import run


def quantize(checkpoint: Path, data: Path, out: Path, *more: str) -> Result:
    arguments = ["quantize", str(checkpoint), "--data", str(data), "--out", str(out), *more]
    if "--imgsz" not in more:
        arguments += ["--imgsz", "64"]
    return CliRunner().invoke(main, arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("symbol", "params", "ext")}


@pytest.fixture(scope="module")
def model(checkpoint: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "tiny_cvm"
    result = quantize(checkpoint, pictures, out)
    assert result.exit_code == 0, result.output
    return out


def test_model_is_what_a_deployer_expects(model: Path) -> None:
    folder = read_model_folder(model)
    graph, extension = folder.graph, folder.extension()
    assert graph.nodes[0].name == "data"
    assert graph.input_precision == 8
    assert graph.head_shapes == ((1, 3 * (64 + 16 + 4), 8),)
    assert extension.architecture.nc == 3
    assert extension.letterbox == "letterbox"
    assert certify(graph)
    assert gas(graph) > 0


def test_stage_files_have_their_names(model: Path) -> None:
    stages = model.with_name("tiny_cvm.stages")
    expected = (
        ".prepare.json .prepare.params .prepare.conf .mrt.calibrate.json .mrt.calibrate.params "
        ".mrt.calibrate.ext .calibrate.conf .mrt.quantize.json .mrt.quantize.params "
        ".mrt.quantize.ext .all.quantize.ext .quantize.conf"
    )
    for ending in expected.split():
        assert (stages / f"tiny{ending}").is_file(), ending
    assert len((stages / "tiny.mrt.quantize.ext").read_text().splitlines()) == 4
    assert len((stages / "tiny.all.quantize.ext").read_text().splitlines()) == 2
    sample = np.load(model / "data.npy")
    assert sample.dtype == np.int8
    assert sample.shape == (1, 3, 64, 64)


def test_integers_follow_the_float_network(model: Path, checkpoint: Path, pictures: Path) -> None:
    from yolo_core.yolo.predictor import open_predictor

    folder = read_model_folder(model)
    extension = folder.extension()
    float_model = open_predictor(checkpoint, (64, 64))
    for picture in sorted(pictures.iterdir()):
        canvas = Letterbox(64, 64).apply(read_image(picture))[0][None]
        codes = extension.quantize_input(canvas)
        integers = extension.dequantize(interpret.run(folder.graph, codes)[0])
        exact = float_model.logits(canvas).astype(np.float64)
        noise = ((integers - exact) ** 2).mean()
        assert 10 * np.log10((exact**2).mean() / noise) > 28


def test_second_run_repeats_no_stage_and_gives_the_same_bytes(
    model: Path, checkpoint: Path, pictures: Path
) -> None:
    before = contents(model)
    result = quantize(checkpoint, pictures, model)
    assert result.exit_code == 0
    for stage in STAGES:
        assert f"{stage}: unchanged" in result.output
    assert contents(model) == before
    (model / "ext").write_text("{}")
    result = quantize(checkpoint, pictures, model)
    assert "evaluate: unchanged" in result.output
    assert "compile: unchanged" not in result.output
    assert contents(model) == before


def test_a_harmed_stage_file_is_made_again(
    model: Path, checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    before = contents(model)
    out = tmp_path / "tiny_cvm"
    shutil.copytree(model.with_name("tiny_cvm.stages"), tmp_path / "tiny_cvm.stages")
    harmed = tmp_path / "tiny_cvm.stages" / "tiny.mrt.quantize.params"
    harmed.write_bytes(harmed.read_bytes()[:-9])
    result = quantize(checkpoint, pictures, out)
    assert "calibrate: unchanged" in result.output
    assert "quantize: unchanged" not in result.output
    assert contents(out) == before


def test_another_picture_calibrates_again(
    model: Path, checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    shutil.copytree(model.with_name("tiny_cvm.stages"), tmp_path / "tiny_cvm.stages")
    result = quantize(checkpoint, pictures, tmp_path / "tiny_cvm", "--num-calib", "2")
    assert "prepare: unchanged" in result.output
    assert "calibrate: unchanged" not in result.output


def test_a_stage_does_not_build_on_what_is_older_than_its_own_ground(
    model: Path, checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    shutil.copytree(model.with_name("tiny_cvm.stages"), tmp_path / "tiny_cvm.stages")
    out = tmp_path / "tiny_cvm"
    fewer = ("--num-calib", "2", "--stage")
    assert quantize(checkpoint, pictures, out, *fewer, "calibrate").exit_code == 0
    result = quantize(checkpoint, pictures, out, *fewer, "compile")
    assert result.exit_code == 2
    assert "tiny.quantize.conf: is older than the last calibrate" in result.output
    assert not out.exists()


def test_stages_run_one_by_one_and_name_what_is_missing(
    checkpoint: Path, pictures: Path, tmp_path: Path, model: Path
) -> None:
    out = tmp_path / "tiny_cvm"
    early = quantize(checkpoint, pictures, out, "--stage", "quantize")
    assert early.exit_code == 2
    assert "prepare" in early.output
    for stage in ("prepare", "calibrate", "quantize", "compile"):
        assert quantize(checkpoint, pictures, out, "--stage", stage).exit_code == 0
    assert contents(out) == contents(model)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_threads_change_no_byte(
    threads: str, model: Path, checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    out = tmp_path / "tiny_cvm"
    subprocess.run(
        [sys.executable, "-m", "yolo_mrt", "quantize", str(checkpoint), "--data", str(pictures),
         "--imgsz", "64", "--out", str(out)],
        check=True, env=environment, capture_output=True,
    )  # fmt: skip
    assert contents(out) == contents(model)


def test_a_recorded_scheme_reproduces_the_model(
    model: Path, checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    scheme = model.with_name("tiny_cvm.stages") / "tiny.mrt.calibrate.json"
    out = tmp_path / "again"
    assert quantize(checkpoint, pictures, out, "--scheme", str(scheme)).exit_code == 0
    assert contents(out) == contents(model)


def test_a_scheme_of_another_network_is_refused(
    model: Path, pictures: Path, tmp_path: Path
) -> None:
    scheme = model.with_name("tiny_cvm.stages") / "tiny.mrt.calibrate.json"
    damaged = tmp_path / "scheme.json"
    damaged.write_text(scheme.read_text().replace('"table": {', '"table": {"ghost": [0], '))
    other = make_checkpoint(tmp_path / "w" / "other")
    result = quantize(other, pictures, tmp_path / "out", "--scheme", str(damaged))
    assert result.exit_code == 2
    assert "another network" in result.output
    assert not (tmp_path / "out").exists()


def test_high_effort_reads_more_finely_within_the_limits(pictures: Path, tmp_path: Path) -> None:
    from yolo_core.files import read_json

    # With many classes the detection convolutions are too large to be read finely by default.
    stem = make_checkpoint(tmp_path / "w" / "tiny", nc=80)
    costs, fine = [], []
    for effort in ("normal", "high"):
        out = tmp_path / effort
        stages = [f"--stage={stage}" for stage in STAGES if stage != "evaluate"]
        result = quantize(stem, pictures, out, "--effort", effort, "--num-calib", "1", *stages)
        assert result.exit_code == 0, result.output
        costs.append(gas(read_model_folder(out).graph))
        fine.append(read_json(tmp_path / f"{effort}.stages" / "tiny.mrt.calibrate.json")["fine"])
    assert fine[0] != fine[1]
    for conv, sites in fine[0].items():
        assert set(sites) <= set(fine[1][conv])
    assert costs[0] < costs[1] < 1.15 * costs[0]


@pytest.mark.parametrize("activation", ["leaky", "relu"])
def test_other_activations_and_rectangles(activation: str, pictures: Path, tmp_path: Path) -> None:
    stem = make_checkpoint(tmp_path / "w" / "other", activation=activation, nc=1)
    result = quantize(
        stem, pictures, tmp_path / "out", "--imgsz", "32", "--imgsz", "96", "--stage", "prepare",
        "--stage", "calibrate", "--stage", "quantize", "--stage", "evaluate", "--stage", "compile",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    graph = read_model_folder(tmp_path / "out").graph
    assert graph.input_shape == (1, 3, 32, 96)
    assert graph.head_shapes == ((1, 3 * (48 + 12 + 3), 6),)
    decibels = decibels_of(tmp_path / "out")
    assert decibels > 14


def test_long_chains_of_shortcuts(pictures: Path, tmp_path: Path) -> None:
    """As deep as yolov5x: twelve additions in a row, whose declared precisions pile up."""
    from mrt_samples import random_parameters

    from yolo_core.mxnet.checkpoint import Checkpoint, write_checkpoint
    from yolo_core.yolo.architecture import Architecture

    architecture = Architecture("custom", 1.33, 0.0625, ("a",))
    parameters = random_parameters(architecture)
    write_checkpoint(tmp_path / "deep", Checkpoint(architecture, parameters, fused=True))
    out = tmp_path / "out"
    result = quantize(tmp_path / "deep", pictures, out, "--num-calib", "1", "--stage", "prepare",
                      "--stage", "calibrate", "--stage", "quantize", "--stage", "compile",
                      "--imgsz", "32")  # fmt: skip
    assert result.exit_code == 0, result.output
    graph = read_model_folder(out).graph
    assert sum(node.op == "elemwise_add" for node in graph.nodes) == 4 + 8 + 12 + 4
    assert certify(graph)


def test_report_tells_the_worst_node_first(model: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = CliRunner().invoke(main, ["report", str(model), "--images", "2", "--out", str(page),
                                       "--nodes"])  # fmt: skip
    assert result.exit_code == 0, result.output
    told, *lines = result.stdout.splitlines()
    assert told.startswith("This needs about ")  # before the work
    # click 8.1 has the lines of the bar among these.
    lines = [line for line in lines if not line.startswith("report [")]
    assert lines[0].startswith("node")
    rows = lines[1 : next(i for i, line in enumerate(lines) if line.startswith("Judged on"))]
    assert len(rows) > 100
    assert any(line.startswith("model.24.m.0 weights ") for line in rows)
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == len(rows)
    assert "http" not in text.replace("http-equiv", "")
    (style,) = re.findall("<style>(.*?)</style>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src &#39;none&#39;; style-src &#39;sha256-{digest}&#39;" in text
    assert "style=" not in text


def test_the_folder_one_works_in_has_stage_files_beside_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model)
    assert stage_folder(Path("."), None) == model.with_name(model.name + ".stages")
    assert stage_folder(Path(".."), None).parent == model.parent.parent
    refused = CliRunner().invoke(main, ["report", "/"])
    assert refused.exit_code == 2
    assert "is the root of the file system" in refused.output
    absent = CliRunner().invoke(main, ["report", "absent"])
    assert absent.output == (
        "Error: absent: does not exist; expected a model folder that quantize wrote\n"
    )


def test_hostile_names_stay_text_in_the_report() -> None:
    node = Node("<script>x", 8, (1, 2), (1, 1), 0.0, "a & b", ((0.1, 0.5), (0.2, 0.0)),
                snr_db=3.0, ap_lost=1.5, interval=(0.5, 2.5))  # fmt: skip
    nodes = [node, replace(node, ap_lost=-1.0, interval=(-2.0, 0.0))]
    text = page(Report(nodes, images=4, own=False, boxes=9), "</title><img>")
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;x" in text
    assert text.count('class="shade10"') == text.count('class="shade0"') == 1


def test_report_tells_what_a_threshold_clips(
    checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    from yolo_mrt.report import judge_nodes

    name = "model.3.conv"
    settings = Settings(
        checkpoint=checkpoint, images=calibration_images(pictures, 2), imgsz=(64, 64),
        work=tmp_path / "stages" / "tiny", out=tmp_path / "out",
    )  # fmt: skip
    run(settings, ("prepare",))
    # The tensors share their tables, so all of them have to ask for so low a threshold.
    settings = replace(settings, thresholds=dict.fromkeys(measured(prepared(settings).net), 0.25))
    run(settings, ("calibrate", "quantize"))
    node = next(node for node in judge_nodes(settings, 1).nodes if node.name == name)
    seen: list[Array] = []
    net = FloatNet(prepared(settings).net)
    for image in settings.images:
        for view in views(read_image(image), Letterbox(64, 64), views_each(2)):
            plane = view.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
            net.run(
                plane, lambda site, value: seen.append(value.asnumpy()) if site == name else None
            )
    share = np.mean([(values > node.threshold[1]).mean() for values in seen])
    assert share > 0.01
    assert node.clipped == pytest.approx(share, rel=0.3)


def test_the_input_size_is_the_one_that_was_trained_at(tmp_path: Path, pictures: Path) -> None:
    stem = make_checkpoint(tmp_path / "runs" / "exp" / "weights" / "best")
    sidecar = stem.with_name("best.yaml")
    sidecar.write_text(
        sidecar.read_text("utf-8").replace("meta: {}", "meta: {imgsz: 96, map50: 0.0003}"), "utf-8"
    )
    arguments = ["quantize", str(tmp_path / "runs" / "exp"), "--data", str(pictures), "--out"]
    result = CliRunner().invoke(main, [*arguments, str(tmp_path / "own")])
    assert result.exit_code == 0, result.output
    assert read_model_folder(tmp_path / "own").graph.input_shape == (1, 3, 96, 96)
    assert f"yolo-cvm detect {tmp_path / 'own'}" in result.output
    other = CliRunner().invoke(main, [*arguments, str(tmp_path / "other"), "--imgsz", "64"])
    assert "best was trained at 96x96" in other.output
    told = f"{tmp_path / 'runs' / 'exp'} reached mAP@0.5 0.0003 in its training: it finds next to"
    assert told in result.output
    sidecar.write_text(sidecar.read_text("utf-8").replace("0.0003", "0.5"), "utf-8")
    good = CliRunner().invoke(main, [*arguments, str(tmp_path / "good"), "--stage", "prepare"])
    assert good.exit_code == 0, good.output
    assert "next to nothing" not in good.output


def test_weights_of_pytorch_are_answered_with_the_command_that_converts_them(
    tmp_path: Path, pictures: Path
) -> None:
    result = quantize(tmp_path / "yolov5n.pt", pictures, tmp_path / "out")
    assert result.exit_code == 2
    assert f"yolo-port convert {tmp_path / 'yolov5n.pt'} --out weights/" in result.output
