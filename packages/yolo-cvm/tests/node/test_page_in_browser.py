"""The page of a server in Chromium: a picture, boxes, a receipt. `nox -s browser` runs these."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser.chromium import PROGRAM, Chromium
from node_samples import running
from test_detection import write_constant_detector

from yolo_core.yolo.letterbox import read_image
from yolo_cvm.bundle import Choices, write_bundle
from yolo_cvm.predictor import open_detector
from yolo_cvm.receipts import run_with_receipt

pytestmark = [
    pytest.mark.skipif(not os.environ.get("YOLO_CVM_PAGE"), reason="nox -s browser runs these"),
    pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium"),
]


@pytest.mark.parametrize("width", [1280, 390])
def test_a_picture_gives_boxes_and_a_receipt_is_verified(width: int, tmp_path: Path) -> None:
    folder = write_constant_detector(tmp_path / "detector")
    write_bundle(folder, tmp_path / "bundle", Choices(comment="a *dog* <b>"))
    picture = tmp_path / "p.png"
    cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8))
    predictor = open_detector(tmp_path / "bundle")
    values, _ = predictor.encode(read_image(picture))
    _, receipt = run_with_receipt(predictor.model, values)
    (tmp_path / "r.json").write_text(receipt.to_json())
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert PROGRAM is not None
    with running(tmp_path / "bundle") as client, Chromium(PROGRAM, tmp_path / "b") as browser:
        browser.visit(f"http://127.0.0.1:{client.port}/", width)
        browser.wait("document.querySelectorAll('#model option').length === 1")
        browser.give("file", picture)
        browser.wait("!document.getElementById('result').hidden")
        assert "1 object in" in browser.value("document.getElementById('status').textContent")
        assert browser.value(
            "document.getElementById('canvas').width === 200"
            " && document.querySelectorAll('#boxes li').length === 1"
        )
        browser.give("receipt-file", tmp_path / "r.json")
        browser.wait("document.getElementById('verdict').textContent.startsWith('Verified')")
        assert browser.value("document.querySelectorAll('#models h3').length") > 3
        assert browser.value("document.querySelector('#models blockquote').textContent") == (
            "a *dog* <b>"
        )
        assert browser.value("document.querySelectorAll('#models table tr').length") > 3
        assert browser.value("document.documentElement.scrollWidth <= innerWidth")
        browser.give("file", tmp_path / "broken.png")
        browser.wait("document.getElementById('status').className === 'bad'")
        assert browser.value("document.getElementById('result').hidden")
