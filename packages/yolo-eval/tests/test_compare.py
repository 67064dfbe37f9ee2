"""`yolo-eval compare`: what changed, said in numbers, words and pictures."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run
from html_page import Page
from scenes import scene

from yolo_eval.figures.agreement import agreement, most_changed
from yolo_eval.runs.run import Predictions


def test_all_files_are_written(report: Path) -> None:
    assert {path.name for path in report.iterdir()} == {
        "report.html", "metrics.json", "summary.md",
        "yolov5n_eval_float.txt", "yolov5n_eval_quant.txt",
    }  # fmt: skip
    line = (report / "yolov5n_eval_float.txt").read_text()
    assert re.fullmatch(
        r"\S+: #imges=12, #objects=\d+, mp=100.00%, mr=100.00%, map50=100.00%, map=100.00%\n", line
    )


def test_the_names_of_a_foreign_run_are_no_markdown(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    content = json.loads(runs[1].read_text())
    content["model"]["name"] = "<b>x\n# heading|`y`"
    runs[1].write_text(json.dumps(content))
    result = run("compare", "--no-measure", *runs, "--out", tmp_path / "cmp", "--resamples", 100)
    if result.exit_code == 2:  # refused when it is read is as good
        assert "name" in result.output
        return
    page = (tmp_path / "cmp" / "summary.md").read_text()
    assert "<b>" not in page.replace("\\<b\\>", "")
    assert [line for line in page.splitlines() if line.startswith("#")] == page.splitlines()[:1]


def test_the_numbers_are_the_difference_of_the_runs(runs: tuple[Path, Path], report: Path) -> None:
    a, b = (json.loads(path.read_text())["metrics"] for path in runs)
    metrics = json.loads((report / "metrics.json").read_text())
    (pair,) = metrics["comparisons"]
    for key in ("AP", "AP50", "AR100", "precision", "recall", "f1"):
        found = pair["figures"][key]
        assert found["delta"] == pytest.approx(b[key] - a[key], abs=1e-12)
        assert found["low"] <= found["delta"] <= found["high"]
    assert pair["figures"]["AP_large"] == {"delta": None, "low": None, "high": None}
    assert [c["AP"]["delta"] for c in pair["classes"]][1] == -1
    green = a["classes"][1]["objects"]
    agreed = pair["agreement"]
    assert (agreed["only_a"], agreed["only_b"]) == (green, 0)
    assert agreed["matched"] == a["objects"] - green
    assert agreed["rate"] == pytest.approx(2 * agreed["matched"] / (2 * agreed["matched"] + green))
    assert agreed["score_drift"]["mean"] == pytest.approx(-0.1, abs=1e-3)
    assert agreed["objects_found"] == {
        "both": a["objects"] - green, "a": green, "b": 0, "neither": 0
    }  # fmt: skip
    assert len(metrics["runs"][0]["model"]["digest"]) == 64


def test_a_run_against_itself_changes_nothing(runs: tuple[Path, Path], tmp_path: Path) -> None:
    result = run(
        "compare", "--no-measure", runs[0], runs[0], "--out", tmp_path / "same", "--resamples", 50
    )
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "same/metrics.json").read_text())
    (pair,) = metrics["comparisons"]
    assert pair["figures"]["AP"] == {"delta": 0, "low": 0, "high": 0}
    assert pair["agreement"]["rate"] == 1
    assert pair["changed"] == []
    assert [entry["label"] for entry in metrics["runs"]] == [
        "yolov5n float (1)", "yolov5n float (2)"
    ]  # fmt: skip
    assert "No image changed" in (tmp_path / "same/report.html").read_text()


def test_the_same_seed_gives_the_same_numbers(runs: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        run("compare", "--no-measure", *runs, "--out", tmp_path / name, "--resamples", 50)
    one, two = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("one", "two"))
    one.pop("provenance"), two.pop("provenance")
    assert one == two


def test_three_runs_compare_with_the_first(
    runs: tuple[Path, Path], model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    third = tmp_path / "c.json"
    run("coco", model("c.fake", drop=[0, 1]), "--data", shapes / "data.yaml", "--json", third)
    result = run(
        "compare", "--no-measure", *runs, third, "--out", tmp_path / "three", "--resamples", 20
    )
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "three/metrics.json").read_text())
    assert [pair["a"] for pair in metrics["comparisons"]] == ["yolov5n float (1)"] * 2
    assert (tmp_path / "three/yolov5n_eval_float_2.txt").is_file()


def change(path: Path, **changes: object) -> Path:
    content = json.loads(path.read_text())
    content.update(changes)
    other = path.with_name("changed.json")
    other.write_text(json.dumps(content))
    return other


def test_runs_over_other_images_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    content = json.loads(runs[1].read_text())
    gone = content["images"].pop()["id"]
    kept = {
        key: [item for item in content[key] if item["image_id"] != gone]
        for key in ("annotations", "predictions")
    }
    other = change(runs[1], images=content["images"], **kept)
    result = run("compare", "--no-measure", runs[0], other, "--out", tmp_path / "x")
    assert result.exit_code == 2
    assert f"(1 in one only, image {gone} in {runs[0]})" in result.output
    assert not (tmp_path / "x").exists()


def test_runs_with_other_boxes_pictures_or_shards_are_refused(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    content = json.loads(runs[1].read_text())
    cases = [
        ({"annotations": content["annotations"][1:]}, "has other ground truth"),
        ({"shard": [1, 2]}, "is one shard of a run"),
        (
            {"images": [{**i, "sha256": "0" * 64} for i in content["images"]]},
            "saw another picture 1 ",
        ),
        ({"format": "yolo-eval-run/9"}, "is not a run file"),
        ({"predictions": None}, "has no list of predictions"),
        ({"model": {**content["model"], "imgsz": "\0"}}, "has a malformed imgsz"),
    ]
    for changes, cause in cases:
        result = run(
            "compare", "--no-measure", runs[0], change(runs[1], **changes), "--out", tmp_path / "x"
        )
        assert result.exit_code == 2
        assert cause in result.output
    assert run("compare", "--no-measure", runs[0], "--out", tmp_path / "x").exit_code == 2


def test_a_picture_that_changed_on_disk_is_refused(
    runs: tuple[Path, Path], shapes: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "pictures"
    shutil.copytree(shapes / "images/val", copy)
    for path in copy.iterdir():
        path.write_bytes(path.read_bytes() + b" ")
    result = run(
        "compare",
        "--no-measure",
        *runs,
        "--out",
        tmp_path / "x",
        "--images",
        copy,
        "--resamples",
        10,
    )
    assert result.exit_code == 2
    assert "has changed since the run" in result.output


def test_pictures_that_are_gone_leave_frames_with_boxes(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    files = []
    for path in runs:
        content = json.loads(path.read_text())
        content["folder"] = str(tmp_path / "gone")
        files.append(tmp_path / path.name)
        files[-1].write_text(json.dumps(content))
    result = run("compare", "--no-measure", *files, "--out", tmp_path / "x", "--resamples", 10)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "x/report.html").read_text()
    assert '<rect class="blank"' in page
    assert "data:image" not in page


def test_a_received_run_file_brings_in_no_picture_that_it_does_not_know(
    runs: tuple[Path, Path], shapes: Path, tmp_path: Path
) -> None:
    files = []
    for path in runs:
        content = json.loads(path.read_text())
        for image in content["images"]:
            image.pop("sha256", None)
        files.append(tmp_path / path.name)
        files[-1].write_text(json.dumps(content))
    for more, embedded in (((), False), (("--images", shapes / "images/val"), True)):
        result = run(
            "compare", "--no-measure", *files, "--out", tmp_path / "x", "--resamples", 10, *more
        )
        assert result.exit_code == 0, result.output
        assert ("data:image" in (tmp_path / "x/report.html").read_text()) == embedded


@pytest.mark.parametrize("digest", [None, "0" * 64])
def test_a_run_file_whose_picture_is_a_device_is_not_read(
    digest: str | None, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "picture.png")
    files = []
    for path in runs:
        content = json.loads(path.read_text())
        content["folder"] = str(tmp_path)
        for number, image in enumerate(content["images"]):
            image["file_name"] = "picture.png" if not number else f"{number}.png"
            image.pop("sha256", None)
            if digest:
                image["sha256"] = digest
        files.append(tmp_path / path.name)
        files[-1].write_text(json.dumps(content))
    for more in ((), ("--images", tmp_path)):
        result = run(
            "compare", "--no-measure", *files, "--out", tmp_path / "x", "--resamples", 10, *more
        )
        assert result.exit_code == (2 if more or digest else 0), result.output
        assert result.exit_code == 0 or "picture" in result.output or ".png" in result.output


def test_bare_result_lists_need_ground_truth(
    runs: tuple[Path, Path], shapes: Path, tmp_path: Path
) -> None:
    content = json.loads(runs[0].read_text())
    truth = {key: content[key] for key in ("images", "categories", "annotations")}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "plain.json").write_text(json.dumps(content["predictions"]))
    plain = tmp_path / "plain.json"
    refused = run("compare", "--no-measure", plain, plain, "--out", tmp_path / "x")
    assert refused.exit_code == 2
    assert "--annotations" in refused.output
    options = ("--annotations", tmp_path / "truth.json", "--images", shapes / "images/val")
    result = run(
        "compare",
        "--no-measure",
        runs[0],
        plain,
        "--out",
        tmp_path / "x",
        "--resamples",
        10,
        *options,
    )
    assert result.exit_code == 0, result.output
    scored = run(
        "score", plain, *options, "--text", tmp_path / "line.txt", "--json", tmp_path / "run.json"
    )
    assert scored.exit_code == 0, scored.output
    assert (
        "pycocotools" in json.loads((tmp_path / "run.json").read_text())["provenance"]["versions"]
    )
    assert "map=100.00%" in (tmp_path / "line.txt").read_text()


def test_nothing_to_compare_is_said_in_words(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    """No objects and no boxes: no figure is measured, and no chart is empty."""
    content = {
        "images": [{"id": 1, "file_name": "00.png", "width": 64, "height": 64}],
        "categories": [{"id": 1, "name": "red"}],
        "annotations": [],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "none.json").write_text("[]")
    options = ("--annotations", tmp_path / "truth.json", "--images", shapes / "images/val")
    files = (tmp_path / "none.json", tmp_path / "none.json")
    result = run(
        "compare", "--no-measure", *files, "--out", tmp_path / "x", "--resamples", 10, *options
    )
    assert result.exit_code == 0, result.output
    page = Page((tmp_path / "x/report.html").read_text())
    for words in (
        "cannot be compared: the images hold no objects", "so there are no curves",
        "No class has objects here", "No box has a partner", "No image changed",
    ):  # fmt: skip
        assert words in page.text
    charts = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert {chart.split(".")[0] for chart in charts} == {"Confusion matrix"}
    (pair,) = json.loads((tmp_path / "x/metrics.json").read_text())["comparisons"]
    assert pair["agreement"]["rate"] is None
    assert {value["delta"] for value in pair["figures"].values()} == {None}


def test_pairing_is_symmetric_and_complete() -> None:
    truth, a = scene(0)
    _, b = scene(9)
    one, other = agreement(truth, a, b), agreement(truth, b, a)
    assert (one.matched, one.only_a, one.only_b) == (other.matched, other.only_b, other.only_a)
    np.testing.assert_allclose(np.sort(one.drift), np.sort(-other.drift))
    shown = int((a.score >= 0.25).sum())
    assert one.matched + one.only_a == shown
    assert sum(one.found.values()) == truth.objects
    changes = [image.change for image in most_changed(one, 5)]
    assert changes == sorted(changes, reverse=True)
    nothing = agreement(truth, Predictions.from_rows([]), Predictions.from_rows([]))
    assert nothing.rate is None
    assert nothing.identical == len(truth.images)


HOSTILE = [None, True, -1, 0, 1e308, "", "x", [], {}, [1], {"a": 1}, "\u0000", 2**70, float("nan")]


def test_damaged_run_files_are_refused_or_read_never_more(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    """One value somewhere in the file replaced by something else: one clear line, or a result."""
    generator = np.random.default_rng(5)
    text = runs[1].read_text()
    for _ in range(150):
        content = json.loads(text)
        place: Any = content
        while True:
            keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = keys[int(generator.integers(len(keys)))]
            if isinstance(place[key], (dict, list)) and place[key] and generator.random() < 0.8:
                place = place[key]
                continue
            place[key] = HOSTILE[int(generator.integers(len(HOSTILE)))]
            break
        damaged = tmp_path / "damaged.json"
        damaged.write_text(json.dumps(content))
        result = run(
            "compare", "--no-measure", runs[0], damaged, "--out", tmp_path / "x", "--resamples", 2
        )
        assert result.exit_code in (0, 2), (key, place[key], result.exception)
        if result.exit_code == 2:
            assert result.output.splitlines()[-1].startswith("Error: "), result.output
