"""The page in Chromium: the reference's bytes, boxes and receipts. `nox -s browser` runs these."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from cvm_samples import deciding_detector, write_detector, write_model
from engine.random_graphs import random_program

import yolo_cvm
from browser.chromium import PROGRAM, Chromium
from yolo_core.yolo.letterbox import Letterbox
from yolo_cvm.cli import main
from yolo_cvm.engine.prepared import MAGIC, plan_bytes, write_plan
from yolo_cvm.predictor import open_detector
from yolo_cvm.receipts import read_receipt, run_with_receipt, tensor_root
from yolo_cvm.receipts.digests import canonical

PAGE = os.environ.get("YOLO_CVM_PAGE", "")

pytestmark = [
    pytest.mark.skipif(not PAGE, reason="YOLO_CVM_PAGE names no page; nox -s browser builds one"),
    pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium"),
]


@pytest.fixture(name="browser", scope="module")
def _browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    assert PROGRAM is not None
    with Chromium(PROGRAM, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_random_programs_give_the_roots_of_the_reference(browser: Chromium, tmp_path: Path) -> None:
    browser.open(Path(PAGE).resolve())
    for seed in range(30):
        graph, data = random_program(seed)
        model = yolo_cvm.load(write_model(tmp_path / str(seed), graph), engine="reference")
        write_plan(tmp_path / "p", model)
        np.save(tmp_path / "x.npy", data)
        assert "gas, model" in browser.choose("plan", tmp_path / "p"), seed
        said = browser.choose("input", tmp_path / "x.npy")
        roots = [tensor_root(head) for head in model.run(data)]
        assert said.endswith(f"input {tensor_root(data)}; output {', '.join(roots)}"), seed


def test_a_picture_gives_the_boxes_and_the_receipt_of_python(
    browser: Chromium, tmp_path: Path
) -> None:
    import cv2

    folder = write_detector(tmp_path / "model", *deciding_detector())
    draw = np.random.default_rng(2)
    cv2.imwrite(str(tmp_path / "p.png"), draw.integers(0, 256, (45, 71, 3), np.uint8))
    done = CliRunner().invoke(main, ["plan", str(folder), "--out", str(tmp_path / "m.plan")])
    assert done.exit_code == 0, done.output
    predictor = open_detector(str(folder), engine="reference")
    from yolo_core.yolo.letterbox import read_image

    x, _ = predictor.encode(read_image(tmp_path / "p.png"))
    heads, receipt = run_with_receipt(predictor.model, x)
    (tmp_path / "r.json").write_text(receipt.to_json())
    browser.open(Path(PAGE).resolve())
    browser.choose("plan", tmp_path / "m.plan")
    said = browser.choose("input", tmp_path / "p.png")
    assert said.endswith(f"input {receipt.input}; output {receipt.heads[0]}")
    boxes = int((heads[0][0, :, 0] >= 0).sum())
    assert browser.value("document.querySelectorAll('#boxes li').length") == max(boxes, 1)
    assert "Same bytes" in browser.choose("receipt", tmp_path / "r.json")
    other = replace(receipt, gas=receipt.gas + 1)
    (tmp_path / "r.json").write_text(other.to_json())
    assert "identity does not follow" in browser.choose("receipt", tmp_path / "r.json")
    _, of_other = run_with_receipt(predictor.model, -x)
    (tmp_path / "r.json").write_text(of_other.to_json())
    assert "of another input" in browser.choose("receipt", tmp_path / "r.json")
    assert read_receipt(tmp_path / "r.json") == of_other


@pytest.mark.parametrize("mode", ["letterbox", "squash"])
def test_pictures_are_fitted_as_python_fits_them(browser: Chromium, mode: str) -> None:
    browser.open(Path(PAGE).resolve())
    draw = np.random.default_rng(4)
    for height, width in ((1, 1), (640, 480), (37, 901), (64, 64), (301, 299), (1000, 3)):
        image = draw.integers(0, 256, (height, width, 3), np.uint8)
        canvas, _ = Letterbox(96, 128, mode=mode).apply(image)
        ext = {
            "input_shapes": [[-1, 3, 96, 128]],
            "inputs_ext": {"data": {"scale": 255.0, "target_bit": 9}},
            "detection": {"letterbox": mode, "color": "rgb", "input_zero_point": 0},
        }
        told = browser.value(
            f"hex(sha256(new Uint8Array(encodePicture(new Uint8Array({image.reshape(-1).tolist()}),"
            f" {height}, {width}, {ext!r}).input.buffer)))"
        )
        planes = np.ascontiguousarray(canvas.transpose(2, 0, 1), np.int32)
        assert told == hashlib.sha256(planes.tobytes()).hexdigest(), (height, width)


@pytest.mark.parametrize("change", ["short", "flipped", "other", "long"])
def test_a_damaged_plan_is_told_in_words(browser: Chromium, change: str, tmp_path: Path) -> None:
    graph, _ = random_program(3)
    model = yolo_cvm.load(write_model(tmp_path / "m", graph), engine="reference")
    write_plan(tmp_path / "p", model)
    data = bytearray((tmp_path / "p").read_bytes())
    if change == "flipped":
        data[len(data) // 2] ^= 1
    changed = {"short": data[:-9], "other": b"#" + data[1:], "long": data + b"x"}
    (tmp_path / "q").write_bytes(bytes(changed.get(change, data)))
    browser.open(Path(PAGE).resolve())
    assert browser.choose("plan", tmp_path / "q").startswith("The plan is not usable: ")
    assert browser.choose("input", tmp_path / "p") == "Choose a plan first."


def with_header(plan: bytes, **changed: object) -> bytes:
    """The plan with other fields in its header and a right digest at its end."""
    start = len(MAGIC) + 4
    end = start + int.from_bytes(plan[start - 4 : start], "little")
    header = canonical({**json.loads(plan[start:end]), **changed}).encode("ascii")
    head = MAGIC + len(header).to_bytes(4, "little") + header
    whole = head + bytes(-len(head) % 8) + plan[end + -end % 8 : -32]
    return whole + hashlib.sha256(whole).digest()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"outputs": [[7, 11]], "heads": [0]}, "its header is not that of its words"),
        ({"input": [7, 11]}, "its header is not that of its words"),
        ({"constants": []}, "it is too long"),
        ({"words": 1 << 29}, "it is too short"),
        ({"heads": ["length"]}, "its header cannot be read"),
        ({"precision": 33}, "its header cannot be read"),
        ({"input": [1 << 29, 1 << 29]}, "its header cannot be read"),
        ({"constants": "text"}, "its header cannot be read"),
    ],
)
def test_a_header_of_other_words_is_refused(
    browser: Chromium, changed: dict[str, object], told: str, tmp_path: Path
) -> None:
    graph, _ = random_program(3)
    model = yolo_cvm.load(write_model(tmp_path / "m", graph), engine="reference")
    browser.open(Path(PAGE).resolve())
    (tmp_path / "q").write_bytes(with_header(plan_bytes(model)))
    assert "gas, model" in browser.choose("plan", tmp_path / "q")
    (tmp_path / "q").write_bytes(with_header(plan_bytes(model), **changed))
    assert browser.choose("plan", tmp_path / "q") == f"The plan is not usable: {told}."


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window(browser: Chromium, width: int, tmp_path: Path) -> None:
    browser.open(Path(PAGE).resolve(), width)
    assert browser.value("document.documentElement.scrollWidth") <= width
    browser.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 5000
