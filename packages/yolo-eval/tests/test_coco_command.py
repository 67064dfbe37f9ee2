"""`yolo-eval coco` and `merge`: from a model and labels to a run file, whatever happens between."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import run

from yolo_eval.runs.run import read_run


def coco(model: Path, shapes: Path, out: Path, *more: object) -> dict[str, Any]:
    result = run("coco", model, "--data", shapes / "data.yaml", "--json", out, *more)
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(out.read_text())
    return content


def test_a_model_that_sees_everything_scores_one(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    content = coco(model(), shapes, tmp_path / "run.json")
    metrics = content["metrics"]
    assert metrics["images"] == 12
    assert metrics["objects"] == sum(
        len(path.read_text().split("\n")) - 1 for path in (shapes / "labels/val").iterdir()
    )
    for key in ("AP", "AP50", "AR100", "precision", "recall", "f1"):
        assert metrics[key] == pytest.approx(1.0), key
    assert metrics["AP_large"] is None  # there are none, which is not the same as zero


def test_a_class_that_is_never_seen_costs_its_share(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    metrics = coco(model(drop=[1]), shapes, tmp_path / "run.json")["metrics"]
    assert metrics["AP"] == pytest.approx(2 / 3)
    assert [entry["AP"] for entry in metrics["classes"]] == [1.0, 0.0, 1.0]
    green = metrics["confusion"][1]
    assert green[3] == metrics["classes"][1]["objects"]  # all of them taken for background


def test_the_seed_line_and_the_plain_predictions(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    line, plain = tmp_path / "line.txt", tmp_path / "plain.json"
    content = coco(model(), shapes, tmp_path / "r.json", "--text", line, "--predictions", plain)
    objects = content["metrics"]["objects"]
    assert line.read_text() == (
        f"{shapes / 'data.yaml'}: #imges=12, #objects={objects}, mp=100.00%, mr=100.00%, "
        "map50=100.00%, map=100.00%\n"
    )
    assert json.loads(plain.read_text()) == content["predictions"]
    assert set(content["predictions"][0]) == {"image_id", "category_id", "bbox", "score"}


def test_provenance_names_model_pictures_and_versions(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    content = coco(model(), shapes, tmp_path / "run.json")
    assert len(content["model"]["digest"]) == 64
    assert all(len(image["sha256"]) == 64 for image in content["images"])
    assert {"python", "numpy", "pycocotools", "yolo-eval"} <= set(content["provenance"]["versions"])
    assert content["settings"]["conf"] == 0.001


def test_processes_do_not_change_the_result(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    fake = model(score=0.7, shift=1)
    one = coco(fake, shapes, tmp_path / "one.json")
    two = coco(fake, shapes, tmp_path / "two.json", "--jobs", 2)
    assert one["predictions"] == two["predictions"]
    assert one["metrics"] == two["metrics"]


def test_shards_merge_into_the_whole(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    fake = model(score=0.7, shift=2)
    whole = coco(fake, shapes, tmp_path / "whole.json")
    parts = []
    for index in (1, 2, 3):
        parts.append(tmp_path / f"part{index}.json")
        assert coco(fake, shapes, parts[-1], "--shard", f"{index}/3")["metrics"] is None
    result = run("merge", *reversed(parts), "--json", tmp_path / "merged.json")
    assert result.exit_code == 0, result.output
    merged = json.loads((tmp_path / "merged.json").read_text())
    for key in ("predictions", "annotations", "images", "metrics"):
        assert merged[key] == whole[key], key
    assert (
        read_run(tmp_path / "merged.json").truth.digest()
        == read_run(tmp_path / "whole.json").truth.digest()
    )


@pytest.mark.parametrize(
    ("chosen", "cause"),
    [
        (["1", "2"], "shard 3/3 is missing"),
        (["1", "2", "2"], "is the shard 2/3 again"),
        (["whole"], "is a whole run"),
    ],
)
def test_merge_refuses_what_is_no_complete_set(
    model: Callable[..., Path], shapes: Path, tmp_path: Path, chosen: list[str], cause: str
) -> None:
    fake = model()
    coco(fake, shapes, tmp_path / "whole.json")
    for index in (1, 2):
        coco(fake, shapes, tmp_path / f"{index}.json", "--shard", f"{index}/3")
    files = [tmp_path / f"{name}.json" for name in chosen]
    result = run("merge", *files, "--json", tmp_path / "out.json")
    assert result.exit_code == 2
    assert cause in result.output
    assert not (tmp_path / "out.json").exists()


def test_merge_refuses_shards_of_two_models(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    coco(model("a.fake"), shapes, tmp_path / "1.json", "--shard", "1/2")
    coco(model("b.fake", score=0.5), shapes, tmp_path / "2.json", "--shard", "2/2")
    result = run("merge", tmp_path / "1.json", tmp_path / "2.json", "--json", tmp_path / "o.json")
    assert result.exit_code == 2
    assert "is not of the same run" in result.output


def test_an_interrupted_run_goes_on(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    out, journal = tmp_path / "run.json", tmp_path / "run.json.journal"
    interrupted = model(fail=5)
    command = ("coco", interrupted, "--data", shapes / "data.yaml", "--json", out)
    stopped = run(*command)
    assert stopped.exit_code == 130
    assert "Interrupted. To go on from here: main coco" in stopped.output
    assert len(journal.read_text().splitlines()) == 1 + 5
    assert not out.exists()
    # The last line was being written when the machine went down.
    journal.write_text(journal.read_text() + '[6, "ab')
    assert run(*command).exit_code == 130
    assert len(journal.read_text().splitlines()) == 1 + 10
    assert run(*command).exit_code == 0
    assert not journal.exists()
    content = json.loads(out.read_text())
    assert content["provenance"]["resumed_images"] == 10
    assert content["metrics"]["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("jobs", "death"), [(1, signal.SIGINT), (2, signal.SIGINT), (2, signal.SIGKILL)]
)
def test_a_process_that_dies_leaves_its_journal_and_no_children(
    model: Callable[..., Path], shapes: Path, tmp_path: Path, jobs: int, death: Any
) -> None:
    out, journal = tmp_path / "run.json", tmp_path / "run.json.journal"
    fake = model(score=0.7, slow=0.1)
    command = ["coco", str(fake), "--data", str(shapes / "data.yaml"), "--json", str(out)]
    command += ["--jobs", str(jobs)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from yolo_eval.cli import main; main()", *command],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and (not journal.exists() or journal.read_text().count("\n") < 3):
        time.sleep(0.01)
    process.send_signal(death)
    # Ends when the last process has closed its standard error.
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == (130 if death == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in errors
    assert not out.exists()
    content = coco(fake, shapes, out, "--jobs", jobs)
    assert content["provenance"]["resumed_images"] >= 2
    whole = coco(model("fast.fake", score=0.7), shapes, tmp_path / "whole.json")
    assert content["predictions"] == whole["predictions"]


def test_a_journal_of_another_run_is_refused(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run.json"
    assert (
        run("coco", model(fail=5), "--data", shapes / "data.yaml", "--json", out).exit_code == 130
    )
    command = ("coco", model(), "--data", shapes / "data.yaml", "--json", out)
    result = run(*command)
    assert result.exit_code == 2
    assert "belongs to an unfinished run" in result.output
    assert f"rm {out}.journal" in result.output
    (tmp_path / "run.json.journal").unlink()  # as told
    assert run(*command).exit_code == 0


def test_a_journal_without_pictures_is_in_nobodys_way(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    out, journal = tmp_path / "run.json", tmp_path / "run.json.journal"
    assert run("coco", model(fail=0), "--data", shapes / "data.yaml", "--json", out).exit_code
    assert not journal.exists()
    # A kill leaves what no handler can remove.
    journal.write_text('{"format": "yolo-eval-journal/1", "binding": "other"}\n')
    assert run("coco", model(), "--data", shapes / "data.yaml", "--json", out).exit_code == 0
    assert not journal.exists()


def test_two_runs_at_once_do_not_share_a_journal(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    out, journal = tmp_path / "run.json", tmp_path / "run.json.journal"
    command = ["coco", str(model(slow=0.1)), "--data", str(shapes / "data.yaml"), "--json"]
    command.append(str(out))
    first = subprocess.Popen(
        [sys.executable, "-c", "from yolo_eval.cli import main; main()", *command],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while first.poll() is None and not journal.exists():
        time.sleep(0.01)
    second = run(*command)
    assert second.exit_code == 2
    assert "is being written by another command" in second.output.splitlines()[-1]
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert json.loads(out.read_text())["metrics"]["images"] == 12


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("what has this to do", "is damaged"),
        ("[" * 100000, "is damaged"),
        ('{"image_id": 1, "sha256": "", "detections": [[1, [0, 0, 1, 1]]]}', "is damaged"),
        ('{"image_id": 2, "image_id": 1, "sha256": "", "detections": []}', "image_id twice"),
        ('{"image_id": 1e999, "sha256": "", "detections": []}', "has image_id inf"),
        ('{"image_id": 99, "sha256": "", "detections": [[1, [0, 0, 1, 1], 1]]}', "on image 99"),
        ('{"image_id": 1, "sha256": "", "detections": [[9, [0, 0, 1, 1], 1]]}', "of category 9"),
        ('{"image_id": 1, "sha256": "", "detections": [[1, [0, 0, 1, 1], NaN]]}', "without score"),
        ('{"image_id": 1, "sha256": "", "detections": [[1, [0, 0, -1, 1], 1]]}', "has the box"),
    ],
)
def test_a_damaged_journal_is_one_line(
    model: Callable[..., Path], shapes: Path, tmp_path: Path, line: Any, cause: str
) -> None:
    out, journal = tmp_path / "run.json", tmp_path / "run.json.journal"
    command = ("coco", model(fail=2), "--data", shapes / "data.yaml", "--json", out)
    assert run(*command).exit_code == 130
    journal.write_text(journal.read_text().splitlines()[0] + "\n" + line + "\n")
    result = run(*command)
    assert result.exit_code == 2
    assert result.output.splitlines()[-1].startswith(f"Error: {journal}")
    assert cause in result.output.splitlines()[-1]


@pytest.mark.parametrize("cut", [0, 20, 60])
def test_a_corrupt_picture_is_named_and_left_out(
    model: Callable[..., Path], shapes: Path, tmp_path: Path, cut: int
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(shapes, copy)
    picture = copy / "images/val/04.png"
    picture.write_bytes(picture.read_bytes()[:cut] or b"")
    out = tmp_path / "run.json"
    command = ("coco", model(), "--data", copy / "data.yaml", "--json", out)
    result = run(*command, "--strict")
    assert result.exit_code == 2
    assert f"first {picture}: " in result.output.splitlines()[-1]
    assert not out.exists()
    result = run(*command)
    assert result.exit_code == 0
    assert f"left out: {picture}: " in result.output
    assert json.loads(out.read_text())["left_out"] == {"left out": 1}


def test_a_corrupt_picture_of_a_coco_set_is_named(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    """It is left out and told before anything is predicted; --strict stops."""
    pictures, annotations = tmp_path / "pictures", tmp_path / "instances.json"
    shutil.copytree(shapes / "images/val", pictures)
    content = coco(model(), shapes, tmp_path / "whole.json")
    annotations.write_text(
        json.dumps({key: content[key] for key in ("images", "categories", "annotations")})
    )
    whole = (pictures / "07.png").read_bytes()
    (pictures / "07.png").write_bytes(whole[:30])
    command = ("coco", model(), "--images", pictures, "--annotations", annotations,
               "--json", tmp_path / "run.json")  # fmt: skip
    result = run(*command, "--strict")
    assert result.exit_code == 2
    assert "07.png: is a PNG that ends too early" in result.output.splitlines()[-1]
    assert "07.png: is a PNG that ends too early" in run(*command).output
    assert len(json.loads((tmp_path / "run.json").read_text())["images"]) == 11
    (pictures / "07.png").write_bytes(whole)
    assert run(*command).exit_code == 0
    again = json.loads((tmp_path / "run.json").read_text())
    assert again["predictions"] == content["predictions"]


def test_a_picture_of_another_size_than_annotated_is_told(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    content = coco(model(), shapes, tmp_path / "whole.json")
    content["images"][2]["width"] = 65
    content["annotations"][0]["category_id"] = 77
    annotations = tmp_path / "instances.json"
    annotations.write_text(
        json.dumps({key: content[key] for key in ("images", "categories", "annotations")})
    )
    command = "coco", model(), "--images", shapes / "images/val", "--annotations", annotations
    result = run(*command, "--json", tmp_path / "run.json")
    assert result.exit_code == 0, result.output
    assert "of another size than stated: 02.png is 64 by 64 pixels, not 65 by 64" in result.output
    assert "1 annotations left out" in result.output
    assert "label rows" not in result.output
    found = json.loads((tmp_path / "run.json").read_text())
    assert found["left_out"] == {"annotations left out": 1}
    strict = run(*command, "--strict")
    assert strict.exit_code == 2
    assert "has 2 faults" in strict.output


def test_several_models_write_into_a_folder(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    first, second = model("a.fake"), model("b.fake", drop=[0])
    result = run("coco", first, second, "--data", shapes / "data.yaml", "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "a.fake.html", "a.fake.json", "b.fake.html", "b.fake.json"
    }  # fmt: skip


def test_another_size_than_the_model_is_made_for_is_said(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    fake = model(own_imgsz=[64, 64])
    command = ("coco", fake, "--data", shapes / "data.yaml", "--json", tmp_path / "run.json")
    assert "is made for" not in run(*command).output
    assert "is made for 64x64 and runs at 96x96" in run(*command, "--imgsz", 96).output


def test_images_are_fitted_as_the_model_says_unless_told_otherwise(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    content = coco(model(), shapes, tmp_path / "run.json", "--squash")
    assert content["settings"]["mode"] == "squash"
    squashed = model("squash.fake", mode="squash")
    assert coco(squashed, shapes, tmp_path / "own.json")["settings"]["mode"] == "squash"
    told = coco(squashed, shapes, tmp_path / "told.json", "--letterbox")
    assert told["settings"]["mode"] == "letterbox"


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["--imgsz", "9000"], "multiples of 32"),
        (["--imgsz", "big"], "--imgsz: is 'big'"),
        (["--shard", "3/2"], "--shard: is '3/2'"),
        (["--images", "x"], "name no ground truth"),
        (["--json", "a.json", "--out", "b"], "name the run file twice"),
    ],
)
def test_bad_options_are_one_line(
    model: Callable[..., Path], shapes: Path, tmp_path: Path, options: list[str], cause: str
) -> None:
    result = run("coco", model(), "--data", shapes / "data.yaml", *options)
    assert result.exit_code == 2
    assert cause in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_what_is_no_model_is_one_line(shapes: Path, tmp_path: Path) -> None:
    result = run("coco", tmp_path / "none", "--data", shapes / "data.yaml")
    assert result.exit_code == 2
    assert "is not a model that can be opened here" in result.output
