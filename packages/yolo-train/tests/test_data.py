from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.yolo.dataset import read_data_yaml
from yolo_core.yolo.samples import check_samples
from yolo_train.augment import hsv, mosaic, random_perspective, training_sample
from yolo_train.batches import Loader, Source
from yolo_train.hyp import Hyp
from yolo_train.images import ImageCache

PLAIN = Hyp(mosaic=0, fliplr=0, translate=0, scale=0, hsv_h=0, hsv_s=0, hsv_v=0)


def _samples(shapes: Path) -> Any:
    data = read_data_yaml(shapes)
    return check_samples(data.images("train"), len(data.names), "train")[0]


def _marked(height: int, width: int, boxes: Array) -> Any:
    """A dark image with a bright patch in every box."""
    image = np.full((height, width, 3), 20, np.uint8)
    for _, x1, y1, x2, y2 in boxes.astype(int):
        image[y1:y2, x1:x2] = 220
    return image


def _brightness(image: Array, box: Any) -> Any:
    x1, y1, x2, y2 = np.round(box).astype(int)
    return image[y1:y2, x1:x2].mean()


@pytest.mark.parametrize("seed", range(20))
def test_boxes_stay_on_their_objects_through_mosaic_flips_and_warp(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(6):
        height, width = (64, int(rng.integers(40, 65))) if rng.random() < 0.5 else (48, 64)
        x, y = rng.integers(2, 16, size=2)
        boxes = np.array([[1.0, x, y, x + 20, y + 24]])
        parts.append((_marked(height, width, boxes), boxes))
    hyp = Hyp(flipud=0.5, scale=0.3, hsv_h=0, hsv_s=0, hsv_v=0)
    image, boxes = training_sample(lambda n: parts[n], 0, 6, (64, 64), hyp, rng)
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    assert ((boxes[:, 1:] >= 0) & (boxes[:, 1:] <= 64)).all()
    for box in boxes:
        assert _brightness(image, box[1:]) > 180


def test_without_augmentation_a_sample_is_its_image_in_the_middle() -> None:
    boxes = np.array([[2.0, 4, 4, 20, 12]])
    image = _marked(32, 64, boxes)
    sample, moved = training_sample(
        lambda n: (image, boxes), 0, 1, (64, 64), PLAIN, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(sample[16:48], image)
    np.testing.assert_allclose(moved, [[2, 4, 20, 20, 28]], atol=1e-6)


def test_mosaic_puts_four_images_around_a_point() -> None:
    parts = [(np.full((32, 32, 3), value, np.uint8), np.zeros((0, 5))) for value in (1, 2, 3, 4)]
    canvas, _ = mosaic(parts, 32, np.random.default_rng(1))
    assert canvas.shape == (64, 64, 3)
    assert set(np.unique(canvas)) <= {1, 2, 3, 4, 114}
    assert len(np.unique(canvas)) >= 4


def test_a_box_that_leaves_the_picture_goes() -> None:
    boxes = np.array([[0.0, 0, 0, 10, 10], [0.0, 90, 90, 110, 110]])
    image = np.zeros((200, 200, 3), np.uint8)
    hyp = dataclasses.replace(PLAIN, perspective=0)
    _, kept = random_perspective(image, boxes, hyp, (100, 100), np.random.default_rng(0))
    np.testing.assert_allclose(kept[:, 1:], [[40, 40, 60, 60]], atol=1e-6)


def test_colour_changes_leave_grey_grey() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    changed = hsv(grey, Hyp(hsv_h=0.5, hsv_s=0.9, hsv_v=0.5), np.random.default_rng(3))
    assert (changed.max(axis=2) - changed.min(axis=2)).max() == 0
    assert (changed != grey).any()


def _digest(batches: Any) -> Any:
    state = hashlib.sha256()
    for batch in batches:
        state.update(batch.images.tobytes() + batch.targets.tobytes())
    return state.hexdigest()


def test_workers_cache_and_no_workers_give_the_same_batches(shapes: Path) -> None:
    samples = _samples(shapes)
    order = np.random.default_rng(0).permutation(len(samples)).tolist()
    plan = [range(start, start + 10) for start in (0, 10, 20)]
    digests = set()
    with Loader(Source.of(samples, 64, Hyp(mixup=0.5), seed=1), 0, 10) as loader:
        digests.add(_digest(loader.epoch(2, order, plan)))
        assert _digest(loader.epoch(3, order, plan)) not in digests
    cache = ImageCache.of([sample.image for sample in samples], 64, limit=64 * 64 * 3 * 10)
    assert len(cache.memory) == 64 * 64 * 3 * 10
    assert cache.image(9) is not None
    assert cache.image(10) is None
    source = Source.of(samples, 64, Hyp(mixup=0.5), seed=1, cache=cache)
    with Loader(source, 2, 10) as loader:
        digests.add(_digest(loader.epoch(2, order, plan)))
    assert len(digests) == 1


@pytest.mark.parametrize("after", [0, 0.002, 0.01])
def test_a_killed_worker_ends_the_epoch_with_an_error(shapes: Path, after: float) -> None:
    # Batches of megabytes that take but a moment to make: it dies handing one over, likely.
    samples = _samples(shapes)
    cache = ImageCache.of([sample.image for sample in samples], 64, limit=1 << 30)
    with Loader(Source.of(samples, 64, PLAIN, seed=1, cache=cache), 1, 256) as loader:
        batches = loader.epoch(0, range(24), [range(256)] * 500)
        next(batches)
        (worker,) = multiprocessing.active_children()
        time.sleep(after)
        worker.kill()
        begin = time.monotonic()
        with pytest.raises(InputError, match="worker died"):
            list(batches)
        assert time.monotonic() - begin < 30


def test_the_check_names_every_faulty_file_and_keeps_the_rest(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    picture = np.zeros((32, 32, 3), np.uint8)
    texts = {
        "fine": "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n",
        "twice": "0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n",
        "empty": "",
        "outside": "0 0.5 1.5 0.2 0.2\n",
        "words": "a cat sits over here\n",
        "broken": "0 0.5 0.5 0.2 0.2\n",
    }
    for name, text in texts.items():
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), picture)
        (tmp_path / "labels" / f"{name}.txt").write_text(text)
    (tmp_path / "images" / "broken.png").write_bytes(b"\x89PNG no")
    cv2.imwrite(str(tmp_path / "images" / "unlabelled.png"), picture)
    images = sorted((tmp_path / "images").iterdir())
    samples, report = check_samples(images, 2, "train")
    assert [sample.image.stem for sample in samples] == [
        "empty",
        "fine",
        "outside",
        "twice",
        "unlabelled",
        "words",
    ]
    assert [len(sample.labels) for sample in samples] == [0, 2, 0, 1, 0, 0]
    assert (len(report.corrupt), len(report.rows)) == (1, 2)
    summary = report.summary()
    for name in ("outside.txt:1", "words.txt:1", "broken.png", "unlabelled.png", "twice.txt:2"):
        assert name in summary
    assert "fine" not in summary
    with pytest.raises(InputError, match="5 faults"):
        report.refuse_faults()
    with pytest.raises(InputError, match="no usable image"):
        check_samples([tmp_path / "images" / "broken.png"], 2, "val")


def test_a_rectangle_holds_its_images_and_their_boxes() -> None:
    boxes = np.array([[0.0, 6, 2, 30, 14], [1, 40, 3, 60, 15]])
    image = _marked(24, 64, boxes)
    hyp = dataclasses.replace(PLAIN, fliplr=1, flipud=1)
    sample, moved = training_sample(
        lambda n: (image, boxes), 0, 1, (32, 64), hyp, np.random.default_rng(0)
    )
    assert sample.shape == (32, 64, 3)
    for box in moved[:, 1:]:
        assert _brightness(sample, box) == 220
    np.testing.assert_allclose(moved[0], [0, 64 - 30, 32 - 18, 64 - 6, 32 - 6])
    turned = dataclasses.replace(PLAIN, degrees=10, translate=0.1, scale=0.3)
    for seed in range(5):
        warped, found = random_perspective(
            sample, moved, turned, (32, 64), np.random.default_rng(seed)
        )
        assert warped.shape == (32, 64, 3)
        assert (found[:, 1:] >= 0).all()
        assert (found[:, [1, 3]] <= 64).all()
        assert (found[:, [2, 4]] <= 32).all()
