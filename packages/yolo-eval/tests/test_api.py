"""`yolo_eval.score` and `yolo_eval.compare`, as a program uses them."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import yolo_eval
from yolo_core.errors import InputError


def test_models_and_lists_are_scored_and_compared(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    data = shapes / "data.yaml"
    first = yolo_eval.score(model("a.fake"), data, out=tmp_path / "a.json")
    second = yolo_eval.score(str(model("b.fake", drop=[1], kind="integer")), data)
    assert first.metrics is not None
    assert first.metrics["AP"] == pytest.approx(1.0)
    assert repr(first) == "<Run of yolov5n float on 12 pictures: AP 100.00>"
    found = yolo_eval.compare(first, second, out=tmp_path / "cmp", resamples=10)
    assert repr(found) == "<Comparison of yolov5n float, yolov5n integer>"
    assert found.pairs[0].figures["AP"].delta == pytest.approx(-1 / 3)
    assert (tmp_path / "cmp/report.html").is_file()
    again = yolo_eval.compare(tmp_path / "a.json", second, resamples=10, classes=["red"])
    assert again.pairs[0].figures["AP"].delta == pytest.approx(0)
    content = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "list.json").write_text(json.dumps(content["predictions"]))
    listed = yolo_eval.score(tmp_path / "list.json", data)
    assert listed.metrics == first.metrics


def test_what_cannot_be_done_is_an_input_error(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    fake, data = model(), shapes / "data.yaml"
    with pytest.raises(InputError, match="no ground truth"):
        yolo_eval.score(fake)
    run = yolo_eval.score(fake, data)
    other = yolo_eval.score(fake, data, conf=0.5)
    with pytest.raises(InputError, match="confidence is"):
        yolo_eval.compare(run, other)
    assert yolo_eval.compare(run, other, resamples=2, different_settings=True).pairs
    with pytest.raises(InputError, match="only run"):
        yolo_eval.compare(run)


def test_the_names_are_documented_and_imported_late() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for name in yolo_eval.__all__:
        assert inspect.getdoc(getattr(yolo_eval, name)), name
        assert name in dir(yolo_eval)
        assert f"`yolo_eval.{name}" in readme
    with pytest.raises(AttributeError, match="no attribute 'evaluate'"):
        yolo_eval.evaluate  # noqa: B018
    code = "import sys, yolo_eval; print('numpy' in sys.modules, 'click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_page_of_a_training_is_found_by_its_entry_point(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    from yolo_core.yolo.model_page import page_maker

    maker = page_maker()
    assert maker is not None
    lines = maker(model("a.fake"), shapes / "data.yaml", tmp_path / "best.html")
    assert lines[0].split() == ["class", "pictures", "objects", "P", "R", "AP50", "AP"]
    assert any(line.startswith("localisation") for line in lines)
    assert "<html" in (tmp_path / "best.html").read_text("utf-8")
    (tmp_path / "notes.html").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.html"):
        maker(model("a.fake"), shapes / "data.yaml", tmp_path / "notes.html")
    assert (tmp_path / "notes.html").read_text() == "mine"
