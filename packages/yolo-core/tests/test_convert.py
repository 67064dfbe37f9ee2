"""Datasets from YOLO's form to COCO's and back, held to pycocotools and to YOLOv5's reading."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from yolo_core.arrays import Array
from yolo_core.cli import main
from yolo_core.yolo.dataset import read_data_yaml
from yolo_core.yolo.letterbox import opencv
from yolo_core.yolo.samples import check_samples


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["dataset", *map(str, words)])
    assert result.exit_code == code, result.output
    lines = result.output.splitlines(keepends=True)
    # Without bars and without the time that it took.
    return "".join(line for line in lines if not re.search(r"\[[#-]|^Took ", line))


def picture(path: Path, width: int = 64, height: int = 48, shade: int = 9) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((height, width, 3), shade, np.uint8)
    path.write_bytes(opencv().imencode(".png", image)[1].tobytes())


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """Boxes with all digits, one that reaches out, outlines, an empty and an absent label file."""
    root = tmp_path / "ds"
    rng = np.random.default_rng(0)
    for number in range(6):
        picture(root / f"images/train/sub {number % 2}/p{number}.png", 50 + number, 40, number)
        label = root / f"labels/train/sub {number % 2}/p{number}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"{rng.integers(3)} " + " ".join(f"{v:.9g}" for v in rng.uniform(0.1, 0.9, 4))
                for _ in range(3)]  # fmt: skip
        if number == 1:
            rows.append("2 0.1 0.2 0.5 0.25 0.4 0.75 0.15 0.7")
        if number < 4:
            label.write_text("\n".join(rows) + "\n")
    label.write_text("")
    picture(root / "images/val/0012.png", shade=77)
    picture(root / "images/val/0007.png", shade=78)
    (root / "labels/val").mkdir(parents=True)
    (root / "labels/val/0012.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    (root / "labels/val/0007.txt").write_text("0 0.03 0.5 0.1 0.5\n")
    (root / "data.yaml").write_text(
        "train: images/train\nval: images/val\nnames: [用户, 'yes', Bus café]\n"
    )
    return root


def read(data: Path, split: str) -> dict[str, tuple[Array, Any]]:
    """What training reads: boxes and outlines by the picture's name."""
    config = read_data_yaml(data)
    samples, _ = check_samples(config.images(split), len(config.names), split)
    return {sample.image.name: (sample.labels, sample.outlines) for sample in samples}


def rows_as_yolov5_reads(label: Path) -> Array:
    """Five words are a box; more are a polygon, of which the bounding box counts."""
    rows = [np.array(line.split(), np.float32) for line in label.read_text().splitlines()]
    boxes = []
    for row in rows:
        if len(row) > 5:
            x, y = row[1::2], row[2::2]
            left, top, right, bottom = x.min(), y.min(), x.max(), y.max()
            row = np.array([row[0], (left + right) / 2, (top + bottom) / 2,
                            right - left, bottom - top], np.float32)  # fmt: skip
        boxes.append(row)
    return np.array(boxes, np.float32).reshape(-1, 5)


def test_there_and_back_gives_the_very_numbers(yolo: Path, tmp_path: Path) -> None:
    run("convert", yolo / "data.yaml", "--out", tmp_path / "coco")
    run("convert", tmp_path / "coco/train.json", tmp_path / "coco/val.json", "--segments",
        "--images", yolo / "images/train", "--images", yolo / "images/val",
        "--out", tmp_path / "back")  # fmt: skip
    assert read_data_yaml(tmp_path / "back/data.yaml").names == ("用户", "yes", "Bus café")
    for split in ("train", "val"):
        before, after = read(yolo / "data.yaml", split), read(tmp_path / "back/data.yaml", split)
        assert before.keys() == after.keys()
        for name, (labels, outlines) in before.items():
            np.testing.assert_array_equal(after[name][0], labels)
            for one, other in zip(outlines, after[name][1]):
                assert (one is None) == (other is None)
                if one is not None:
                    np.testing.assert_array_equal(one, other)
    # What YOLOv5 reads is what it read before, and the pictures are the same files.
    for label in (yolo / "labels").rglob("*.txt"):
        other = tmp_path / "back/labels" / label.relative_to(yolo / "labels")
        np.testing.assert_array_equal(rows_as_yolov5_reads(label), rows_as_yolov5_reads(other))
    for image in (yolo / "images").rglob("*.png"):
        other = tmp_path / "back/images" / image.relative_to(yolo / "images")
        assert other.read_bytes() == image.read_bytes()


def test_pycocotools_reads_what_is_written(yolo: Path, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    run("convert", yolo / "data.yaml", "--out", tmp_path / "coco")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(tmp_path / "coco/train.json"))
        notes = truth.loadAnns(truth.getAnnIds())
        found = truth.loadRes([
            {"image_id": n["image_id"], "category_id": n["category_id"], "bbox": n["bbox"],
             "score": 0.9} for n in notes
        ])  # fmt: skip
        scored = evaluation.COCOeval(truth, found, "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    assert scored.stats[0] == 1.0
    assert {c["name"] for c in truth.loadCats(truth.getCatIds())} == {"用户", "yes", "Bus café"}
    assert len(truth.getImgIds()) == 6
    sizes = {i["file_name"]: (i["width"], i["height"]) for i in truth.loadImgs(truth.getImgIds())}
    assert sizes["sub 1/p3.png"] == (53, 40)
    (outlined,) = [note for note in notes if note["segmentation"]]
    mask = truth.annToMask(outlined)
    ys, xs = np.nonzero(mask)
    x, y, _, h = outlined["bbox"]
    assert abs(xs.min() - x) <= 1
    assert abs(ys.max() + 1 - y - h) <= 1


def test_pictures_called_by_numbers_keep_them(yolo: Path, tmp_path: Path) -> None:
    run("convert", yolo / "data.yaml", "--out", tmp_path / "coco")
    content = json.loads((tmp_path / "coco/val.json").read_text())
    assert {i["file_name"]: i["id"] for i in content["images"]} == {"0007.png": 7, "0012.png": 12}
    assert [note["image_id"] for note in content["annotations"]] == [7, 12]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Every oddity of annotation files beside sound annotations."""
    for name in ("a/x.png", "a/x.jpg", "b.png"):
        picture(tmp_path / "pictures" / name)
    (tmp_path / "pictures/broken.png").write_bytes(b"nothing")

    def note(image: Any, box: Any, category: int = 90, **more: Any) -> dict[str, Any]:
        return {"image_id": image, "category_id": category, "bbox": box, **more}

    ring = [[10, 10, 30, 10, 30, 20, 10, 20]]
    content = {
        "categories": [{"id": 90, "name": "tooth"}, {"id": 3, "name": "car"}],
        "images": [
            {"id": 1, "file_name": "a/x.png", "width": 64, "height": 48},
            {"id": "two", "file_name": "train2017\\a\\x.jpg", "width": -1, "height": None},
            {"id": 3, "file_name": "b.png"},
            {"id": 4, "file_name": "gone.png"},
            {"id": 5, "file_name": "broken.png"},
        ],
        "annotations": [
            note(1, [10, 10, 20, 10], segmentation=ring, area=200, iscrowd=0, id=1),
            note(1, [0, 0, 32, 24], 3, segmentation={"counts": "abc", "size": [48, 64]}),
            note("two", [60, 40, 20, 20], segmentation=[*ring, *ring]),
            note(1, [1, 1, 5, 5], iscrowd=1),
            note(1, [5, 5, 0, 5]), note(1, [float("nan"), 0, 1, 1]), note(1, None),
            note(1, [500, 500, 5, 5]), note(1, [1, 1, 1, 1], 77), note(99, [1, 1, 1, 1]),
            note(4, [1, 1, 1, 1]), "not an object",
        ],
    }  # fmt: skip
    path = tmp_path / "instances_val2017.json"
    path.write_text(json.dumps(content))
    return path


def test_a_coco_file_as_people_have_them(coco: Path, tmp_path: Path) -> None:
    out = tmp_path / "yolo"
    words = "convert", coco, "--images", tmp_path / "pictures", "--out", out
    told = run(*words)
    assert "val: 3 pictures, 3 boxes" in told
    assert "8 annotations left out, first annotation 5: has the box" in told
    assert "2 pictures left out, first gone.png is not in" in told
    assert "1 boxes cut at the edge of their picture, first annotation 2" in told
    assert "1 pictures renamed" in told
    assert read_data_yaml(out / "data.yaml").names == ("car", "tooth")
    boxes = rows_as_yolov5_reads(out / "labels/val/a/x.txt")
    np.testing.assert_allclose(boxes, [[1, 20 / 64, 15 / 48, 20 / 64, 10 / 48],
                                       [0, 0.25, 0.25, 0.5, 0.5]], rtol=1e-6)  # fmt: skip
    np.testing.assert_allclose(
        rows_as_yolov5_reads(out / "labels/val/a/x_2.txt"),
        [[1, 62 / 64, 44 / 48, 4 / 64, 8 / 48]], rtol=1e-6,
    )  # fmt: skip
    assert (out / "labels/val/b.txt").read_text() == ""
    # Our own results may be replaced; with outlines the first object is its polygon.
    run(*words, "--segments")
    assert len((out / "labels/val/a/x.txt").read_text().splitlines()[0].split()) == 9
    assert "annotations left out" in run(*words, "--strict", code=2)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("[]", "is not a COCO annotation file"),
        ("{}", "has no list 'categories'"),
        ('{"categories": [], "images": [], "annotations": []}', "lists no categories"),
        ('{"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}],'
         ' "images": [], "annotations": []}',
         "two categories 'a'"),
        ('{"categories": [{"id": 1, "name": "a"}], "images": [{"id": 1, "file_name": "../x"}],'
         ' "annotations": []}', "lies outside the folder"),
        ('{"categories": [{"id": 1, "name": "a"}], "images": [{"id": 1, "file_name": "x"}],'
         ' "annotations": []}', "does not exist; expected the image with id 1"),
    ],
)  # fmt: skip
def test_what_is_no_coco_file_is_refused(content: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    line = run("convert", tmp_path / "x.json", "--out", tmp_path / "out", code=2)
    assert line.startswith("Error: ")
    assert cause in line
    assert not (tmp_path / "out").exists()


def test_a_coco_file_without_a_usable_box_is_refused(coco: Path, tmp_path: Path) -> None:
    content = json.loads(coco.read_text())
    content["annotations"] = [
        {"image_id": 1, "category_id": 3, "bbox": ["1", "1", "5", "5"]} for _ in range(2)
    ]
    coco.write_text(json.dumps(content))
    words = "convert", coco, "--images", tmp_path / "pictures", "--out", tmp_path / "out"
    assert "has no usable annotation (annotation 0: has the box" in run(*words, code=2)


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ([[1, 1, 5, 1, 9, 1]], "without area"), ([[-5, -5, -9, 40, -1, 3]], "without area"),
        ([[float("nan")] * 8], "that are none"), ([[1, 1, 9, 9]], "that are none"), ([[]], "none"),
    ],
)  # fmt: skip
def test_an_object_whose_outline_is_none_keeps_its_box(
    coco: Path, tmp_path: Path, parts: Any, kind: str
) -> None:
    content = json.loads(coco.read_text())
    content["annotations"] = [
        {"image_id": 1, "category_id": 3, "bbox": [16, 12, 32, 24], "segmentation": parts}
    ]
    coco.write_text(json.dumps(content))
    out = tmp_path / "out"
    words = "convert", coco, "--images", tmp_path / "pictures", "--segments", "--out", out
    assert kind in run(*words)
    assert (out / "labels/val/a/x.txt").read_text() == "0 0.5 0.5 0.5 0.5\n"


def test_a_polygon_without_a_list_around_it_is_an_outline(coco: Path, tmp_path: Path) -> None:
    content = json.loads(coco.read_text())
    content["annotations"] = [
        {"image_id": 1, "category_id": 3, "bbox": [16, 12, 32, 24],
         "segmentation": [16, 12, 48, 12, 16, 36]}
    ]  # fmt: skip
    coco.write_text(json.dumps(content))
    out = tmp_path / "out"
    run("convert", coco, "--images", tmp_path / "pictures", "--segments", "--out", out)
    assert (out / "labels/val/a/x.txt").read_text() == "0 0.25 0.25 0.75 0.25 0.25 0.75\n"


def test_sources_that_do_not_fit(yolo: Path, tmp_path: Path) -> None:
    for words, cause in [
        ((yolo / "data.yaml", "--images", yolo), "needs no --images"),
        ((yolo / "data.yaml", yolo / "x.json"), "cannot be converted together"),
        ((yolo / "labels",), "cannot be converted"),
        ((yolo / "a.json", yolo / "b.json"), "names 1 splits for 2 files"),
        ((yolo / "none.json",), "does not exist"),
    ]:
        assert cause in run("convert", *words, "--out", tmp_path / "out", code=2)


def test_nothing_of_the_users_is_replaced(yolo: Path, tmp_path: Path) -> None:
    run("convert", yolo / "data.yaml", "--out", tmp_path / "coco")
    for out in (yolo, yolo / "images", tmp_path):
        words = tmp_path / "coco/val.json", "--images", yolo / "images/val", "--out", out
        assert "Error: " in run("convert", *words, code=2)
    (tmp_path / "coco/val.json").write_text("mine")
    run("convert", yolo / "data.yaml", "--out", tmp_path / "coco", code=2)
    assert (tmp_path / "coco/val.json").read_text() == "mine"


def test_check_has_a_verdict_for_every_kind(yolo: Path, tmp_path: Path) -> None:
    clean = run("check", yolo / "data.yaml")
    assert clean == run(yolo / "data.yaml")
    assert "pictures without a label file       1  noted  (they count as background)" in clean
    run("check", yolo / "data.yaml", "--strict")
    (yolo / "images/train/broken.png").write_bytes(b"nothing")
    (yolo / "labels/val/0012.txt").write_text("7 .5 .5 .1 .1\n1 .5 .5 .1 .1\n1 .5 .5 .1 .1\n"
                                              "1 .5 .5 .001 .1\n")  # fmt: skip
    (yolo / "labels/val/orphan.txt").write_text("")
    data = (yolo / "images/val/0007.png").read_bytes()
    (yolo / "images/train/leak.png").write_bytes(data)
    (yolo / "images/val/twin.png").write_bytes(data)
    told = run("check", yolo / "data.yaml", "--page", tmp_path / "page.html")
    for kind, count, verdict in [
        ("unreadable pictures", 1, "left out"), ("faulty label rows", 1, "left out"),
        ("rows that stand twice", 1, "left out"), ("pictures in two splits", 2, "wrong"),
        ("label files without a picture", 1, "noted"), ("tiny boxes", 1, "noted"),
        ("splits without any box", 0, "ok"),
    ]:  # fmt: skip
        (line,) = [line for line in told.splitlines() if line.startswith(kind)]
        assert line[len(kind) :].split(maxsplit=2)[:2] == [str(count), verdict.split()[0]]
    assert "0012.txt:1: has class 7; expected 0 to 2" in told
    page = (tmp_path / "page.html").read_text()
    assert "Content-Security-Policy" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/jpeg") == 10
    assert "用户" in page
    assert "has 5 faults, first" in run("check", yolo / "data.yaml", "--strict", code=2)


def test_a_page_shows_foreign_words_as_text(yolo: Path, tmp_path: Path) -> None:
    (yolo / "data.yaml").write_text(
        "train: images/train\nval: images/val\nnames: ['<script>x</script>', b, '\"><img>']\n"
    )
    run("check", yolo / "data.yaml", "--page", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    words = "check", yolo / "data.yaml", "--page", yolo / "data.yaml"
    assert "is read by this command" in run(*words, code=2)
