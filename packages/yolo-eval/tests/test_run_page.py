"""`yolo-eval coco --out`: the page of one run, and what the screen says beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from command import run
from html_page import Page, assert_policy
from scenes import scene

from yolo_eval.figures.errors import KINDS
from yolo_eval.figures.pictures import best_and_worst
from yolo_eval.figures.scoring import score


@pytest.fixture
def result(model: Callable[..., Path], shapes: Path, tmp_path: Path) -> tuple[Result, Path]:
    fake = model("a.fake", drop=[1], shift=1)
    out = tmp_path / "runs"
    done = run("coco", fake, "--data", shapes / "data.yaml", "--out", out)
    assert done.exit_code == 0, done.output
    return done, out / "a.fake.html"


def test_the_page_holds_everything_and_loads_nothing(result: tuple[Result, Path]) -> None:
    html = result[1].read_text()
    assert_policy(html)
    page = Page(html)
    assert page.open == []
    headings = [
        "System and settings", "Figures", "Classes", "Curves", "Mistakes by kind", "Confusion",
        "Worst pictures", "Best pictures",
    ]  # fmt: skip
    assert re.findall(r"<h2 [^>]*>(.*?)</h2>", html) == headings
    content = json.loads(result[1].with_suffix(".json").read_text())
    for text in (
        content["model"]["digest"], content["provenance"]["machine"]["processor"],
        "letterbox, confidence 0.001, IoU 0.6, at most 300 boxes", "mAP@0.5",
    ):  # fmt: skip
        assert text in page.text
    figures = content["metrics"]
    assert f"{100 * figures['AP']:.2f} ({100 * figures['AP_low']:.2f} to " in page.text
    assert 'data-kind="missed"' in html
    green = figures["classes"][1]["objects"]
    assert figures["errors"]["kinds"]["missed"]["shown"] == green


def test_the_screen_says_classes_mistakes_files_and_the_next_command(
    result: tuple[Result, Path],
) -> None:
    lines = result[0].output.splitlines()
    table = {line.split()[0]: line.split() for line in lines if line.strip()}
    head = next(line for line in lines if line.startswith("class"))
    assert head.split()[1:] == ["pictures", "objects", "P", "R", "AP50", "AP"]
    assert table["all"][1] == "12"
    assert table["green"][3:] == ["0.00", "0.00", "0.00", "0.00"]
    assert all(kind in table for kind in KINDS)
    assert str(result[1]) in " ".join(table["written"])
    assert any(line.startswith("Next: yolo-eval compare") for line in lines)


def test_the_best_and_the_worst_pictures_are_told_apart() -> None:
    truth, predictions = scene(3, images=30)
    best, worst = best_and_worst(truth, score(truth, predictions).matches[0], 5)
    assert len(best) == len(worst) == 5
    assert min(one.f1 for one in best) >= max(one.f1 for one in worst)
    assert not {one.image_id for one in best} & {one.image_id for one in worst}
    for one in best + worst:
        objects = [
            place for place, box in enumerate(truth.boxes)
            if box.image_id == one.image_id and not box.crowd
        ]  # fmt: skip
        assert len(objects) == len(one.right) + len(one.missed)
        assert set(one.missed) <= set(objects)
        total = 2 * len(one.right) + len(one.wrong) + len(one.missed)
        assert one.f1 == pytest.approx(2 * len(one.right) / total)
        assert all(predictions.image[row] == one.image_id for row in (*one.right, *one.wrong))
        assert all(predictions.score[row] >= 0.25 for row in (*one.right, *one.wrong))
