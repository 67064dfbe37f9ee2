"""The whole pipeline on a tiny generated dataset, with the commands that a user types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import run


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, a checkpoint trained for one epoch and its integer twin."""
    folder = tmp_path_factory.mktemp("road")
    run("yolo-train", "shapes", "--out", "shapes", "--images", 24, "--imgsz", 64, "--seed", 1,
        cwd=folder)  # fmt: skip
    run("yolo-train", "fit", "--data", "shapes/data.yaml", "--model", "yolov5n", "--imgsz", 64,
        "--epochs", 1, "--batch-size", 8, "--workers", 0, cwd=folder)  # fmt: skip
    run("yolo-mrt", "quantize", "runs/train/exp/weights/best", "--data", "shapes/data.yaml",
        "--imgsz", 64, "--num-calib", 8, "--out", "qout/shapes_cvm", cwd=folder)  # fmt: skip
    return folder


def test_the_files_of_each_stage(road: Path) -> None:
    for name in (
        "shapes/data.yaml",
        "runs/train/exp/weights/best-symbol.json",
        "runs/train/exp/weights/best-0000.params",
        "runs/train/exp/weights/best.yaml",
        "runs/train/exp/results.csv",
        "qout/shapes_cvm/symbol",
        "qout/shapes_cvm/params",
        "qout/shapes_cvm/ext",
    ):
        assert (road / name).is_file(), name


def test_the_integer_model_is_deployable(road: Path) -> None:
    text = run("yolo-cvm", "certify", "qout/shapes_cvm", cwd=road)
    assert text
    graph = json.loads((road / "qout/shapes_cvm/symbol").read_text())
    assert graph["nodes"][0]["name"] == "data"
    assert len(graph["heads"]) == 1
    shape = graph["attrs"]["shape"][1][graph["node_row_ptr"][graph["heads"][0][0]]]
    assert shape[:2] == [1, 3 * (64 + 16 + 4)]


def test_run_with_receipt_and_verify(road: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(road / "x.npy", rng.integers(-127, 128, (1, 3, 64, 64)).astype(np.int8))
    run("yolo-cvm", "run", "qout/shapes_cvm", "--input", "x.npy", "--output", "y.npy",
        "--receipt", "r.json", cwd=road)  # fmt: skip
    assert np.load(road / "y.npy").dtype.kind == "i"
    run("yolo-cvm", "verify", "r.json", "qout/shapes_cvm", "--input", "x.npy", cwd=road)


def test_detect_writes_a_picture_and_boxes(road: Path) -> None:
    image = next((road / "shapes" / "images" / "val").iterdir())
    run("yolo-cvm", "detect", "qout/shapes_cvm", image, "--out", "found", cwd=road)
    assert {path.name for path in (road / "found").iterdir()} == {image.name, "detections.json"}


def test_float_and_integer_are_compared(road: Path) -> None:
    for model, name in (("runs/train/exp/weights/best", "float"), ("qout/shapes_cvm", "quant")):
        run("yolo-eval", "coco", model, "--data", "shapes/data.yaml",
            "--json", f"{name}.json", cwd=road)  # fmt: skip
    run("yolo-eval", "compare", "float.json", "quant.json", "--out", "compare", cwd=road)
    report = (road / "compare" / "report.html").read_text(encoding="utf-8")
    assert "<html" in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert json.loads((road / "compare" / "metrics.json").read_text())


def test_the_bundle_of_the_model_checks(road: Path) -> None:
    run("yolo-cvm", "bundle", "qout/shapes_cvm", "--out", "bundle", cwd=road)
    run("yolo-cvm", "bundle", "--check", "bundle", cwd=road)


@pytest.mark.parametrize(
    "arguments",
    [
        ("yolo-train", "fit", "--data", "none.yaml"),
        ("yolo-port", "convert", "none.pt", "--out", "w"),
        ("yolo-mrt", "quantize", "none", "--data", "none", "--out", "q"),
        ("yolo-cvm", "run", "none", "--input", "none.npy", "--output", "y.npy"),
        ("yolo-eval", "coco", "none", "--data", "none.yaml", "--json", "f.json"),
        ("yolo-core", "checkpoint", "none"),
    ],
)
def test_a_missing_file_is_one_line_and_code_2(tmp_path: Path, arguments: Any) -> None:
    text = run(*arguments, cwd=tmp_path, code=2)
    assert len(text.strip().splitlines()) == 1, text
    assert text.startswith("Error: ")
    assert "none" in text
    assert not list(tmp_path.iterdir())


def test_report_goes_from_weights_to_the_comparison_and_repeats_only_what_is_missing(
    road: Path,
) -> None:
    command = ("yolo", "report", "runs/train/exp", "--data", "shapes/data.yaml", "--quiet")
    text = run(*command, cwd=road)
    assert text.rstrip().endswith("runs/report/exp/compare/report.html")
    assert "(done before)" not in text
    (road / "runs/report/exp/compare/report.html").unlink()
    again = [line for line in run(*command, cwd=road).splitlines() if line.startswith("[")]
    assert [line.endswith("(done before)") for line in again] == [True, True, True, False]
    assert (road / "runs/report/exp/compare/report.html").is_file()
