"""Labels and annotation files: what they become, and one clear line when they are bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolo_core.errors import InputError
from yolo_eval.runs.ground_truth import from_coco, from_data_yaml, parse_coco
from yolo_eval.runs.run import predictions_text, read_run


def content(**changes: Any) -> dict[str, Any]:
    """A valid annotation file of one image, with changes."""
    valid = {
        "images": [{"id": 7, "file_name": "a.png", "width": 64, "height": 48}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1}
        ],
    }
    return {**valid, **changes}


def test_labels_become_boxes_in_pixels(shapes: Path) -> None:
    truth = from_data_yaml(shapes / "data.yaml")
    assert [category.name for category in truth.categories] == ["red", "green", "blue"]
    assert [category.id for category in truth.categories] == [1, 2, 3]
    assert [image.file_name for image in truth.images] == [f"{n:02}.png" for n in range(12)]
    assert not [box for box in truth.boxes if box.image_id == 6]  # no label file: no objects
    label, x, y, w, h = (
        float(v) for v in (shapes / "labels/val/00.txt").read_text().split("\n")[0].split()
    )
    box = truth.boxes[0]
    assert box.category_id == label + 1
    assert box.bbox == pytest.approx((64 * (x - w / 2), 64 * (y - h / 2), 64 * w, 64 * h), abs=1e-3)
    assert box.area == pytest.approx(box.bbox[2] * box.bbox[3], abs=1e-3)


def test_an_annotation_file_is_read_whole() -> None:
    truth = parse_coco(content(), "a.json", "images")
    assert (truth.objects, truth.crowds) == (0, 1)
    assert truth.boxes[0].area == 12.0  # where the file has none, the box's


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ([], "is not a COCO annotation file"),
        (content(images=[]), "lists no images"),
        (content(categories=[]), "lists no categories"),
        (content(images=None), "has no list 'images'"),
        (content(images=[{"id": 7}]), "image 7 has no file_name"),
        (content(images=[{"id": 7.5}]), "has the image id 7.5"),
        (content(images=[{"id": True}]), "has the image id True"),
        (
            content(images=[{"id": 7, "file_name": "../../etc", "width": 4, "height": 4}]),
            "lies outside the folder",
        ),
        (
            content(
                categories=[{"id": 3, "name": "red"}, {"id": 4, "name": "red"}], annotations=[]
            ),
            "two categories 'red'",
        ),
        (content(images=content()["images"] * 2), "has the image id 7 twice"),
        (content(annotations=[{"image_id": 8, "category_id": 3}]), "unknown image 8"),
        (content(annotations=[{"image_id": 7, "category_id": 4}]), "unknown category 4"),
        (
            content(annotations=[{"image_id": 7, "category_id": 3, "bbox": [0, 0, -1, 2]}]),
            "has the box [0, 0, -1, 2]",
        ),
        (
            content(annotations=[{"image_id": 7, "category_id": 3, "bbox": [0, 0, 1]}]),
            "has the box [0, 0, 1]",
        ),
        (
            content(annotations=[{"image_id": 7, "category_id": 3, "bbox": [0, 0, 1e99, 1]}]),
            "has the box",
        ),
        (
            content(
                annotations=[
                    {"image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 1], "iscrowd": "no"}
                ]
            ),
            "iscrowd 'no'",
        ),
    ],
)
def test_bad_annotations_are_one_clear_line(changed: Any, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(changed))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(InputError) as error:
        from_coco(path, tmp_path)
    assert str(error.value).startswith(str(path))
    assert cause in str(error.value)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content()))
    with pytest.raises(
        InputError, match=r"a\.png: does not exist; expected the image with id 7 of "
    ):
        from_coco(path, tmp_path)


def test_a_bad_label_line_is_named(shapes: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(shapes, copy)
    label = copy / "labels/val/03.txt"
    label.write_text("0 0.5 0.5 0.1 0.1\nwhat has this to do\n")
    told: list[str] = []
    assert from_data_yaml(copy / "data.yaml", tell=told.append).left_out
    assert "03.txt:2" in told[0]
    with pytest.raises(InputError, match=r"03\.txt:2"):
        from_data_yaml(copy / "data.yaml", strict=True)


def test_a_missing_split_is_named(shapes: Path) -> None:
    with pytest.raises(InputError, match="`test`"):
        from_data_yaml(shapes / "data.yaml", "test")


DETECTION = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    ("items", "cause"),
    [
        ([{**DETECTION, "image_id": 9}], "has detections on image 9"),
        ([{**DETECTION, "category_id": 9}], "has detections of category 9"),
        ([{**DETECTION, "score": None}], "has a detection without score"),
        ([{**DETECTION, "score": float("nan")}], "has a detection without score"),
        ([{**DETECTION, "bbox": "all"}], "has the box 'all'"),
        ([5], "has image_id None"),
        ({"no": "run"}, "is not a run file of yolo-eval"),
    ],
)
def test_bad_results_are_one_clear_line(items: Any, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(items))
    with pytest.raises(InputError) as error:
        read_run(path, parse_coco(content(), "a.json", "images"))
    assert str(error.value).startswith(str(path))
    assert cause in str(error.value)


def test_a_truncated_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"format": "yolo-eval-run/1", "model"')
    with pytest.raises(InputError, match="is not valid JSON"):
        read_run(path)
    packed = tmp_path / "run.json.gz"
    packed.write_bytes(b"\x1f\x8b not gzip")
    with pytest.raises(InputError, match="is not a gzip file"):
        read_run(packed)


def test_a_list_of_detections_may_name_the_texts_of_the_annotation_file(tmp_path: Path) -> None:
    note = {"image_id": "seven", "category_id": "c", "bbox": [1, 2, 3, 4]}
    file = content(
        images=[{"id": "seven", "file_name": "a.png", "width": 64, "height": 48}],
        categories=[{"id": "c", "name": "cat"}], annotations=[note],
    )  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(file))
    (tmp_path / "found.json").write_text(json.dumps([{**note, "score": 0.5}]))
    truth = from_coco(tmp_path / "a.json", None, pictures=False)
    run = read_run(tmp_path / "found.json", truth)
    assert list(run.predictions.rows()) == [(1, 1, [1.0, 2.0, 3.0, 4.0], 0.5)]
    assert json.loads(predictions_text(run)) == [{**note, "score": 0.5}]


def test_crowds_alone_are_nothing_to_be_found(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content()))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(InputError, match="crowds alone"):
        from_coco(tmp_path / "a.json", tmp_path)
