"""Pictures to what a chain is given, and what a chain answers to boxes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from cvm_samples import original_detector, write_model
from test_detection import SIDE, write_constant_detector

import yolo_cvm
from yolo_core.errors import InputError
from yolo_core.graph import GraphBuilder
from yolo_cvm.bundle import torrent
from yolo_cvm.cli import main
from yolo_cvm.pictures import content, stored_file
from yolo_cvm.predictor import open_detector


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return write_constant_detector(tmp_path / "detector")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "wide.png"
    image = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)
    return path


def run(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_picture_goes_to_the_chain_and_comes_back(
    detector: Path, picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "street"
    told = run("encode", detector, picture, "--out", out, "--comment", "street")
    sidecar = json.loads((out / "placement.json").read_text())
    stored = sidecar["stored_input"]
    home = out / stored["info_hash"]
    info = torrent.decode((home / "torrent").read_bytes(), "torrent", with_inputs=True)
    assert info == torrent.input_info((home / "data").read_bytes())
    assert stored["info_hash"] == info.info_hash
    assert f"input payload {stored['payload']}" in told
    values = np.load(out / "input.npy")
    np.testing.assert_array_equal(values, np.load(home / "data"))
    words = [bytes.fromhex(line[2:]) for line in (out / "words.txt").read_text().split()]
    assert b"".join(words) == (out / "words.bin").read_bytes() == values.tobytes()
    assert all(len(word) == 32 for word in words)

    for name, options in (("input.npy", ()), ("words.bin", ("--bytes", "chain"))):
        answer = tmp_path / f"answer-{name}"
        run("run", detector, "--input", out / name, "--output", answer, *options)
        found = json.loads(
            run("decode", detector, answer, "--placement", out / "placement.json", "--json")
        )
        direct = json.loads(run("detect", detector, picture, "--json"))[0]
        assert found["detections"] == direct["detections"]
        assert found["model"] == direct["model"]
    raw = (tmp_path / "answer-words.bin").read_bytes()
    (tmp_path / "answer.json").write_text('{"data":"0x%s","info":"ok"}' % raw.hex())  # noqa: UP031
    text = run("decode", detector, tmp_path / "answer.json", "--placement", out / "placement.json")
    assert "dog" in text
    drawn = tmp_path / "drawn.jpg"
    run("decode", detector, tmp_path / "answer.json", "--placement", out / "placement.json",
        "--picture", picture, "--out", drawn)  # fmt: skip
    assert cv2.imread(str(drawn)).shape == (100, 200, 3)


def test_functions_of_the_same_names(detector: Path, picture: Path) -> None:
    encoded = yolo_cvm.encode(detector, picture)
    heads = yolo_cvm.load(detector).run(encoded.values)
    found = yolo_cvm.decode(detector, heads[0], encoded.placement)
    inside = yolo_cvm.decode(open_detector(detector), heads[0])
    np.testing.assert_allclose(found[:, :4], encoded.placement.to_image(inside[:, :4]))
    assert found[0, 5] == 1


def test_wide_integers_are_stored_so_that_they_arrive(tmp_path: Path) -> None:
    from yolo_cvm.node.stored_input import content as read

    values = np.array([[-2000, 7, 1 << 20]], np.int32)
    assert read(stored_file(values)) == content(values)
    narrow = np.array([[-100, 7]], np.int8)
    assert read(stored_file(narrow)) == content(narrow)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"format": "x"}, "is not a placement"),
        ({"placement": {}}, "broken"),
        ({"placement": None}, "broken"),
        ({"placement": {"image": [0, 1], "resized": [1, 1], "left": 0, "top": 0}}, "no pixels"),
        ({"placement": {"image": [1, 1], "resized": [1, 1], "left": -1, "top": 0}}, "pixels"),
        ({"placement": {"image": [1, 1], "resized": [1, 1], "left": 0.5, "top": 0}}, "pixels"),
    ],
)
def test_broken_sidecars(
    detector: Path, picture: Path, tmp_path: Path, change: dict[str, object], cause: str
) -> None:
    run("encode", detector, picture, "--out", tmp_path / "out")
    sidecar = json.loads((tmp_path / "out" / "placement.json").read_text())
    (tmp_path / "bad.json").write_text(json.dumps({**sidecar, **change}))
    output = tmp_path / "output"
    output.write_bytes(b"")
    result = CliRunner().invoke(
        main, ["decode", str(detector), str(output), "--placement", str(tmp_path / "bad.json")]
    )
    assert result.exit_code == 2
    assert cause in result.output


def test_an_output_of_another_length(detector: Path, tmp_path: Path) -> None:
    (tmp_path / "output").write_bytes(b"short")
    result = CliRunner().invoke(main, ["decode", str(detector), str(tmp_path / "output")])
    assert result.exit_code == 2
    assert "has 5 bytes" in result.output


def test_models_of_the_original_toolchain_detect(picture: Path, tmp_path: Path) -> None:
    model = original_detector(tmp_path / "original")
    (record,) = json.loads(run("detect", model, picture, "--json"))
    (found,) = record["detections"]
    assert (found["class"], found["name"]) == (1, "class1")
    ours = open_detector(model)
    black = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    black[0, 0, 0] = (255, 0, 51)
    codes = ours.extension.quantize_input(black)
    # Planes in the order blue, green, red; round(value * scale) without a zero point.
    assert codes[0, :, 0, 0].tolist() == [25, 0, 127]
    assert codes[0, :, 1, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"oscales": [1.0]}, "1 scales"),
        ({"oscales": [1.0, 0.0, 1.0]}, "not positive"),
        ({"oscales": "x"}, "lacks scales"),
        ({"inputs_ext": {}}, "lacks scales"),
        ({"inputs_ext": {"data": {"scale": 1.0, "target_bit": 9}}}, "target_bit 9"),
    ],
)
def test_original_ext_that_cannot_be_used(
    tmp_path: Path, changes: dict[str, object], cause: str
) -> None:
    with pytest.raises(InputError, match=cause):
        open_detector(original_detector(tmp_path / "original", **changes))


def test_a_network_of_the_original_that_is_no_detector_has_a_plan(tmp_path: Path) -> None:
    """The original's quantizer writes an ext for classifiers, too."""
    b = GraphBuilder()
    model, bundle, plan = (tmp_path / name for name in ("model", "bundle", "plan"))
    write_model(model, b.build([b.operator("relu", [b.input("data", (1, 6), 8)])]))
    (model / "ext").write_text('{"inputs_ext": {}, "oscales": [10.0]}')
    run("bundle", model, "--out", bundle)
    for place in (model, bundle):
        run("plan", place, "--out", plan)
        assert b'"ext":null' in plan.read_bytes()


def test_the_recorded_network_of_the_original_detects(golden: Path) -> None:
    predictor = open_detector(golden / "network" / "yolov5n_64")
    heads = [np.load(golden / "network/yolov5n_64" / f"out_formal_{k}.npy") for k in range(3)]
    data = np.load(golden / "network" / "yolov5n_64" / "input.npy")
    for found, expected in zip(predictor.model.run(data), heads):
        np.testing.assert_array_equal(found, expected.reshape(found.shape))
    assert predictor.architecture.names[0] == "person"
    assert predictor.logits(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1, 252, 85)


def test_a_picture_becomes_a_receipt_in_one_command(
    detector: Path, picture: Path, tmp_path: Path
) -> None:
    receipts = [tmp_path / f"{name}.json" for name in ("run", "detect", "npy")]
    run("run", detector, "--input", picture, "--receipt", receipts[0])
    run("detect", detector, picture, "--receipt", receipts[1])
    run("encode", detector, picture, "--out", tmp_path / "street")
    run("run", detector, "--input", tmp_path / "street" / "input.npy", "--receipt", receipts[2])
    assert len({path.read_bytes() for path in receipts}) == 1
    assert "verified" in run("verify", receipts[0], detector, "--input", picture)
    shown = [tmp_path / "of-picture", tmp_path / "of-integers"]
    for out, given in zip(shown, (picture, tmp_path / "street" / "input.npy")):
        told = run("witness", detector, "--input", given, "--node", 2, "--out", out)
        assert f"Next: yolo-cvm judge {out} " in told
    assert shown[0].read_bytes() == shown[1].read_bytes()


def test_detect_writes_a_receipt_of_one_picture_alone(
    detector: Path, picture: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second.png"
    second.write_bytes(picture.read_bytes())
    receipt = tmp_path / "r.json"
    words = ["detect", str(detector), str(picture), str(second), "--receipt", str(receipt)]
    refused = CliRunner().invoke(main, words)
    assert (refused.exit_code, receipt.exists()) == (2, False)
    assert "expected one picture" in refused.output
    over = CliRunner().invoke(main, ["detect", str(detector), str(picture), "--receipt",
                                     str(picture)])  # fmt: skip
    assert over.exit_code == 2
    assert picture.read_bytes() == second.read_bytes()


def test_a_picture_for_a_model_that_is_no_detector_is_refused(
    model_folder: Path, picture: Path
) -> None:
    refused = CliRunner().invoke(main, ["run", str(model_folder), "--input", str(picture)])
    assert refused.exit_code == 2
    assert "ext" in refused.output
