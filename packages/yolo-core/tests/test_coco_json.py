"""COCO annotation files as other programs write them; conversion and evaluation read them alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolo_core.datasets.coco_json import CocoFile, read_coco
from yolo_core.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images/sub").mkdir(parents=True)
    for name in ("p0.png", "sub/p1.png"):
        cv2.imwrite(str(tmp_path / "images" / name), np.zeros((48, 64, 3), np.uint8))
    return tmp_path / "images"


def content() -> dict[str, Any]:
    return {
        "categories": [{"id": 3, "name": "red"}, {"id": 1, "name": "green"}],
        "images": [
            {"id": 7, "file_name": "p0.png", "width": 64, "height": 48},
            {"id": 5, "file_name": "sub/p1.png", "width": 64, "height": 48},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 20], "iscrowd": 0},
            {"id": 2, "image_id": 5, "category_id": 1, "bbox": [4, 4, 8.5, 8], "area": 50},
            {"id": 3, "image_id": 7, "category_id": 1, "bbox": [0, 0, 64, 48]},
        ],
    }


def read(folder: Path, data: dict[str, Any], pictures: bool = True) -> CocoFile:
    source = folder.parent / "x.json"
    source.write_text(json.dumps(data))
    return read_coco(source, folder if pictures else None)


def test_ids_ascend_and_boxes_keep_their_order(folder: Path) -> None:
    found = read(folder, content())
    assert [image.id for image in found.images] == [5, 7]
    assert [(c.id, c.name) for c in found.categories] == [(1, "green"), (3, "red")]
    assert found.places == ("annotation 1", "annotation 0", "annotation 2")
    assert [box.area for box in found.boxes] == [50, 200, 64 * 48]
    assert not found.rows + found.absent


@pytest.mark.parametrize(
    "names",
    [
        ("train2017/p0.png", "sub/p1.png"),
        ("C:\\data\\images\\p0.png", ".\\sub\\p1.png"),
        ("/home/me/images/p0.png", "images//sub/p1.png"),
    ],
)
def test_a_name_is_found_by_the_part_of_its_path_below_the_folder(
    folder: Path, names: tuple[str, str]
) -> None:
    data = content()
    for item, name in zip(data["images"], names):
        item["file_name"] = name
    found = read(folder, data)
    assert [image.file_name for image in found.images] == ["sub/p1.png", "p0.png"]


@pytest.mark.parametrize("crowd", [None, 0, False, 0.0])
@pytest.mark.parametrize("area", [None, -1, "large", float("nan")])
def test_what_says_nothing_counts_as_absent(folder: Path, crowd: Any, area: Any) -> None:
    data = content()
    for note in data["annotations"]:
        note.update(iscrowd=crowd, area=area)
    found = read(folder, data)
    assert [(box.crowd, box.area) for box in found.boxes] == [
        (False, 68.0), (False, 200.0), (False, 3072.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("note", "cause"),
    [
        ({"bbox": [1, 2, 3]}, "has the box [1, 2, 3]"),
        ({"bbox": [1, 2, 3, True]}, "has the box [1, 2, 3, True]"),
        ({"bbox": [1, 2, 1e300, 3]}, "has the box"),
        ({"bbox": {"x": 1}}, "has the box {'x': 1}"),
        ({"image_id": [7]}, "is on the unknown image [7]"),
        ({"image_id": None}, "is on the unknown image None"),
        ({"category_id": 2}, "is of the unknown category 2"),
        ({"iscrowd": []}, "has iscrowd []"),
    ],
)
def test_a_faulty_annotation_is_left_out(folder: Path, note: dict[str, Any], cause: str) -> None:
    data = content()
    data["annotations"][1].update(note)
    found = read(folder, data)
    assert len(found.boxes) == 2
    assert found.rows[0].startswith(f"annotation 1: {cause}")


@pytest.mark.parametrize("form", [float, str])
def test_ids_that_mean_the_same_are_the_same(folder: Path, form: Any) -> None:
    data = content()
    for note in data["annotations"]:
        note.update(image_id=form(note["image_id"]), category_id=int(note["category_id"]))
    found = read(folder, data)
    assert [box.image_id for box in found.boxes] == [5, 7, 7]
    assert not found.image_ids


def test_ids_beyond_what_json_keeps_are_numbered_anew(folder: Path) -> None:
    data = content()
    for item in data["images"]:
        item["id"] += 1 << 60
    for note in data["annotations"]:
        note["image_id"] += 1 << 60
    found = read(folder, data)
    assert [image.id for image in found.images] == [1, 2]
    assert found.image_ids == {str((1 << 60) + 7): 1, str((1 << 60) + 5): 2}


def test_numbers_may_be_names_of_categories(folder: Path) -> None:
    data = content()
    data["categories"] = [{"id": 1, "name": 0}, {"id": 3, "name": 1.5}]
    assert [category.name for category in read(folder, data).categories] == ["0", "1.5"]


def test_ids_may_be_texts(folder: Path) -> None:
    data = content()
    for key, listed in (("image_id", "images"), ("category_id", "categories")):
        for item in data[listed]:
            item["id"] = f"n{item['id']}"
        for note in data["annotations"]:
            note[key] = f"n{note[key]}"
    found = read(folder, data)
    assert [(c.id, c.name) for c in found.categories] == [(1, "red"), (2, "green")]
    assert [(box.image_id, box.category_id) for box in found.boxes] == [(1, 1), (1, 2), (2, 2)]


def test_a_picture_whose_name_cannot_be_shown_is_left_out(folder: Path) -> None:
    data = content()
    data["images"][0]["file_name"] = "p0\u202e.png"
    found = read(folder, data)
    assert found.absent == ("image 7 has a name that holds the character U+202E at position 2",)
    assert len(found.boxes) == 1


def test_without_pictures_a_size_is_that_of_the_file_or_of_its_boxes(folder: Path) -> None:
    data = content()
    data["images"][0].update(width=None, height=-1, file_name="gone/p0.png")
    found = read(folder, data, pictures=False)
    sizes = {image.id: (image.file_name, image.width, image.height) for image in found.images}
    assert sizes == {5: ("sub/p1.png", 64, 48), 7: ("gone/p0.png", 64, 48)}


@pytest.mark.parametrize("front", [True, False])
def test_a_category_of_the_same_name_without_annotations_is_left_out(
    folder: Path, front: bool
) -> None:
    """Exports list the name of the set as a category, which may be that of its one class."""
    data = content()
    data["categories"].insert(0 if front else 2, {"id": 0, "name": "red", "supercategory": "none"})
    found = read(folder, data)
    assert [(c.id, c.name) for c in found.categories] == [(1, "green"), (3, "red")]
    assert found.unused == ("category 0 is called 'red' like 3",)
    assert len(found.boxes) == 3
    data["annotations"][0]["category_id"] = 0  # now both have some
    data["annotations"][1]["category_id"] = 3
    with pytest.raises(InputError, match="has two categories 'red'"):
        read(folder, data)


@pytest.mark.parametrize(
    "name",
    [
        "https://example.com/a%20b/p0.png",
        "s3://bucket/some/p0.png",
        "https://example.com/p0.png?token=a/b#c",
        "gs://bucket/p%30.png",
    ],
)
def test_a_picture_named_by_its_address_lies_here_under_its_last_words(
    folder: Path, name: str
) -> None:
    data = content()
    data["images"][0]["file_name"] = name
    assert [image.file_name for image in read(folder, data).images] == ["sub/p1.png", "p0.png"]
    data["images"][0]["file_name"] = "https://example.com/..%2f..%2fp0.png"
    with pytest.raises(InputError, match="lies outside"):
        read(folder, data)
    data["images"][0]["file_name"] = "https://example.com/a%0a%00.png"
    assert read(folder, data).absent == ("image 7 has a name that holds the character U+000A at "
                                         "position 13",)  # fmt: skip


@pytest.mark.parametrize(
    ("key", "change", "cause"),
    [
        ("images", lambda items: items * 2, "has the image id 7 twice"),
        ("images", lambda items: [{**items[0], "id": 7.5}], "has the image id 7.5"),
        ("images", lambda items: [{**items[0], "file_name": "a/../../x"}], "lies outside"),
        ("images", lambda items: {}, "has no list 'images'"),
        ("categories", lambda items: None, "has no list 'categories'"),
        ("categories", lambda items: items * 2, "has the category id 3 twice"),
        ("categories", lambda items: [{"id": 8, "name": "a"}, {"id": 9, "name": "a"}], "two"),
        ("categories", lambda items: [{"id": 1, "name": "a\nb"}], "has a name that holds"),
        ("categories", lambda items: [{"id": 1}], "category 1 has no name"),
        ("categories", lambda items: [{"id": 1, "name": True}], "category 1 has no name"),
        ("annotations", lambda items: None, "has no list 'annotations'"),
    ],
)
def test_what_would_change_the_meaning_is_refused(
    folder: Path, key: str, change: Any, cause: str
) -> None:
    data = content()
    data[key] = change(data[key])
    with pytest.raises(InputError) as refusal:
        read(folder, data)
    assert cause in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_size_of_the_picture_counts_and_another_one_is_told(folder: Path) -> None:
    data = content()
    data["images"][0].update(width=640, height=480.0)
    found = read(folder, data)
    assert [(image.width, image.height) for image in found.images] == [(64, 48)] * 2
    assert found.sizes == ("p0.png is 64 by 48 pixels, not 640 by 480",)
    assert len(found.boxes) == 3
    assert not found.absent


def test_boxes_of_another_size_than_the_picture_are_left_out_with_it(folder: Path) -> None:
    data = content()
    data["images"][0].update(width=128, height=96)
    data["annotations"][2]["bbox"] = [0, 0, 128, 96]
    found = read(folder, data)
    assert [image.id for image in found.images] == [5]
    assert len(found.boxes) == 1
    assert found.absent == (
        "p0.png is 64 by 48 pixels, not 128 by 96, and has a box that reaches to 128, 96",
    )


@pytest.mark.parametrize("twice", ['"images": [], "images"', '"annotations": [{"id": 1, "id"'])
def test_a_key_that_stands_twice_is_refused(folder: Path, twice: str) -> None:
    source = folder.parent / "x.json"
    single = twice.rpartition(", ")[2] if "[]" in twice else twice.replace('"id": 1, ', "")
    text = json.dumps(content())
    assert single in text
    source.write_text(text.replace(single, twice, 1))
    with pytest.raises(InputError, match=r"has the key (images|id) twice"):
        read_coco(source, folder)


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_a_file_may_be_marked_as_unicode(folder: Path, coding: str) -> None:
    source = folder.parent / "x.json"
    data = content()
    data["categories"][0]["name"] = "用户"
    mark = "\ufeff" if coding == "utf-16-be" else ""
    source.write_bytes((mark + json.dumps(data, ensure_ascii=False)).encode(coding))
    assert read_coco(source, folder).categories[1].name == "用户"
