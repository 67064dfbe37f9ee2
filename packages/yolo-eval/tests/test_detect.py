"""`yolo-eval detect`: pictures, labels and JSON from whatever source."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from yolo_core.arrays import Array
from yolo_core.yolo.letterbox import opencv, read_image
from yolo_eval.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def truth_of(shapes: Path, number: int) -> Array:
    lines = (shapes / f"labels/val/{number:02}.txt").read_text().split("\n")[:-1]
    return np.array([[float(word) for word in line.split()] for line in lines])


def test_a_folder_gives_pictures_labels_and_json(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run("detect", model(), shapes / "images", "--out", out)
    assert result.exit_code == 0, result.output
    for number in range(12):
        assert read_image(out / f"val/{number:02}.png").shape == (64, 64, 3)
        lines = (out / f"labels/val/{number:02}.txt").read_text().splitlines()
        labels = np.array([[float(word) for word in line.split()] for line in lines])
        expected = truth_of(shapes, number) if number != 5 else np.zeros((0, 5))
        assert len(labels) == len(expected)
        if len(labels):
            order = np.argsort(labels[:, 0])
            np.testing.assert_allclose(labels[order][:, :5], expected, atol=2e-3)
            np.testing.assert_allclose(labels[:, 5], 0.9, atol=1e-3)
    content = json.loads((out / "detections.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [
        f"val/{number:02}.png" for number in range(12)
    ]
    assert content["images"][5]["detections"] == []
    assert "val/05.png: nothing" in result.output
    # The drawing is on the picture.
    assert (read_image(out / "val/00.png") != read_image(shapes / "images/val/00.png")).any()
    np.testing.assert_array_equal(
        read_image(out / "val/05.png"), read_image(shapes / "images/val/05.png")
    )


def test_globs_and_single_files(model: Callable[..., Path], shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pattern = shapes / "images/val/0[0-3].png"
    result = run("detect", model(), pattern, shapes / "images/val/07.png", "--out", out)
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in out.glob("*.png"))
    assert names == ["00.png", "01.png", "02.png", "03.png", "07.png"]


def test_a_video_is_detected_frame_by_frame(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    cv2 = opencv()
    film = tmp_path / "film.avi"
    # Lossless, so that the colours arrive as they are.
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*"FFV1"), 5, (64, 64))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no lossless video")
    for number in range(4):
        writer.write(cv2.imread(str(shapes / f"images/val/{number:02}.png")))
    writer.release()
    out = tmp_path / "out"
    result = run("detect", model(), film, "--out", out)
    assert result.exit_code == 0, result.output
    content = json.loads((out / "detections.json").read_text())
    assert [image["frame"] for image in content["images"]] == [0, 1, 2, 3]
    reader = cv2.VideoCapture(str(out / "film.mp4"))
    assert int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) == 4
    assert len(list((out / "labels").iterdir())) == 4
    assert {path.name for path in out.iterdir()} == {"film.mp4", "labels", "detections.json"}


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("none.jpg", "does not exist"),
        ("none.mp4", "does not exist"),
        ("*.webp", "matches no file"),
        ("broken.png", "is not an image"),
        ("broken.mp4", "is not a video"),
        ("film\udcff.mp4", "is not UTF-8"),
    ],
)
def test_bad_sources_are_one_line(
    model: Callable[..., Path], tmp_path: Path, source: str, cause: str
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing more")
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    (tmp_path / "film\udcff.mp4").write_bytes(b"no film")
    result = run("detect", model(), tmp_path / source, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert cause in result.output.splitlines()[-1]
    assert not list((tmp_path / "out").rglob("*.mp4"))


def test_two_results_of_one_name_are_refused(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    other = tmp_path / "00.png"
    shutil.copy(shapes / "images/val/01.png", other)
    result = run("detect", model(), shapes / "images/val/00.png", other, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "would share its result" in result.output


@pytest.mark.parametrize("sources", [["images"], ["images/val/00.png", "images/val/01.png"]])
def test_originals_are_never_painted_over(
    model: Callable[..., Path], shapes: Path, tmp_path: Path, sources: list[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(shapes, copy)
    out = copy / "images" if sources == ["images"] else copy / "images/val"
    result = run("detect", model(), *(copy / source for source in sources), "--out", out)
    assert result.exit_code == 2
    assert "00.png: lies where its result would go" in result.output
    assert (copy / "images/val/00.png").read_bytes() == (shapes / "images/val/00.png").read_bytes()
