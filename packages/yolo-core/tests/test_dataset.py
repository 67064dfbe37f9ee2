"""data.yaml, image lists and labels."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolo_core.errors import InputError
from yolo_core.files import atomic_write
from yolo_core.yolo.dataset import (
    DETECTIONS,
    TRAINING,
    label_path,
    list_images,
    read_data_yaml,
    read_labels,
)
from yolo_core.yolo.labels import look_at_labels
from yolo_core.yolo.samples import check_samples


@pytest.fixture
def dataset(tmp_path: Path) -> Any:
    for name in ("images/train/b.jpg", "images/train/sub/a.PNG", "images/val/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "images/train/notes.md").write_text("no image")
    (tmp_path / "data.yaml").write_text(
        "path: .\ntrain: images/train\nval: [images/val]\nnames: {0: cat, 1: dog}\n"
    )
    return tmp_path


def test_reads_the_usual_layout(dataset: Any) -> None:
    data = read_data_yaml(dataset / "data.yaml")
    assert data.names == ("cat", "dog")
    assert [p.name for p in data.images("train")] == ["b.jpg", "a.PNG"]
    assert [p.name for p in data.images("val")] == ["c.jpg"]
    with pytest.raises(InputError, match="has no `test`"):
        data.images("test")


def test_image_list_is_relative_to_itself(dataset: Any) -> None:
    (dataset / "list.txt").write_text("./images/val/c.jpg\n\n")
    assert list_images(dataset / "list.txt") == [dataset / "images/val/c.jpg"]


def test_labels_lie_beside_images() -> None:
    assert label_path("a/images/train/7.jpg") == Path("a/labels/train/7.txt")
    assert label_path("images/images/7.jpg") == Path("images/labels/7.txt")
    assert label_path("pictures/7.jpg") == Path("pictures/7.txt")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("train: images/train\n", "no `names`"),
        ("names: []\n", "no `names`"),
        ("names: {0: a, 2: b}\n", "gaps"),
        ("names: [a]\nnc: 2\n", "nc: 2"),
        ("nc: 0\n", "no `names`"),
        ("nc: two\n", "no `names`"),
        ("nc: 100000000\n", "at most"),
        ("nc: 2\nnames: cat, dog\n", r"as one text, .cat, dog.; expected names: \[cat, dog\]"),
        ("names: [a]\ntrain: nowhere\n", "does not exist"),
        ("names: [a]\ntrain: 7\n", "folders of images"),
        ("names: [a]\npath: 7\n", "path"),
        ("names: classes.txt\n", "as one text, 'classes.txt'; expected a list or mapping"),
        ("just text\n", "not a mapping"),
        ("a: [\n", "not valid YAML"),
        ("a: &x [1]\nb: *x\n", "alias"),
        ("!!python/object/apply:os.system ['true']\n", "tag"),
    ],
)
def test_refuses_other_yaml(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(InputError, match=word) as caught:
        read_data_yaml(tmp_path / "data.yaml")
    assert "data.yaml" in str(caught.value)


def test_refuses_empty_and_missing_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image"):
        list_images(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        list_images(tmp_path / "none")


def test_reads_labels(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.25 1.0\n\n0 0 1 1e-3 0.1\n")
    labels = read_labels(tmp_path / "a.txt", nc=2)
    np.testing.assert_allclose(labels, [[1, 0.5, 0.5, 0.25, 1], [0, 0, 1, 1e-3, 0.1]])
    (tmp_path / "b.txt").write_text("")
    assert read_labels(tmp_path / "b.txt", nc=2).shape == (0, 5)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("this line is five words", "not a list of numbers"),
        ("0 0.5 0.5 0.5", "4 words"),
        ("0,0.5,0.5,0.5,0.5", "holds commas"),
        ("0 0,5 0,5 0,5 0,5", "holds commas"),
        ("2 0.5 0.5 0.5 0.5", "class 2"),
        ("0.5 0.5 0.5 0.5 0.5", "class 0.5"),
        ("-1 0.5 0.5 0.5 0.5", "class -1"),
        ("0 1.5 0.5 0.5 0.5", "shares"),
        ("0 nan 0.5 0.5 0.5", "shares"),
        ("nan 0.5 0.5 0.5 0.5", "class nan"),
        ("0 0.5 0.5 0 0.5", "shares"),
    ],
)
def test_refuses_other_labels_and_names_the_line(tmp_path: Path, line: str, word: str) -> None:
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n" + line + "\n")
    with pytest.raises(InputError, match=word) as caught:
        read_labels(tmp_path / "a.txt", nc=2)
    assert "a.txt:2" in str(caught.value)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_folders_are_walked_as_people_arrange_them(tmp_path: Path) -> None:
    images = tmp_path / "images"
    touch(images / "train/a.jpg", images / "val/v.jpg", tmp_path / "more/b.jpg")
    touch(images / "train/.ipynb_checkpoints/a-checkpoint.jpg", images / "train/._a.jpg")
    (images / "train/linked").symlink_to(tmp_path / "more")
    (images / "train/loop").symlink_to(images)
    (tmp_path / "more/back").symlink_to(tmp_path / "more")
    found = [path.relative_to(images).as_posix() for path in list_images(images / "train")]
    assert found == ["train/a.jpg", "train/linked/b.jpg"]


def test_labels_are_found_from_within_images_and_through_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "real/images/a.jpg", tmp_path / "real/labels/a.txt")
    (tmp_path / "pics").symlink_to(tmp_path / "real/images")
    label = tmp_path / "real/labels/a.txt"
    assert label_path(tmp_path / "pics/a.jpg").samefile(label)
    monkeypatch.chdir(tmp_path / "real/images")
    assert label_path("a.jpg").samefile(label)


def test_exports_that_name_folders_from_elsewhere(tmp_path: Path) -> None:
    touch(tmp_path / "set/train/images/a.jpg", tmp_path / "set/valid/images/b.jpg")
    data = tmp_path / "set/data.yaml"
    data.write_text(
        "train: ../train/images\nval: set/valid/images\ntest: ../test/images\n"
        "nc: '2'\nnames: {'0': a, '1': b}\nroboflow: {version: 1}\n"
    )
    config = read_data_yaml(data)
    assert [path.name for path in config.images("train") + config.images("val")] == [
        "a.jpg", "b.jpg",
    ]  # fmt: skip
    with pytest.raises(InputError, match="does not exist"):
        config.images("test")
    data.write_text("train: train/images\ntest: ''\nnames: [a]\n")
    with pytest.raises(InputError, match="no `test`"):
        read_data_yaml(data).images("test")


def test_list_lines_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "images/a.jpg", tmp_path / "lists/b.jpg")
    (tmp_path / "lists/train.txt").write_text("images/a.jpg\nb.jpg\n./b.jpg\n")
    monkeypatch.chdir(tmp_path)
    found = list_images("lists/train.txt")
    assert [path.as_posix() for path in found] == ["images/a.jpg", "lists/b.jpg", "lists/b.jpg"]


@pytest.mark.parametrize("name", ["more.TXT", "more.list", "more"])
def test_any_file_that_is_no_image_is_a_list_as_windows_writes_it(
    tmp_path: Path, name: str
) -> None:
    touch(tmp_path / "set/images/a.jpg", tmp_path / "set/images/b c.png")
    (tmp_path / "set" / name).write_bytes(
        b"\xef\xbb\xbf.\\images\\a.jpg  \r\n\r\nimages\\b c.png\r\n"
    )
    (tmp_path / "data.yaml").write_text(
        f"path: .\\set\ntrain: {name}\nval: .\\images\nnames: [a]\n"
    )
    data = read_data_yaml(tmp_path / "data.yaml")
    assert [path.name for path in data.images("train")] == ["a.jpg", "b c.png"]
    assert data.images("train") == data.images("val")
    assert label_path(data.images("train")[0]) == tmp_path / "set/labels/a.txt"


@pytest.mark.parametrize("text", ["nc: 2\n", "nc: '2'\nnames:\n"])
def test_classes_without_names_are_called_by_their_numbers(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    assert read_data_yaml(tmp_path / "data.yaml").names == ("class0", "class1")


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
def test_every_text_of_a_dataset_may_begin_with_a_mark(dataset: Any, coding: str) -> None:
    (dataset / "data.yaml").write_text("train: list.txt\nnames: [Bus café]\n", coding)
    (dataset / "list.txt").write_text("images/train/b.jpg\r\nimages/val/c.jpg\r\n", coding)
    (dataset / "b.txt").write_text("0 .5 .5 .2 .2\r\n", coding)
    data = read_data_yaml(dataset / "data.yaml")
    assert data.names == ("Bus café",)
    assert [path.name for path in data.images("train")] == ["b.jpg", "c.jpg"]
    assert read_labels(dataset / "b.txt", nc=1).shape == (1, 5)


@pytest.mark.parametrize("mark", [DETECTIONS, TRAINING])
def test_what_we_drew_ourselves_is_no_picture_of_the_dataset(dataset: Any, mark: str) -> None:
    atomic_write(dataset / "images/train/day2/sub/x.jpg", b"drawn")
    assert len(list_images(dataset / "images/train")) == 3
    atomic_write(dataset / "images/train/day2" / mark, "")
    assert [path.name for path in list_images(dataset / "images/train")] == ["b.jpg", "a.PNG"]
    (dataset / "images/val" / mark).write_text("of the user's own")
    assert [path.name for path in list_images(dataset / "images/val")] == ["c.jpg"]


def test_an_archive_is_named(dataset: Any) -> None:
    with zipfile.ZipFile(dataset / "set.zip", "w") as archive:
        archive.writestr("images/a.jpg", bytes(range(256)))
    (dataset / "set.gz").write_bytes(gzip.compress(b"x" * 99))
    for read in (read_data_yaml, list_images):
        for kind in ("zip", "gz"):
            with pytest.raises(InputError, match=rf"set.{kind}: is a g?zip archive; .* unpacked"):
                read(dataset / f"set.{kind}")


def test_a_folder_in_the_place_of_a_data_yaml_is_named(dataset: Any) -> None:
    with pytest.raises(InputError, match=r"is a folder; expected its data\.yaml"):
        read_data_yaml(dataset)


def test_no_line_of_a_list_is_passed_over(dataset: Any) -> None:
    """Lines that are no picture are told by those who read them, as absent pictures are."""
    lines = ["./images/val/c.jpg", '"./images/val/c.jpg"', "./images/val", "./images/val/c.jpg,1"]
    (dataset / "list.txt").write_text("\n".join(lines))
    cv2.imwrite(str(dataset / "images/val/c.jpg"), np.zeros((8, 8, 3), np.uint8))
    samples, report = check_samples(list_images(dataset / "list.txt"), 1, "train")
    assert [sample.image for sample in samples] == [dataset / "images/val/c.jpg"]
    assert len(report.corrupt) == 3
    assert any(" not a regular file but a folder" in line for line in report.corrupt)
    (dataset / "list.txt").write_text("\n".join(lines[1:]))
    with pytest.raises(InputError, match="holds no image; its first line names"):
        list_images(dataset / "list.txt")


@pytest.mark.parametrize("nc", ["2", "'2'", "2.0", ""])
def test_the_number_of_classes_may_be_written_in_several_ways(tmp_path: Path, nc: str) -> None:
    (tmp_path / "data.yaml").write_text(f"nc: {nc}\nnames: [a, b]\n")
    assert read_data_yaml(tmp_path / "data.yaml").names == ("a", "b")


def test_rows_as_editors_and_other_programs_write_them(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(
        b"\xef\xbb\xbf0\t0.5\t0.5\t0.25\t1.0\r\n\r\n  1.0 5e-1 +.5 2.5E-1 1   \r"
        b"0e0 -0.0 1 .125 1.00000001"
    )
    found = look_at_labels(tmp_path / "a.txt", 2)
    assert not found.faults
    assert found.boxes.tolist() == [
        [0, 0.5, 0.5, 0.25, 1],
        [1, 0.5, 0.5, 0.25, 1],
        [0, 0, 1, 0.125, 1],
    ]


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_single_precision_are_told_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "0 .5 .5 1e39 .2\n0 .1 .1 .5 .1 inf .5\n0 .1 .1 .5 .1 1e300 -1e300\n0 .1 .1 .5 .1 nan .5\n"
    )
    faults = [fault.cause for fault in look_at_labels(tmp_path / "a.txt", 1).faults]
    assert faults[0] == "has the box .5 .5 1e39 .2"
    assert faults[3] == "has the outline .1 .1 .5 .1 nan .5"
    assert len(faults) == 4


def test_what_is_no_file_or_may_not_be_read_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "images/shut").mkdir(parents=True)
    (tmp_path / "labels/shut").mkdir(parents=True)
    for name in ("a", "b", "c", "shut/d"):
        cv2.imwrite(str(tmp_path / f"images/{name}.png"), np.zeros((8, 8, 3), np.uint8))
        (tmp_path / f"labels/{name}.txt").write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "labels/b.txt").unlink()
    (tmp_path / "labels/b.txt").mkdir()
    samples, report = check_samples(list_images(tmp_path / "images"), 1, "train")
    assert [sample.image.name for sample in samples] == ["a.png", "c.png", "d.png"]
    assert report.missing == ()
    assert "labels/b.txt: is not a regular file but a folder" in report.summary()
    # A folder of labels that cannot be looked into is not the same as one that is not there.
    (tmp_path / "labels/shut/d.txt").unlink()
    (tmp_path / "labels/shut").rmdir()
    (tmp_path / "labels/shut").symlink_to(tmp_path / "labels/shut")
    with pytest.raises(InputError, match=r"labels/shut/d\.txt: is a link that leads in a circle"):
        check_samples(list_images(tmp_path / "images"), 1, "train")


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "images/a.jpg", tmp_path / "images/shut/b.jpg")
    plain = os.scandir

    def shut(path: Any) -> Any:
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return plain(path)

    monkeypatch.setattr(os, "scandir", shut)
    with pytest.raises(InputError, match=r"images/shut: cannot be read \(Permission denied\)"):
        list_images(tmp_path / "images")


def test_outlines_are_read_as_their_boxes_and_doubles_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(
        "0 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6\n1 0.5 0.5 0.25 0.5\n1 0.5 0.5 0.25 0.50\n7 0 0 1 1\n"
    )
    found = look_at_labels(path, nc=2)
    np.testing.assert_allclose(
        found.boxes, [[0, 0.3, 0.4, 0.4, 0.4], [1, 0.5, 0.5, 0.25, 0.5]], atol=1e-6
    )
    assert found.outlines[0] is not None
    assert found.outlines[0].shape == (4, 2)
    assert found.outlines[1] is None
    assert [fault.source for fault in found.faults] == [f"{path}:4"]
    assert found.duplicates == (f"{path}:3",)


def test_a_split_without_boxes_is_refused_and_says_where_it_looked(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match=r"no label file for any.*labels/a\.txt"):
        check_samples(list_images(images), 1, "train", need_boxes=True)
    _, report = check_samples([images / "a.png", images / "a.png"], 1, "train")
    assert (len(report.missing), len(report.repeated), report.left_out()) == (
        1, 1, {"named twice": 1},
    )  # fmt: skip


def test_the_key_that_yolov5_does_not_read_is_named(dataset: Any) -> None:
    source = dataset / "data.yaml"
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("val:", "valid:"), encoding="utf-8")
    with pytest.raises(InputError, match=r"has no `val` but `valid`.*the key `val` in its place"):
        read_data_yaml(source).places("val")


def test_an_address_is_shown_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(
        "train: https://example.com/a.zip\nnames: [a]\n", encoding="utf-8"
    )
    with pytest.raises(InputError, match=r"names https://example.com/a.zip as `train`.*address"):
        read_data_yaml(tmp_path / "d.yaml")
