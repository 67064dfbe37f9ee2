"""data.yaml, image lists and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_core.errors import InputError
from yolo_core.yolo.dataset import label_path, list_images, read_data_yaml, read_labels


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
        ("names: [a]\ntrain: nowhere\n", "does not exist"),
        ("names: [a]\ntrain: 7\n", "folders of images"),
        ("names: [a]\npath: 7\n", "path"),
        ("just text\n", "no mapping"),
        ("a: [\n", "not valid YAML"),
        ("a: &x [1]\nb: *x\n", "alias"),
        ("!!python/object/apply:os.system ['true']\n", "not valid YAML"),
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
        ("this line is five words", "no list of numbers"),
        ("0 0.5 0.5 0.5", "4 words"),
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
