from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from yolo_core.errors import InputError
from yolo_core.yolo.dataset import label_path, read_data_yaml, read_labels
from yolo_core.yolo.letterbox import read_image
from yolo_train.cli import main
from yolo_train.shapes import NAMES, shapes_image, write_shapes


def _digest(folder: Path) -> Any:
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            state.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return state.hexdigest()


def test_same_seed_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        result = CliRunner().invoke(
            main, ["shapes", "--out", str(tmp_path / name), "--images", "20", "--imgsz", "64",
                   "--seed", str(seed)],
        )  # fmt: skip
        assert result.exit_code == 0, result.output
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b") != _digest(tmp_path / "c")


def test_pixels_are_what_they_were_when_the_generator_was_written() -> None:
    image, labels = shapes_image(64, seed=0, number=3)
    words = np.random.RandomState([0, 3]).randint(0, 1 << 16, 1000).astype("<i8").tobytes()
    assert zlib.crc32(words) == 0x6CC823C, f"NumPy {np.__version__} draws other numbers"
    drawn = hashlib.sha256(image.tobytes()).hexdigest()
    assert drawn.startswith("25895c0d7d9bbda6"), f"OpenCV {cv2.__version__} draws other pixels"
    digest = hashlib.sha256(image.tobytes() + repr(labels).encode()).hexdigest()
    assert digest == "304dc60266e134f365610a32c42b3bf3c92a4a8c8cd4fd282e4fffd32d06166e"


def test_layout_is_a_yolo_dataset_with_a_fifth_for_validation(shapes: Path) -> None:
    data = read_data_yaml(shapes)
    assert data.names == NAMES
    assert [len(data.images(split)) for split in ("train", "val")] == [24, 6]
    boxes = [read_labels(label_path(image), len(NAMES)) for image in data.images("train")]
    assert all(path.exists() for path in map(label_path, data.images("val")))
    assert {int(label) for rows in boxes for label in rows[:, 0]} == {0, 1, 2, 3}
    assert read_image(data.images("train")[0]).shape == (64, 64, 3)


def test_a_box_is_where_the_shape_is() -> None:
    # The same picture with and without its shapes differs inside the boxes only; noise aside,
    # an isolated shape must reach all four sides of its box.
    for number in range(40):
        image, labels = shapes_image(256, seed=5, number=number)
        if len(labels) != 1:
            continue
        _, x, y, w, _h = labels[0]
        left, right = round((x - w / 2) * 256), round((x + w / 2) * 256)
        middle = image[round(y * 256)].astype(int)
        inside = middle[round(x * 256)]
        near = np.abs(middle - inside).max(axis=1) < 40
        assert near[left : right + 1].any()
        break
    else:
        pytest.fail("no picture with a single shape")


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose")
    with pytest.raises(InputError, match="other files"):
        write_shapes(tmp_path, images=10, imgsz=64, seed=0)
    assert (tmp_path / "thesis.txt").read_text() == "do not lose"


@pytest.mark.parametrize(
    "words", [["--images", "3"], ["--imgsz", "9"], ["--seed", "-1"]], ids=lambda words: words[0]
)
def test_out_of_range_is_one_line_and_exit_code_2(tmp_path: Path, words: list[str]) -> None:
    result = CliRunner().invoke(main, ["shapes", "--out", str(tmp_path / "x"), *words])
    assert result.exit_code == 2
    assert result.output.strip().count("\n") == 0
    assert words[0] in result.output
    assert not (tmp_path / "x").exists()
