"""`yolo-eval detect`: pictures, labels and JSON from whatever source."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import run

from yolo_core.arrays import Array
from yolo_core.yolo.letterbox import opencv, read_image


def truth_of(shapes: Path, number: int) -> Array:
    lines = (shapes / f"labels/val/{number:02}.txt").read_text().split("\n")[:-1]
    return np.array([[float(word) for word in line.split()] for line in lines])


def labels_of(path: Path) -> Array:
    return np.array([[float(word) for word in line.split()] for line in path.open()])


def test_a_folder_gives_pictures_labels_and_json(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run("detect", model(), shapes / "images", "--out", out, "--save-txt", "--save-conf")
    assert result.exit_code == 0, result.output
    for number in range(12):
        assert read_image(out / f"val/{number:02}.png").shape == (64, 64, 3)
        if number == 5:  # nothing is found in it, so there is no label file, as in YOLOv5
            assert not (out / f"labels/val/{number:02}.txt").exists()
            continue
        labels = labels_of(out / f"labels/val/{number:02}.txt")
        order = np.argsort(labels[:, 0])
        np.testing.assert_allclose(labels[order][:, :5], truth_of(shapes, number), atol=2e-3)
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


def test_an_interrupted_detection_says_what_is_kept(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stopped = run("detect", model(fail=3), shapes / "images", "--out", out)
    assert stopped.exit_code == 130
    assert "3 of 12 sources were done, and their pictures are kept in" in stopped.output
    assert "detections.json is not written" in stopped.output
    assert "Interrupted. To begin again: main detect" in stopped.output
    assert len(list(out.rglob("*.png"))) == 3
    assert not (out / "detections.json").exists()


def test_globs_and_single_files(model: Callable[..., Path], shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pattern = shapes / "images/val/0[0-3].png"
    result = run("detect", model(), pattern, shapes / "images/val/07.png", "--out", out)
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in out.glob("*.png"))
    assert names == ["00.png", "01.png", "02.png", "03.png", "07.png"]


def lossless_film(path: Path, pictures: list[Path]) -> Path:
    """A film whose colours arrive as they are."""
    cv2 = opencv()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 5, (64, 64))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no lossless video")
    for picture in pictures:
        writer.write(cv2.imread(str(picture)))
    writer.release()
    return path


def test_a_video_is_detected_frame_by_frame(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    cv2 = opencv()
    pictures = [shapes / f"images/val/{number:02}.png" for number in (0, 1, 5, 3)]
    film = lossless_film(tmp_path / "film.avi", pictures)
    out = tmp_path / "out"
    result = run("detect", model(), film, "--out", out, "--save-txt")
    assert result.exit_code == 0, result.output
    content = json.loads((out / "detections.json").read_text())
    assert [image["frame"] for image in content["images"]] == [1, 2, 3, 4]
    reader = cv2.VideoCapture(str(out / "film.mp4"))
    assert int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) == 4
    # The third frame shows nothing.
    names = {f"film_{number}.txt" for number in (1, 2, 4)}
    assert {path.name for path in (out / "labels").iterdir()} == names
    assert {path.name for path in out.iterdir()} == {"film.mp4", "labels", "detections.json"}


def test_the_annotated_video_is_one_that_browsers_play(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    film = lossless_film(tmp_path / "film.avi", [shapes / "images/val/00.png"] * 2)
    assert run("detect", model(), film, "--out", tmp_path / "out").exit_code == 0
    # The sample entry of VP9 in an MP4, or of H.264; "mp4v" plays in none of them.
    data = (tmp_path / "out/film.mp4").read_bytes()
    assert b"vp09" in data or b"avc1" in data


@pytest.mark.parametrize("share", [0.3, 0.98])
def test_a_video_that_a_full_disk_cuts_does_not_take_the_place_of_another(
    model: Callable[..., Path], tmp_path: Path, share: float
) -> None:
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    opencv().imwrite(str(tmp_path / "noise.png"), noise)
    film = lossless_film(tmp_path / "film.avi", [tmp_path / "noise.png"])
    command = "detect", model(), film, "--out", tmp_path / "out"
    assert run(*command).exit_code == 0
    whole = (tmp_path / "out/film.mp4").read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(len(whole) * share), before[1]))
    try:
        result = run(*command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.exit_code == 2
    assert "film.mp4: cannot be written whole" in result.output
    assert (tmp_path / "out/film.mp4").read_bytes() == whole


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("none.jpg", "does not exist"),
        ("none.mp4", "does not exist"),
        ("*.webp", "matches no file"),
        ("broken.png", "is not an image"),
        ("broken.mp4", "is not a video"),
        ("film\udcff.mp4", "is not UTF-8"),
        ("still.gif", "is not a video"),
    ],
)
def test_bad_sources_are_one_line(
    model: Callable[..., Path], tmp_path: Path, source: str, cause: str
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing more")
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    (tmp_path / "still.gif").write_bytes(b"GIF89a")
    (tmp_path / "film\udcff.mp4").write_bytes(b"no film")
    result = run("detect", model(), tmp_path / source, "--out", tmp_path / "out")
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert cause in line
    assert not list((tmp_path / "out").rglob("*.mp4"))


def test_a_broken_picture_is_left_out_and_the_others_go_on(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(shapes / "images/val", folder)
    (folder / "00a.jpg").write_bytes(b"nothing")
    out = tmp_path / "out"
    result = run("detect", model(), folder, "--out", out)
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert sum(line.startswith("left out: ") and "00a.jpg" in line for line in lines) == 1
    assert lines[-1].startswith("Error: sources: 1 of 13 could not be read, first ")
    assert len(list(out.glob("*.png"))) == 12
    content = json.loads((out / "detections.json").read_text())
    assert len(content["images"]) == 12
    assert "00a.jpg" in content["left_out"][0]


def test_two_pictures_of_one_name_have_a_result_each(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    other = tmp_path / "00.png"
    shutil.copy(shapes / "images/val/01.png", other)
    out = tmp_path / "out"
    sources = shapes / "images/val/00.png", other
    result = run("detect", model(), *sources, "--out", out, "--save-txt")
    assert result.exit_code == 0, result.output
    content = json.loads((out / "detections.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["00.png", "00_2.png"]
    assert [image["source"] for image in content["images"]] == [str(path) for path in sources]
    for name, number in (("00", 0), ("00_2", 1)):
        assert len(labels_of(out / f"labels/{name}.txt")) == len(truth_of(shapes, number))


def test_results_go_to_a_new_folder_each_time(
    model: Callable[..., Path], shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = model()
    monkeypatch.chdir(tmp_path)
    shutil.copy(shapes / "images/val/00.png", "a.png")
    for name in ("exp", "exp2"):
        # `.` holds the results of the first run when the second begins.
        result = run("detect", path, ".")
        assert result.exit_code == 0, result.output
        assert result.output.splitlines()[-1].endswith(f"results in runs/detect/{name}")
        assert sorted(path.name for path in Path("runs/detect", name).iterdir()) == [
            "a.png", "detections.json",
        ]  # fmt: skip


def test_the_words_of_yolov5(model: Callable[..., Path], shapes: Path, tmp_path: Path) -> None:
    picture = shapes / "images/val/07.png"
    truth = truth_of(shapes, 7)
    assert len(truth) == 3

    def found(*words: object) -> list[str]:
        result = run("detect", model(), picture, "--out", tmp_path / "out", *words)
        assert result.exit_code == 0, result.output
        content = json.loads((tmp_path / "out/detections.json").read_text())
        return sorted(item["name"] for item in content["images"][0]["detections"])

    assert found() == ["blue", "green", "red"]
    assert found("--classes", 0, 2) == ["blue", "red"]
    assert found("--classes", "green,2") == ["blue", "green"]
    assert found("--classes", "red", "--classes", "blue") == ["blue", "red"]
    assert len(found("--max-det", 1)) == 1
    assert found("--max-det", 1, "--classes", "blue") == ["blue"]
    assert found("--conf-thres", 0.95) == []
    assert not (tmp_path / "out/labels").exists()
    found("--save-txt")
    assert labels_of(tmp_path / "out/labels/07.txt").shape == (3, 5)
    found("--save-txt", "--save-conf")
    assert labels_of(tmp_path / "out/labels/07.txt").shape == (3, 6)
    plain = read_image(picture)
    found("--hide-labels", "--line-width", 1)
    drawn = (read_image(tmp_path / "out/07.png") != plain).any(axis=2).sum()
    found("--line-width", 4)
    assert (read_image(tmp_path / "out/07.png") != plain).any(axis=2).sum() > drawn > 0


def test_crops_are_the_boxes(model: Callable[..., Path], shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    picture = shapes / "images/val/07.png"
    assert run("detect", model(), picture, "--out", out, "--save-crop").exit_code == 0
    for label, name in enumerate(("red", "green", "blue")):
        crop = read_image(out / f"crops/{name}/07_1.jpg")
        width, height = truth_of(shapes, 7)[label][3:] * 64
        assert abs(crop.shape[1] - width) <= 2
        assert abs(crop.shape[0] - height) <= 2
        assert crop.mean(axis=(0, 1)).argmax() == label


def test_an_earlier_run_leaves_no_label_behind(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    words = shapes / "images/val/07.png", "--out", tmp_path / "out", "--save-txt", "--save-crop"
    assert run("detect", model(), *words).exit_code == 0
    assert run("detect", model(), *words, "--conf", 0.99).exit_code == 0
    assert not list((tmp_path / "out").rglob("*.txt"))
    assert not list((tmp_path / "out/crops").rglob("*.jpg"))


def test_boxes_of_several_classes_suppress_each_other_on_demand(
    model: Callable[..., Path], tmp_path: Path
) -> None:
    """Two patches that overlap much: two classes, or one with --agnostic-nms."""
    image = np.full((64, 64, 3), 114, np.uint8)
    image[3:41, 3:41] = (220, 20, 20)
    image[10:40, 10:40] = (20, 200, 20)
    (tmp_path / "x.png").write_bytes(opencv().imencode(".png", image[..., ::-1])[1].tobytes())
    counts = []
    for words in ([], ["--agnostic-nms"]):
        out = tmp_path / "out"
        result = run("detect", model(), tmp_path / "x.png", "--out", out, *words)
        assert result.exit_code == 0, result.output
        content = json.loads((out / "detections.json").read_text())
        counts.append(len(content["images"][0]["detections"]))
    assert counts == [2, 1]


@pytest.mark.parametrize("word", ["cow", "3", "-1"])
def test_a_class_that_the_model_lacks_is_told(
    model: Callable[..., Path], shapes: Path, tmp_path: Path, word: str
) -> None:
    result = run("detect", model(), shapes / "images/val/07.png", f"--classes={word}")
    assert result.exit_code == 2
    assert "0 to 2, or one of red, green, blue" in result.output


@pytest.mark.parametrize("sources", [["images"], ["images/val/00.png", "images/val/01.png"]])
def test_originals_are_never_painted_over(
    model: Callable[..., Path], shapes: Path, tmp_path: Path, sources: list[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(shapes, copy)
    out = copy / "images" if sources == ["images"] else copy / "images/val"
    result = run("detect", model(), *(copy / source for source in sources), "--out", out)
    assert result.exit_code == 2
    name = "images" if sources == ["images"] else "00.png"
    assert f"{name}: lies where its result would go" in result.output
    assert (copy / "images/val/00.png").read_bytes() == (shapes / "images/val/00.png").read_bytes()
