"""Few, poor and enough pictures: what is told, how thresholds follow, and who judges."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from mrt_samples import decibels_of, make_checkpoint
from test_quantize import quantize

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import read_json
from yolo_core.yolo.letterbox import Letterbox, opencv
from yolo_mrt.calibrate.calibration import HEADROOM, caution, wishes
from yolo_mrt.calibrate.float_pass import TensorStatistics
from yolo_mrt.calibrate.views import ENOUGH, views, views_each
from yolo_mrt.compile.comparison import Agreement, share_interval
from yolo_mrt.pictures import Likeness, calibration_images, judging_images


def picture(seed: int, height: int = 60, width: int = 80) -> Array:
    generator = np.random.RandomState(seed)
    tiles = generator.randint(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.repeat(np.repeat(tiles, height // 6, axis=0), width // 8, axis=1)


def save(folder: Path, images: list[Array]) -> Path:
    folder.mkdir()
    for number, pixels in enumerate(images):
        assert opencv().imwrite(str(folder / f"{number:03d}.png"), pixels)
    return folder


@pytest.mark.parametrize(
    ("images", "word"),
    [
        ([picture(0)], "1 picture shows little"),
        ([picture(0)] * 6, "5 of 6 pictures are copies"),
        ([picture(0), *(picture(0) ^ np.uint8(1) for _ in range(3))], "only 1 of 4 pictures"),
        ([picture(seed) // 8 for seed in range(4)], "most pictures are poor"),
        ([picture(seed, 24, 32) for seed in range(4)], "much smaller than the network's input"),
        ([np.full((40, 40, 3), 7, np.uint8), *(picture(s) for s in range(3))], "of one colour"),
    ],
)
def test_pictures_that_show_too_little_are_told(
    images: list[Array], word: str, tmp_path: Path
) -> None:
    told: list[str] = []
    calibration_images(save(tmp_path / "data", images), 64, told.append, imgsz=(640, 640))
    assert any(word in line for line in told), told


def test_a_device_among_the_pictures_is_refused(tmp_path: Path) -> None:
    """Also where it would only judge, and where faulty pictures are left out."""
    folder = save(tmp_path / "data", [picture(seed) for seed in range(3)])
    os.mkfifo(folder / "x.png")
    with pytest.raises(InputError, match=r"x\.png: is not a regular file but a pipe"):
        calibration_images(folder, 4, imgsz=(64, 64))
    with pytest.raises(InputError, match=r"x\.png: is not a regular file but a pipe"):
        judging_images(folder, [folder / "000.png"])


def test_a_set_without_a_validation_part_is_calibrated_on(tmp_path: Path) -> None:
    save(tmp_path / "data", [picture(seed) for seed in range(3)])
    source = tmp_path / "data.yaml"
    for val in ("", "val: absent\n"):
        source.write_text(f"train: data\n{val}names: [a]\n")
        images = calibration_images(source, 3, imgsz=(64, 64))
        assert len(images) == 3
        assert judging_images(source, images) == ()
    source.write_text("train: data\nval: data/002.png\nnames: [a]\n")
    assert judging_images(source, [tmp_path / f"data/00{n}.png" for n in range(2)]) != ()


def test_fewer_pictures_than_asked_for_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    folder = save(tmp_path / "data", [picture(0)])
    calibration_images(folder, 128, told.append, imgsz=(64, 64))
    assert told[0] == f"{folder}: calibrates on 1 of 128 pictures asked for; no more are there"


def test_good_pictures_are_passed_in_silence(tmp_path: Path) -> None:
    told: list[str] = []
    folder = save(tmp_path / "data", [picture(seed) for seed in range(20)])
    assert len(calibration_images(folder, 20, told.append, imgsz=(64, 64))) == 20
    assert not told


@pytest.mark.parametrize("pixels", [np.zeros((72, 96, 3), np.uint8), picture(0)[:1, :1]])
def test_a_picture_that_shows_nothing_is_refused(pixels: Array, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one colour"):
        calibration_images(save(tmp_path / "data", [pixels]), 128)


def test_pictures_are_counted_by_what_they_show() -> None:
    likeness = Likeness()
    first = picture(1)
    assert likeness.is_new(first)
    assert not likeness.is_new(first ^ np.uint8(1))
    assert not likeness.is_new(np.full((9, 9, 3), 30, np.uint8))
    assert likeness.is_new(picture(2))
    assert likeness.different == 2


def test_views_are_the_picture_seen_otherwise() -> None:
    image = picture(3, 96, 64)
    fit = Letterbox(64, 64)
    seen = list(views(image, fit, 12))
    assert len(seen) == views_each(1) == 12
    assert all(view.shape == (64, 64, 3) and view.dtype == np.uint8 for view in seen)
    assert len({view.tobytes() for view in seen}) == 12
    assert (seen[0] == fit.apply(image)[0]).all()
    assert (seen[1] == seen[0][:, ::-1]).all()
    assert (seen[11] == 255 - seen[0]).all()
    assert list(map(views_each, (0, 1, 8, 32, 63, ENOUGH, 1000))) == [12, 12, 12, 3, 2, 1, 1]
    assert len(list(views(image[:1, :1], fit, 12))) == 12


def test_thresholds_widen_where_pictures_are_few() -> None:
    generator = np.random.RandomState(0)
    values = generator.exponential(2.0, (8, 20, 20)).astype(np.float32)
    values[3] /= 40  # a channel that these pictures hardly wake
    stats = TensorStatistics.empty(8)
    stats.add(values, 1)
    low, weight = np.zeros(8), np.ones(8)
    wished = [wishes(stats, low, weight, pictures) for pictures in (1, 4, 16, 64, 128)]
    for few, more in zip(wished, wished[1:-1]):
        assert (few > more).all()
    assert (wished[3] == wished[4]).all()
    # The quiet channel is given the tensor's threshold rather than its own.
    assert wished[0][3] > 0.6 * wished[0].max()
    assert wished[3][3] < 0.4 * wished[3].max()
    assert caution(ENOUGH) == caution(10**6) == (1, HEADROOM)


def blind(parameters: dict[str, Array]) -> None:
    """Objectness that is never high."""
    for name in parameters:
        if "model.24" in name and name.endswith("bias"):
            parameters[name][4::8] = -9.0


def test_pictures_that_the_float_network_sees_nothing_on_are_told(
    checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    """Such as those of another domain than the network was trained on."""
    told = "calibrate: warning: the float network is confident of an object on 0 of 4 images"
    stages = ("--stage", "prepare", "--stage", "calibrate")
    without = make_checkpoint(tmp_path / "w" / "blind", blind)
    result = quantize(without, pictures, tmp_path / "blind", *stages)
    assert result.exit_code == 0, result.output
    assert told in result.output
    seeing = quantize(checkpoint, pictures, tmp_path / "seeing", *stages)
    assert "warning: the float" not in seeing.output


def test_the_result_is_judged_on_what_was_kept_back(
    checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    result = quantize(checkpoint, pictures, tmp_path / "some", "--num-calib", "2")
    assert result.exit_code == 0, result.output
    assert "evaluate: 2 images it was not calibrated on: " in result.output
    record = read_json(next((tmp_path / "some.stages").glob("*.evaluate.json")))
    assert record["images"] == 2
    assert not record["calibrated_on"]
    every = quantize(checkpoint, pictures, tmp_path / "all")
    assert "evaluate: 4 images it was calibrated on: " in every.output
    assert "no image was left to judge on" in every.output
    assert decibels_of(tmp_path / "all") > 20


def test_what_is_kept_back_was_not_calibrated_on(tmp_path: Path) -> None:
    folder = save(tmp_path / "images", [picture(seed) for seed in range(5)])
    (tmp_path / "val").mkdir()
    save(tmp_path / "val" / "images", [picture(9)])
    chosen = calibration_images(folder, 3)
    kept = judging_images(folder, chosen)
    assert set(kept).isdisjoint(chosen)
    assert len(kept) == 2
    yaml = tmp_path / "data.yaml"
    yaml.write_text(f"path: {tmp_path}\ntrain: images\nval: val/images\nnames: [a]\n", "utf-8")
    every = calibration_images(yaml, 64)
    assert [path.parent.parent.name for path in judging_images(yaml, every)] == ["val"]


def test_a_network_that_overflows_is_refused(pictures: Path, tmp_path: Path) -> None:
    def explode(parameters: dict[str, Array]) -> None:
        for name in ("model.0.conv.weight", "model.1.conv.weight", "model.3.conv.weight"):
            parameters[name] *= np.float32(1e18)

    stem = make_checkpoint(tmp_path / "w" / "odd", explode)
    result = quantize(stem, pictures, tmp_path / "out")
    assert result.exit_code == 2
    assert "overflows at model." in result.output
    assert not (tmp_path / "out").exists()


def test_a_share_has_an_interval() -> None:
    low, high = share_interval(50, 50)
    assert low == pytest.approx(0.929, abs=1e-3)
    assert high == 1.0
    low, high = share_interval(87, 203)
    assert low == pytest.approx(0.362, abs=1e-3)
    assert high == pytest.approx(0.497, abs=1e-3)


def test_a_model_that_loses_boxes_is_told() -> None:
    lines = Agreement(16, 50, 20, 0.8, 30.0, 9.0).told(own=False)
    assert "20 of 50 confident boxes found again (28 to 54 %)" in lines[0]
    assert "loses boxes" in lines[1]
    (nothing,) = Agreement(16, 0, 0, 0.0, None, 9.0).told(own=False)
    assert "is it trained" in nothing
