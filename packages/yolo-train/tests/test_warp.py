"""Pictures are warped to the same bytes everywhere; what else moves a curve is told by name."""

from __future__ import annotations

import hashlib
from typing import Callable

import cv2
import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_train.augment import training_sample
from yolo_train.hyp import Hyp
from yolo_train.warp import warp

GREY = 114


def _digest(*arrays: Array) -> str:
    state = hashlib.sha256()
    for array in arrays:
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:16]


def _cases(perspective: bool) -> list[tuple[Array, Array, tuple[int, int]]]:
    """Pictures, matrices and sizes; shrinking, turning over, and leading far outside."""
    rng = np.random.default_rng(7)
    cases = []
    for _ in range(25):
        height, width = rng.integers(2, 120, 2)
        matrix = np.array([*rng.uniform(-2, 2, (2, 3)), (0, 0, 1)])
        matrix[:2, 2] *= 40
        if perspective:
            matrix[2, :2] = rng.uniform(-1e-2, 1e-2, 2)
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        rows, columns = rng.integers(1, 90, 2).tolist()
        cases.append((image, matrix, (rows, columns)))
    return cases


@pytest.mark.parametrize(
    ("perspective", "expected"), [(False, "aede11eeaf73917f"), (True, "ea48bcd062693ce7")]
)
def test_bytes_are_the_same_with_every_release_of_opencv(perspective: bool, expected: str) -> None:
    found = _digest(*(warp(*case) for case in _cases(perspective)))
    assert found == expected, f"OpenCV {cv2.__version__} or NumPy {np.__version__} moved the warp"


@pytest.mark.parametrize("perspective", [False, True])
@pytest.mark.skipif(int(cv2.__version__.split(".")[0]) != 4, reason="OpenCV 5 warps otherwise")
def test_bytes_are_those_of_opencv_4(perspective: bool) -> None:
    grey = (GREY, GREY, GREY)
    for image, matrix, size in _cases(perspective):
        if perspective:
            theirs = cv2.warpPerspective(image, matrix, size[::-1], borderValue=grey)
        else:
            theirs = cv2.warpAffine(image, matrix[:2], size[::-1], borderValue=grey)
        np.testing.assert_array_equal(warp(image, matrix, size), theirs)


def test_an_image_is_moved_to_where_the_matrix_says_and_grey_surrounds_it() -> None:
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    moved = warp(image, np.array([[1, 0, 2], [0, 1, 1], [0, 0, 1.0]]), (6, 9))
    expected = np.full((6, 9, 3), GREY, np.uint8)
    expected[1:5, 2:7] = image
    np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize("last", [(0, 0, 1), (1e-300, 0, 1), (5, -3, 0), (0, 0, 0)])
@pytest.mark.parametrize("entry", [0.0, 1e-300, 1e6, 1e300])
def test_a_matrix_that_leads_out_of_all_measure_gives_a_picture(
    entry: float, last: tuple[float, ...]
) -> None:
    image = np.full((6, 7, 3), 9, np.uint8)
    with np.errstate(all="ignore"):
        warped = warp(image, np.array([[1, entry, 3], [entry, 1, -2], last]), (5, 4))
    assert warped.shape == (5, 4, 3)


def _picture() -> Array:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (48, 64, 3), dtype=np.uint8).repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize(
    ("name", "function", "expected"),
    [
        ("resize (linear)", lambda x: cv2.resize(x, (150, 97)), "5e46858000b999b6"),
        (
            "resize (area)",
            lambda x: cv2.resize(x, (75, 41), interpolation=cv2.INTER_AREA),
            "42263b6eda7c5a5a",
        ),
        ("cvtColor to HSV", lambda x: cv2.cvtColor(x, cv2.COLOR_RGB2HSV), "c55878e674ed9326"),
        (
            "cvtColor from HSV",
            lambda x: cv2.cvtColor(x % 180, cv2.COLOR_HSV2RGB),
            "6e407d03d9198292",
        ),
        (
            "imdecode of a JPEG",
            lambda x: cv2.imdecode(cv2.imencode(".jpg", x)[1], 1),
            "c9ea78e763680c99",
        ),
    ],
)
def test_a_step_of_opencv_that_moves_a_training_curve_is_named(
    name: str, function: Callable[[Array], Array], expected: str
) -> None:
    message = f"OpenCV {cv2.__version__} moved {name}: training curves differ from other releases"
    assert _digest(function(_picture())) == expected, message


def test_training_samples_are_the_same_on_every_machine() -> None:
    hyp = Hyp(mixup=0.5, flipud=0.5, degrees=10, shear=2, scale=0.5)
    boxes = np.array([[1.0, 10, 12, 70, 60], [0.0, 40, 30, 120, 90]])
    samples = [
        training_sample(
            lambda _: (_picture(), boxes), 0, 4, (128, 128), hyp, np.random.default_rng(seed)
        )
        for seed in range(8)
    ]
    pixels = _digest(*(image for image, _ in samples))
    places = _digest(*(np.rint(rows * 1024).astype("<i8") for _, rows in samples))
    versions = f"NumPy {np.__version__}, OpenCV {cv2.__version__}"
    assert pixels == "a5b740783159b05a", f"the pixels of samples are moved by {versions}"
    assert places == "e55415629e59cfad", f"the boxes of samples are moved by {versions}"
