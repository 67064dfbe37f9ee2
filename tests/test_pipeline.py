"""The whole pipeline on a tiny generated dataset, with the commands that a user types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import run


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, a checkpoint trained for one epoch and its integer twin."""
    folder = tmp_path_factory.mktemp("pipeline")
    run("yolo-train", "shapes", "--out", "shapes", "--images", 24, "--imgsz", 64, "--seed", 1,
        cwd=folder)  # fmt: skip
    run("yolo-train", "fit", "--data", "shapes/data.yaml", "--model", "yolov5n", "--imgsz", 64,
        "--epochs", 1, "--batch-size", 8, "--workers", 0, cwd=folder)  # fmt: skip
    run("yolo-mrt", "quantize", "runs/train/exp/weights/best", "--data", "shapes/data.yaml",
        "--imgsz", 64, "--num-calib", 8, "--out", "qout/shapes_cvm", cwd=folder)  # fmt: skip
    return folder


def test_the_files_of_each_stage(pipeline: Path) -> None:
    for name in (
        "shapes/data.yaml",
        "runs/train/exp/weights/best-symbol.json",
        "runs/train/exp/weights/best-0000.params",
        "runs/train/exp/weights/best.yaml",
        "runs/train/exp/results.csv",
        "runs/train/exp/best.html",
        "qout/shapes_cvm/symbol",
        "qout/shapes_cvm/params",
        "qout/shapes_cvm/ext",
    ):
        assert (pipeline / name).is_file(), name


def test_the_integer_model_is_deployable(pipeline: Path) -> None:
    text = run("yolo-cvm", "certify", "qout/shapes_cvm", cwd=pipeline)
    assert text
    graph = json.loads((pipeline / "qout/shapes_cvm/symbol").read_text())
    assert graph["nodes"][0]["name"] == "data"
    assert len(graph["heads"]) == 1
    shape = graph["attrs"]["shape"][1][graph["node_row_ptr"][graph["heads"][0][0]]]
    assert shape[:2] == [1, 3 * (64 + 16 + 4)]


def test_run_with_receipt_and_verify(pipeline: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(pipeline / "x.npy", rng.integers(-127, 128, (1, 3, 64, 64)).astype(np.int8))
    run("yolo-cvm", "run", "qout/shapes_cvm", "--input", "x.npy", "--output", "y.npy",
        "--receipt", "r.json", cwd=pipeline)  # fmt: skip
    assert np.load(pipeline / "y.npy").dtype.kind == "i"
    run("yolo-cvm", "verify", "r.json", "qout/shapes_cvm", "--input", "x.npy", cwd=pipeline)


def test_detect_writes_a_picture_and_boxes(pipeline: Path) -> None:
    image = next((pipeline / "shapes" / "images" / "val").iterdir())
    run("yolo-cvm", "detect", "qout/shapes_cvm", image, "--out", "found", cwd=pipeline)
    assert {path.name for path in (pipeline / "found").iterdir()} == {image.name, "detections.json"}


def test_float_and_integer_are_compared(pipeline: Path) -> None:
    for model, name in (("runs/train/exp/weights/best", "float"), ("qout/shapes_cvm", "quant")):
        run("yolo-eval", "coco", model, "--data", "shapes/data.yaml",
            "--json", f"{name}.json", cwd=pipeline)  # fmt: skip
    run("yolo-eval", "compare", "float.json", "quant.json", "--out", "compare", cwd=pipeline)
    report = (pipeline / "compare" / "report.html").read_text(encoding="utf-8")
    assert "<html" in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert json.loads((pipeline / "compare" / "metrics.json").read_text())


def test_the_bundle_of_the_model_checks(pipeline: Path) -> None:
    run("yolo-cvm", "bundle", "qout/shapes_cvm", "--out", "bundle", cwd=pipeline)
    run("yolo-cvm", "bundle", "--check", "bundle", cwd=pipeline)


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
    pipeline: Path,
) -> None:
    command = ("yolo", "report", "runs/train/exp", "--data", "shapes/data.yaml", "--quiet")
    text = run(*command, cwd=pipeline)
    assert text.rstrip().endswith("runs/report/exp/compare/report.html")
    assert "(done before)" not in text
    (pipeline / "runs/report/exp/compare/report.html").unlink()
    again = [line for line in run(*command, cwd=pipeline).splitlines() if line.startswith("[")]
    assert [line.endswith("(done before)") for line in again] == [True, True, True, False]
    assert (pipeline / "runs/report/exp/compare/report.html").is_file()
