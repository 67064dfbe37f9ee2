"""Making a bundle: the layout, the same bytes everywhere, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from cvm_samples import heads_of, write_model

import yolo_cvm
from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.graph import Graph
from yolo_core.graph.files import params, symbol
from yolo_core.yolo.model_folder import write_model_folder
from yolo_cvm import chain_io
from yolo_cvm.bundle import (
    Choices,
    InputMeta,
    ModelMeta,
    accuracy_table,
    announce,
    bencode,
    check_bundle,
    creation_date,
    npy,
    selftest,
    tiers,
    torrent,
    write_bundle,
)
from yolo_cvm.cli import main
from yolo_cvm.predictor import open_detector
from yolo_cvm.receipts.digests import tensor_digest

from .conftest import extension, small_graph


def content(folder: Path) -> dict[str, bytes]:
    """Relative path → bytes of every file under a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def manifest_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


def test_layout(bundle: Path, model: Path) -> None:
    files = content(bundle)
    info_hash = manifest_of(bundle)["info_hash"]
    assert set(files) == {
        "manifest.json",
        "MODEL_CARD.md",
        f"{info_hash}/torrent",
        f"{info_hash}/data/symbol",
        f"{info_hash}/data/params",
    }
    for name in ("symbol", "params"):
        assert files[f"{info_hash}/data/{name}"] == (model / name).read_bytes()
    info = torrent.decode(files[f"{info_hash}/torrent"], "torrent")
    assert info.info_hash == info_hash
    assert info.piece_length == 4096


def test_same_model_same_bytes_wherever_and_whenever(
    model: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "another place" / "renamed"
    shutil.copytree(model, elsewhere)
    (elsewhere / "data.npy").write_bytes(b"left by the quantizer")
    os.utime(elsewhere / "symbol", (1, 1))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "123")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.chdir(tmp_path)
    write_bundle(elsewhere, "other", Choices(comment="small"))
    assert content(tmp_path / "other") == content(bundle)


def test_manifest_has_everything_a_chain_asks(bundle: Path, model: Path) -> None:
    manifest = manifest_of(bundle)
    size = sum((model / name).stat().st_size for name in ("symbol", "params"))
    meta = ModelMeta.decode(bytes.fromhex(manifest["creation"]["payload"][2:]), "payload")
    assert meta == ModelMeta(
        "small", manifest["info_hash"], size, (1, 3, 32, 32), (1, 63, 6), 0, "0" * 40
    )
    stored = InputMeta.decode(bytes.fromhex(manifest["stored_input"]["payload"][2:]), "payload")
    npy_file = npy.encode(selftest.make_input((1, 3, 32, 32), 8))
    assert stored.info_hash == torrent.input_info(npy_file).info_hash
    assert (stored.raw_size, stored.shape) == (3 * 32 * 32 + 128, (1, 3, 32, 32))
    assert manifest["upload"]["pushes"] == 1
    assert manifest["upload"]["gas"] == 277_777
    assert manifest["gas"]["infer"] == manifest["gas"]["model"] // 20_000
    assert manifest["gas"]["inferarray"] == 1_000_000
    assert manifest["gas"]["fits_transaction"] is True
    assert manifest["model"]["input_shape"] == [1, 3, 32, 32]
    assert manifest["extension"] == json.loads((model / "ext").read_text())


def test_self_test_vector_can_be_made_by_anyone(bundle: Path, model: Path) -> None:
    """By the manifest's words alone: SHAKE-256 for the input, then the operators' meaning."""
    from yolo_core.graph import load
    from yolo_core.graph.interpret import run

    def digest(array: Array) -> str:
        head = f"int32 {'x'.join(map(str, array.shape))}\n".encode()
        return hashlib.sha256(head + array.astype("<i4").tobytes()).hexdigest()

    test = manifest_of(bundle)["self_test"]
    stream = hashlib.shake_256(b"yolo-cvm self-test/1").digest(3 * 32 * 32)
    values = np.maximum(np.frombuffer(stream, np.int8), -127).reshape(1, 3, 32, 32)
    assert digest(values) == test["input_digest"]
    graph = load((model / "symbol").read_bytes(), (model / "params").read_bytes())
    (output,) = run(graph, values)
    assert digest(output) == test["output_digest"]


@pytest.mark.parametrize("precision", [1, 2, 7, 8, 9, 16, 32])
def test_self_test_input_fills_the_precision(precision: int) -> None:
    values = selftest.make_input((1, 3, 32, 32), precision)
    limit = (1 << (precision - 1)) - 1
    assert values.dtype == (np.int8 if precision <= 8 else np.int32)
    assert values.min() >= -limit
    assert values.max() <= limit
    assert int(values.max()) > limit * 0.99 - 1


def test_model_card_tells_the_reader(bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text()
    manifest = manifest_of(bundle)
    for text in (
        "# yolov5n, integers only",
        "> small",
        "1×3×32×32",
        "red, green, blue",
        "floor(pixel / 255 * 255 + 0.5) - 128",
        "pipe \\| \\*star\\*",
        "Not stated by the publisher",
        manifest["info_hash"],
        manifest["files"]["data/params"]["sha256"],
        manifest["self_test"]["output_digest"],
        "yolo-cvm bundle --check .",
    ):
        assert text in card


def run_record(kind: str, digest: str | None, ap: float) -> dict[str, Any]:
    """What yolo-eval writes about one run, in small."""
    return {
        "format": "yolo-eval-run/1",
        "model": {"name": "yolov5n", "kind": kind, "digest": digest, "imgsz": [640, 640]},
        "source": "/home/someone/coco/val/instances.json",
        "settings": {"mode": "letterbox", "conf": 0.001, "iou": 0.6, "max_det": 300},
        "metrics": {
            "images": 5000,
            "AP": ap,
            "AP_low": ap - 0.01,
            "AP_high": ap + 0.02,
            "AP_large": None,
            "confidence": 0.205,
            "classes": [],
            "curves": {},
        },
        "predictions": [],
    }


@pytest.mark.parametrize("together", [False, True])
def test_accuracy_table(model: Path, tmp_path: Path, together: bool) -> None:
    runs = [
        run_record("float", "ab" * 32, 0.28),
        run_record("integer", open_detector(model).digest, 0.2775),
    ]
    records = [{"format": "yolo-eval-compare/1", "runs": runs}] if together else runs
    paths = [tmp_path / f"{number}.json" for number in range(len(records))]
    for path, record in zip(paths, records):
        path.write_text(json.dumps(record))
    write_bundle(model, tmp_path / "out", Choices(accuracy=accuracy_table(paths)))
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert "| figure | yolov5n float | yolov5n integer |" in card
    assert "| data | val/instances.json | val/instances.json |" in card
    assert "| AP | 28.00 (27.00 to 30.00) | 27.75 (26.75 to 29.75) |" in card
    assert "| confidence | 0.205 | 0.205 |" in card
    settings = "letterbox, confidence 0.001, IoU 0.6, at most 300 boxes"
    assert f"| settings | 640x640, {settings} | 640x640, {settings} |" in card
    assert "| images | 5,000 | 5,000 |" in card
    assert "someone" not in (tmp_path / "out" / "manifest.json").read_text()
    assert len(list(check_bundle(tmp_path / "out"))) == 5


def test_the_loss_that_the_quantizer_estimates_is_told(model: Path, tmp_path: Path) -> None:
    lost = {"AP_lost": 0.0033, "AP_lost_low": 0.002, "AP_lost_high": 0.004, "images": 16}
    record = {"estimate": None, "model": {"name": "yolov5n", "kind": "integer"}, "metrics": lost}
    (tmp_path / "yolov5n.evaluate.json").write_text(json.dumps(record))
    accuracy = accuracy_table([tmp_path / "yolov5n.evaluate.json"])
    write_bundle(model, tmp_path / "out", Choices(accuracy=accuracy))
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert "0.33 (0.20 to 0.40) |" in card
    assert "lost_low" not in card.replace("\\", "")
    assert "estimated by the quantizer without labels" in card
    assert len(list(check_bundle(tmp_path / "out"))) == 5


def test_no_row_of_the_table_is_empty(model: Path, tmp_path: Path) -> None:
    runs = [{**run_record("float", "ab" * 32, 0.28), "source": None}]
    (tmp_path / "metrics.json").write_text(json.dumps({"runs": runs}))
    accuracy = accuracy_table([tmp_path / "metrics.json"])
    write_bundle(model, tmp_path / "out", Choices(accuracy=accuracy))
    assert "| data |" not in (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert len(list(check_bundle(tmp_path / "out"))) == 5


def test_a_model_that_finds_nothing_is_told_on_the_card_and_by_the_command(
    model: Path, tmp_path: Path
) -> None:
    record = run_record("float", "ab" * 32, 0.0003)
    (tmp_path / "run.json").write_text(json.dumps(record))
    out = tmp_path / "out"
    words = ["bundle", str(model), "--out", str(out), "--metrics", str(tmp_path / "run.json")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0
    assert "float finds next to nothing on" in done.output
    assert f"Next: yolo-cvm bundle --check {out}\n" in done.output
    assert "float finds next to nothing on" in (out / "MODEL_CARD.md").read_text()
    assert len(list(check_bundle(out))) == 5


def test_figures_of_another_integer_model_are_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(run_record("integer", "ab" * 32, 0.2775)))
    with pytest.raises(InputError, match="another integer model"):
        write_bundle(
            model, tmp_path / "out", Choices(accuracy=accuracy_table([tmp_path / "run.json"]))
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"metrics": 5}',
        '{"runs": []}',
        '{"runs": 5}',
        '{"runs": [5]}',
        '{"runs": [{"metrics": {"AP": 1}}, {}]}',
        '{"metrics": {}}',
        '{"metrics": {"AP": NaN}}',
        '{"metrics": {"AP": 0.2, "AP": 0.5}}',
        '{"metrics": {"AP": "0.5"}}',
        '{"metrics": {"AP": true}}',
        '{"metrics": {"AP": 1e999}}',
        '{"metrics": {"AP": 1' + "0" * 400 + "}}",
        "[" * 100_000,
    ],
    ids=lambda text: text[:24],
)
def test_unusable_metrics_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(InputError, match=r"metrics\.json"):
        accuracy_table([tmp_path / "metrics.json"])


def test_torrent_of_choice(model: Path, tmp_path: Path) -> None:
    choices = Choices(
        comment="c",
        tiers=tiers(["http://one/announce", "udp://two:2"], with_default=True),
        piece_length=262_144,
        creation_date=1_700_000_000,
    )
    manifest = write_bundle(model, tmp_path / "out", choices)
    data = (tmp_path / "out" / manifest["info_hash"] / "torrent").read_bytes()
    outer = bencode.decode(data, "torrent")
    assert outer[b"announce-list"] == [
        [b"udp://tracker.cortexlabs.ai:5008"],
        [b"http://one/announce"],
        [b"udp://two:2"],
    ]
    assert outer[b"creation date"] == 1_700_000_000
    assert outer[b"comment"] == b"c"
    assert outer[b"info"][b"piece length"] == 262_144


def test_date_does_not_change_the_info_hash(model: Path, bundle: Path, tmp_path: Path) -> None:
    dated = write_bundle(model, tmp_path / "out", Choices(comment="small", creation_date=5))
    assert dated["info_hash"] == manifest_of(bundle)["info_hash"]


def test_source_date_epoch_replaces_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert creation_date("now") == 1_700_000_000
    assert creation_date(None) is None
    assert creation_date("5") == 5
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    now = creation_date("now")
    assert now is not None
    assert now > 1_700_000_000


@pytest.mark.parametrize("text", ["yesterday", "-5", "1.5", "9" * 13, "٣"])
def test_no_date(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="creation date"):
        creation_date(text)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        creation_date("now")


def test_bundle_replaces_a_bundle_and_nothing_else(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_bundle(model, out, Choices())
    before = content(out)
    write_bundle(model, out, Choices(comment="again"))
    assert content(out) != before
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        write_bundle(model, out, Choices())
    assert (out / "notes.txt").read_text() == "mine"


def test_model_folder_is_not_overwritten(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    with pytest.raises(InputError, match="holds other files"):
        write_bundle(copy, copy, Choices())
    assert content(copy) == content(model)


def test_nothing_is_left_when_the_model_is_refused(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    data = bytearray((copy / "params").read_bytes())
    (copy / "params").write_bytes(data[:-1])
    with pytest.raises(InputError):
        write_bundle(copy, tmp_path / "out", Choices())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize(
    ("graph", "cause"),
    [
        (heads_of((2, 3), (3, 3)), "has 2 outputs of 2, 3 rows"),
        (small_graph(postprocess="argmax"), "postprocess"),
    ],
)
def test_model_that_no_chain_runs(graph: Graph, cause: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "symbol").write_bytes(symbol.encode(graph))
    (folder / "params").write_bytes(params.encode(graph))
    with pytest.raises(InputError, match=cause):
        write_bundle(folder, tmp_path / "out", Choices())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shapes", "output"),
    [(((2, 1, 2), (2, 3)), [2, 5]), (((1, 4, 2), (1, 4, 3), (1, 4, 1)), [1, 4, 6])],
)
def test_heads_of_equal_rows_are_bundled_joined(
    shapes: tuple[tuple[int, ...], ...], output: list[int], tmp_path: Path
) -> None:
    graph = heads_of(*shapes)
    write_model(tmp_path / "model", graph)
    manifest = write_bundle(tmp_path / "model", tmp_path / "out", Choices())
    assert manifest["model"]["output_shape"] == manifest["creation"]["output_shape"] == output
    assert manifest["model"]["heads"] == [list(shape) for shape in shapes]
    data = selftest.make_input(graph.input_shape, graph.input_precision)
    heads = yolo_cvm.load(tmp_path / "model").run(data)
    joined = np.frombuffer(chain_io.write_output(graph, heads), "i1").reshape(output)
    assert manifest["self_test"]["output_digest"] == tensor_digest(joined)
    assert [step.name for step in check_bundle(tmp_path / "out")][-1] == "self-test"
    assert "joined row by row" in (tmp_path / "out" / "MODEL_CARD.md").read_text()


def test_model_without_ext_is_bundled_as_a_network(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    (copy / "ext").unlink()
    manifest = write_bundle(copy, tmp_path / "out", Choices())
    assert manifest["extension"] is None
    assert "# Integer model" in (tmp_path / "out" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    "text", ["{", '{"detection": {}}', '{"detection": 5, "oscales": [NaN]}', "\0", "[NaN]"]
)
def test_damaged_ext(text: str, model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    (copy / "ext").write_text(text)
    with pytest.raises(InputError, match="ext"):
        write_bundle(copy, tmp_path / "out", Choices())
    assert not (tmp_path / "out").exists()


def test_input_of_more_bits_is_announced_without_a_stored_input(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_model_folder(folder, small_graph(precision=9), extension())
    (folder / "ext").unlink()
    manifest = write_bundle(folder, tmp_path / "out", Choices())
    assert manifest["stored_input"] is None
    assert "INFERARRAY" in (tmp_path / "out" / "MODEL_CARD.md").read_text()


def test_bundle_opens_as_a_detector(model: Path, bundle: Path, home: Path) -> None:
    image = np.random.default_rng(3).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    logits = open_detector(model).logits(image)
    for path in (bundle, home):
        detector = open_detector(path)
        assert detector.architecture.names == ("pipe | *star*",)
        assert (detector.logits(image) == logits).all()


def test_announce_agrees_with_the_manifest(model: Path, bundle: Path, tmp_path: Path) -> None:
    manifest = manifest_of(bundle)
    assert announce(bundle, Choices(comment="small")) == announce(model, Choices(comment="small"))
    values = selftest.make_input((1, 3, 32, 32), 8)
    np.save(tmp_path / "x.npy", values)
    record = announce(model, Choices(comment="small"), tmp_path / "x.npy")
    for key in ("creation", "upload", "gas"):
        assert json.loads(json.dumps(record[key])) == manifest[key]
    stored = InputMeta.decode(bytes.fromhex(record["stored_input"]["payload"][2:]), "payload")
    assert stored.info_hash == torrent.input_info((tmp_path / "x.npy").read_bytes()).info_hash


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((1, 3, 32, 31), np.int8),
        np.zeros((1, 3, 32, 32), np.int32),
        np.zeros((1, 3, 32, 32), np.float32),
        np.asfortranarray(np.zeros((1, 3, 32, 32), np.int8)),
        np.array(5, np.int8),
    ],
    ids=["shape", "int32", "float", "fortran", "scalar"],
)
def test_stored_input_of_another_kind(values: Array, model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(InputError, match=r"x\.npy"):
        announce(model, Choices(), tmp_path / "x.npy")


@pytest.mark.parametrize(
    "data",
    [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff", npy.encode(np.zeros(5, np.int8))[:-1]],
)
def test_damaged_stored_input(data: bytes, model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.npy"):
        announce(model, Choices(), tmp_path / "x.npy")


@pytest.mark.parametrize("shape", [(5,), (1, 3, 32, 32), (1, 1)])
def test_npy_is_read_by_numpy(shape: tuple[Any, ...], tmp_path: Path) -> None:
    values = selftest.make_input(shape, 8)
    (tmp_path / "x.npy").write_bytes(npy.encode(values))
    assert (np.load(tmp_path / "x.npy") == values).all()
    np.save(tmp_path / "y.npy", values)
    assert npy.int8_shape((tmp_path / "y.npy").read_bytes(), "y") == shape
