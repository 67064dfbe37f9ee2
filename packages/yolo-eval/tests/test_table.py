"""`yolo-eval table`: what lies in a folder, measured, scored, and honest about what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import run

from yolo_core.graph import GraphBuilder
from yolo_core.graph.costs.gas import gas
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.model_folder import Extension, write_model_folder
from yolo_eval.figures.table import Row
from yolo_eval.pages.table_output import cells, markdown
from yolo_eval.runs.measure import fixed_picture, measure


@pytest.fixture
def integer_model(tmp_path: Path) -> Path:
    """A detector of 64 × 64 pictures that passes pixels on as logits."""
    architecture = Architecture.named("n", names=("red", "green", "blue"))
    rows = architecture.rows(64, 64)
    builder = GraphBuilder()
    data = builder.input("data", (1, 3, 64, 64), 8)
    flat = builder.operator("reshape", [data], shape=(1, 3 * 64 * 64))
    part = builder.operator("strided_slice", [flat], begin=(0, 0), end=(1, rows * 8), stride=(1, 1))
    graph = builder.build([builder.operator("reshape", [part], shape=(1, rows, 8))])
    folder = tmp_path / "models" / "n_cvm"
    write_model_folder(
        folder, graph, Extension(architecture, (64, 64), 255.0, -128, 8, (16.0,) * 8)
    )
    (tmp_path / "gas").write_text(str(gas(graph)))
    return folder


def test_a_model_is_measured_and_scored(integer_model: Path, shapes: Path, tmp_path: Path) -> None:
    scored = run(
        "coco", integer_model, "--data", shapes / "data.yaml", "--out", tmp_path / "models/runs"
    )
    assert scored.exit_code == 0, scored.output
    run_file = tmp_path / "models/runs/n_cvm.json"
    content = json.loads(run_file.read_text())
    figures = content["metrics"]
    # AP is worked out from the predictions, whatever the file says of it.
    run_file.write_text(json.dumps({**content, "metrics": {"AP": "much"}}, separators=(",", ":")))
    result = run("table", tmp_path / "models", "--no-generated", "--out", tmp_path / "out",
                 "--repeats", 2, "--threads", 1, "--threads", 2)  # fmt: skip
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "out/table.json").read_text())
    rows = content["rows"]
    assert [(row["form"], row["measured"]["threads"]) for row in rows] == [
        ("integer reference", 1), ("integer reference", 2),
        ("integer fast", 1), ("integer fast", 2),
    ]  # fmt: skip
    assert len({row["measured"]["outputs"] for row in rows}) == 1
    (first, *_) = rows
    assert first["weights"] == "trained"
    assert first["gas"] == int((tmp_path / "gas").read_text())
    assert first["bytes"] == sum(
        (integer_model / name).stat().st_size for name in ("symbol", "params")
    )
    assert first["measured"]["ms"] > 0
    assert first["measured"]["peak_bytes"] > 1 << 20
    assert first["ap"] == figures["AP"]
    assert "reference and fast engine give the same bytes" in result.output
    assert (
        "- AP over 12 images: yolov5n integer reference, yolov5n integer fast.\n" in result.output
    )
    page = (tmp_path / "out/table.html").read_text()
    assert first["measured"]["outputs"] in page
    assert "<script" not in page


def test_the_fixed_picture_gives_the_same_outputs_again(integer_model: Path) -> None:
    first = measure(str(integer_model), None, 1, "cpu", 1)
    again = measure(str(integer_model), None, 1, "cpu", 1)
    assert first.outputs == again.outputs
    expected = [
        [[(31 * y + 17 * x + 71 * c + x * y // 7) % 256 for c in range(3)] for x in range(96)]
        for y in range(64)
    ]
    np.testing.assert_array_equal(fixed_picture(64, 96), np.array([expected], dtype=np.uint8))


def test_peak_memory_is_the_measured_process_alone(integer_model: Path) -> None:
    before = measure(str(integer_model), None, 1, "cpu", 1).peak_bytes
    held = np.ones(1 << 29, dtype=np.uint8)
    beside = measure(str(integer_model), None, 1, "cpu", 1).peak_bytes
    assert held.nbytes > 2 * abs(beside - before)


def test_what_cannot_be_measured_is_a_row_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is there: sizes are generated where that is possible, and rows say where not."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    (tmp_path / "models").mkdir()
    result = run("table", tmp_path / "models", "--sizes", "n", "--form", "integer fast")
    assert result.exit_code == 0, result.output
    row = next(line for line in result.output.splitlines() if line.startswith("| yolov5n"))
    assert "| generated |" in row
    assert "yolov5n integer fast: not measured: " in result.output


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["none"], "is not a folder"),
        ([".", "--sizes", "q"], "--sizes: is 'q'"),
        ([".", "--imgsz", "0"], "--imgsz"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("table", *arguments)
    assert result.exit_code == 2
    assert cause in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_a_damaged_model_is_named(integer_model: Path, tmp_path: Path) -> None:
    (integer_model / "symbol").write_bytes(b"{")
    result = run("table", tmp_path / "models", "--no-generated")
    assert result.exit_code == 2
    assert "Error: " in result.output.splitlines()[-1]


def test_the_licence_of_the_weights_is_a_column() -> None:
    row = Row("n", "float", "trained", "w", (64, 64), 1, 1, 1, licence="a | *b*")
    rows = (row, replace(row, licence=""), replace(row, weights="generated"))
    told = [cells(each)[-1] for each in rows]
    assert told == ["a | *b*", "not stated", "–"]
    assert markdown([row]).splitlines()[2].endswith(" a \\| \\*b\\* |")
