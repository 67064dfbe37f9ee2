"""The page of a server, `POST /detect` and `POST /verify`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cvm_samples import deciding_detector, write_detector
from node_samples import Client, running
from test_detection import write_constant_detector

from yolo_cvm.bundle import Choices, write_bundle
from yolo_cvm.detection import detection, records
from yolo_cvm.receipts import receipt_from


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = write_constant_detector(tmp_path / "detector")
    write_bundle(folder, tmp_path / "bundle", Choices(comment="a dog"))
    return tmp_path / "bundle"


@pytest.fixture
def client(bundle: Path) -> Iterator[Client]:
    with running(bundle) as client:
        yield client


@pytest.fixture
def picture() -> bytes:
    image = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".png", image)[1])


@pytest.fixture
def decided(tmp_path: Path) -> Path:
    """A bundle of a model whose graph decides."""
    folder = write_detector(tmp_path / "decides", *deciding_detector())
    write_bundle(folder, tmp_path / "decided", Choices(comment="boxes"))
    return tmp_path / "decided"


def form(**parts: bytes) -> tuple[bytes, dict[str, str]]:
    boundary = uuid.uuid4().hex
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in parts.items()
    )
    kind = f"multipart/form-data; boundary={boundary}"
    return body + f"--{boundary}--\r\n".encode(), {"Content-Type": kind}


def test_the_page_and_nothing_of_another_host(client: Client) -> None:
    for path, kind in (
        ("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript"),
    ):  # fmt: skip
        status, found, data = client.ask("GET", path)
        assert (status, found) == (200, f"{kind}; charset=utf-8")
        assert b"://" not in data
    assert client.ask("GET", "/static/../server.py")[0] == 404


def test_models_with_their_cards(client: Client, bundle: Path) -> None:
    (model,) = json.loads(client.ask("GET", "/models")[2])
    assert model["detector"]
    assert model["card"] == (bundle / "MODEL_CARD.md").read_text()
    assert model["facts"]["Input"] == "1×3×32×32, 8 bits"


def test_detect_and_verify(client: Client, picture: bytes) -> None:
    status, kind, data = client.ask("POST", "/detect", picture)
    record = json.loads(data)
    assert (status, kind) == (200, "application/json")
    (found,) = record["detections"]
    assert found["name"] == "dog"
    assert (record["height"], record["width"]) == (100, 200)
    receipt = receipt_from(record["receipt"].encode(), "receipt")
    assert receipt.gas == record["gas"]
    body, headers = form(picture=picture, model=record["model"].encode(), receipt=b"0")
    again = json.loads(client.ask("POST", "/detect", body, headers)[2])
    same = {"milliseconds", "receipt"}
    assert {k: v for k, v in again.items() if k not in same} == {
        k: v for k, v in record.items() if k not in same
    }
    assert again["receipt"] is None

    body, headers = form(receipt=record["receipt"].encode(), picture=picture)
    verdict = json.loads(client.ask("POST", "/verify", body, headers)[2])
    assert verdict["verified"]
    other = bytes(cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1])
    body, headers = form(receipt=record["receipt"].encode(), picture=other)
    verdict = json.loads(client.ask("POST", "/verify", body, headers)[2])
    assert (verdict["verified"], verdict["verdict"]) == (
        False,
        "It differs: the input is another one.",
    )


def test_a_model_whose_graph_decides(decided: Path, picture: bytes, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(picture)
    done = detection(decided, [tmp_path / "picture.png"])
    assert list(done.run()) == done.found
    (record,) = records(done)
    assert record["detections"]
    with running(decided) as client:
        (model,) = json.loads(client.ask("GET", "/models")[2])
        assert (model["detector"], model["error"]) == (True, None)
        assert model["facts"]["Output"] == "1×20×6"
        answer = json.loads(client.ask("POST", "/detect", picture)[2])
        assert answer["detections"] == record["detections"]
        body, headers = form(receipt=answer["receipt"].encode(), picture=picture)
        assert json.loads(client.ask("POST", "/verify", body, headers)[2])["verified"]


def test_a_manifest_that_claims_what_the_graph_does_not_do(decided: Path, picture: bytes) -> None:
    """The model is shown with the reason, and other requests are answered."""
    (params,) = decided.glob("*/data/params")
    data = bytearray(params.read_bytes())
    data[-1] ^= 1
    params.write_bytes(data)
    with running(decided) as client:
        (model,) = json.loads(client.ask("GET", "/models")[2])
        assert not model["detector"]
        assert "boxes.scores" in model["error"]
        status, _, answer = client.ask("POST", "/detect", picture)
        assert (status, client.ask("GET", "/healthz")[0]) == (400, 200)
        assert "a store with a detector" in json.loads(answer)["error"]


@pytest.mark.parametrize(
    ("path", "body", "cause"),
    [
        ("/detect", b"", "is not an image"),
        ("/detect", b"\xff\xd8\xff\xdb", "ends too early"),
        ("/detect?model=ab", b"x", "no detector of the store"),
        ("/detect?conf=x", b"x", "no number"),
        ("/detect?conf=7", b"x", "conf"),
        ("/verify", b"", "not a receipt"),
    ],
)
def test_what_cannot_be_used_is_told(client: Client, path: str, body: bytes, cause: str) -> None:
    status, _, data = client.ask("POST", path, body)
    assert status == 400
    assert cause in json.loads(data)["error"]


def test_a_receipt_without_its_picture(client: Client, picture: bytes) -> None:
    record: dict[str, Any] = json.loads(client.ask("POST", "/detect", picture)[2])
    body, headers = form(receipt=record["receipt"].encode())
    status, _, data = client.ask("POST", "/verify", body, headers)
    assert status == 400
    assert "picture" in json.loads(data)["error"]
