"""Models whose graph decides: found by entry point, run, shown, proven, and never overclaimed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from cvm_samples import deciding_detector, some_input, write_detector, write_model
from PIL import Image

from yolo_core import Model
from yolo_core.errors import InputError
from yolo_core.graph import GraphBuilder, interpret
from yolo_core.yolo.boxes import NmsSettings
from yolo_core.yolo.predictor import decision_of, detect, open_predictor, settle
from yolo_cvm.cli import main
from yolo_cvm.predictor import IntegerPredictor


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("boxes") / "model", *deciding_detector())


def picture(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)


def test_the_graph_finds_what_the_host_finds_in_its_rows(model: Path) -> None:
    predictor = open_predictor(model)
    assert isinstance(predictor, IntegerPredictor)
    settings = decision_of(predictor)
    assert settings == NmsSettings(0.25, 0.45, 20, multi_label=False)
    found = predictor.detections(picture(), settings)[0]
    rows = predictor.undecided()
    assert (rows.decided, rows.digest) == (None, predictor.digest)
    host = rows.detections(picture(), settings)[0]
    assert len(found) == len(host) == 20
    assert np.abs(found - host).max() < 0.05
    assert predictor.logits(picture()).shape == (1, 63, 7)


def test_less_can_be_asked_for_and_nothing_else(model: Path) -> None:
    predictor = open_predictor(model)
    usual = NmsSettings.for_display()
    own = settle(predictor, usual)
    some = settle(predictor, usual, conf=0.5, max_det=3)
    assert isinstance(predictor, IntegerPredictor)
    every, few = (predictor.detections(picture(), s)[0] for s in (own, some))
    assert (few == every[every[:, 4] > 0.5][:3]).all()
    for wish in ({"conf": 0.1}, {"iou": 0.5}, {"max_det": 21}):
        with pytest.raises(InputError, match="graph decides by"):
            settle(predictor, usual, **wish)
    with pytest.raises(InputError, match="multi-label"):
        detect(predictor, picture()[0], NmsSettings(0.25, 0.45, 20))


@pytest.mark.parametrize("kind", ["random", "white", "black"])
def test_engines_agree(model: Path, kind: str) -> None:
    graph, _ = deciding_detector()
    data = some_input(graph) if kind == "random" else np.full(graph.input_shape, 127, np.int8)
    data = -data if kind == "black" else data
    predictor = open_predictor(model)
    assert isinstance(predictor, IntegerPredictor)
    expected = interpret.run(graph, data.astype(np.int32))[0]
    assert (predictor.model.run(data)[0] == expected).all()


def test_detect_shows_the_boxes_of_the_graph(model: Path, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "p.png"), picture()[0])
    words = ["detect", str(model), str(tmp_path / "p.png"), "--json"]
    found = json.loads(CliRunner().invoke(main, words).output)[0]["detections"]
    assert len(found) == 20
    few = json.loads(CliRunner().invoke(main, [*words, "--max-det", "2"]).output)[0]["detections"]
    assert few == found[:2]
    refused = CliRunner().invoke(main, [*words, "--iou", "0.7"])
    assert refused.exit_code == 2
    assert refused.output.count("\n") == 1


def test_a_receipt_of_boxes_is_verified(model: Path, tmp_path: Path) -> None:
    graph, _ = deciding_detector()
    np.save(tmp_path / "x.npy", some_input(graph))
    words = ["run", str(model), "--input", str(tmp_path / "x.npy")]
    made = CliRunner().invoke(main, [*words, "--receipt", str(tmp_path / "r.json")])
    assert made.exit_code == 0, made.output
    words = ["verify", str(tmp_path / "r.json"), str(model), "--input", str(tmp_path / "x.npy")]
    for engine in ("reference", "compiled"):
        assert CliRunner().invoke(main, [*words, "--engine", engine]).output.startswith("verified")


def test_a_false_claim_is_one_line(model: Path, tmp_path: Path) -> None:
    graph, extension = deciding_detector()
    folder = write_detector(tmp_path / "model", graph, extension)
    record = json.loads((folder / "ext").read_text())
    record["detection"]["boxes"]["iou"] = 50
    (folder / "ext").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"ext: claims boxes .*non_max_suppression"):
        open_predictor(folder)


def test_a_bundle_of_boxes_says_what_a_call_takes(model: Path, tmp_path: Path) -> None:
    words = ["bundle", str(model), "--out", str(tmp_path / "bundle")]
    made = CliRunner().invoke(main, words)
    assert "A call fits: receiving 480 bytes takes 45 gas of memory" in made.output
    gas = json.loads((tmp_path / "bundle" / "manifest.json").read_text())["gas"]
    assert (gas["output_bytes"], gas["input_bytes"], gas["fits_transaction"]) == (480, 3072, True)
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    assert "columns class, score, x1, y1, x2, y2" in card
    checked = CliRunner().invoke(main, ["bundle", "--check", str(tmp_path / "bundle")])
    assert checked.exit_code == 0, checked.output
    found = open_predictor(tmp_path / "bundle")
    assert decision_of(found) is not None


def test_rows_that_no_contract_can_receive_are_told(tmp_path: Path) -> None:
    b = GraphBuilder()
    picture = b.operator("reshape", [b.input("data", (1, 3, 8, 8), 16)], shape=(1, 192))
    many = b.operator("tile", [picture], reps=(4096, 1))
    write_model(tmp_path / "model", b.build([many]))
    told = CliRunner().invoke(main, ["model-meta", str(tmp_path / "model")]).output
    assert "No contract can call this model: receiving 3,145,728 bytes" in told
    assert "yolo-mrt boxes MODEL" in told


def test_a_model_that_decides_from_a_low_score_shows_the_usual_boxes(tmp_path: Path) -> None:
    model = write_detector(tmp_path / "model", *deciding_detector(max_det=60, conf=0.001))
    Image.fromarray(picture()[0]).save(tmp_path / "p.png")
    command = ["detect", str(model), str(tmp_path / "p.png"), "--json"]
    shown, every = (
        json.loads(CliRunner().invoke(main, [*command, *more]).output)[0]["detections"]
        for more in ((), ("--conf", "0.001"))
    )
    assert 0 < len(shown) < len(every)
    assert shown == [box for box in every if box["score"] >= 0.25]
    out, told = str(tmp_path / "out"), "--conf 0.001 shows them all"
    written = CliRunner().invoke(main, [*command[:-1], "--out", out, "--save-txt"])
    assert told in written.output
    labels = (tmp_path / "out" / "labels" / "p.txt").read_text().splitlines()
    assert len(labels) == len(shown)
    assert told not in CliRunner().invoke(main, [*command[:-1], "--conf", "0.3"]).output
    np.testing.assert_allclose(
        Model(model)(tmp_path / "p.png").boxes[:, 4], [box["score"] for box in shown], atol=1e-5
    )
