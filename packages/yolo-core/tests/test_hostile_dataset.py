"""Data sets by hand or by foe: every line is taken as meant or refused with its place."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from yolo_core.cli import main
from yolo_core.errors import InputError
from yolo_core.yolo.dataset import list_images, read_data_yaml, read_labels


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("names: [true, false]", "quoted"),
        ("names: [cat, null]", "quoted"),
        ("names: [cat, .nan]", "quoted"),
        ("names: [-.inf, cat]", "quoted"),
        ("names: [[cat]]", "quoted"),
        ("names: {0: {1: cat}}", "quoted"),
        ("names: {a: cat}", "gaps"),
        ("names: {-1: cat}", "gaps"),
        ("names: cat", "as one text"),
        ("names: 5", "no `names`"),
        ("names: [" + "a, " * 9000 + "a]", "9001 names"),
        ("names: [a]\nnc: [1]", "says nc"),
        ("names: [a]\nnc: one", "says nc"),
        ("names: [a]\npath: [x]", "`path`"),
        ("names: [a]\ntrain: " + "x" * 300, "does not exist"),
        ('names: [a]\ntrain: "x\\0y"', "does not exist"),
        ("names: [a]\ntrain: [[x]]", "`train`"),
        ("names: [a]\nval: {a: b}", "`val`"),
        ("names: [a, a]", "both 'a'"),
        ('names: ["a\\nb"]', "can be seen"),
        ("names: [a]\nval: ['']", "`val`"),
        ("[names]", "not a mapping"),
        ("", "not a mapping"),
    ],
    ids=lambda value: value[:24],
)
def test_hostile_data_yaml(text: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(InputError, match=cause):
        read_data_yaml(tmp_path / "data.yaml")


@pytest.mark.parametrize("place", ["data.yaml", "./data.yaml", "[x.png, data.yaml]", "Other.YML"])
def test_a_data_yaml_is_no_list_of_images(place: str, tmp_path: Path) -> None:
    """Not even one of whose lines some end like pictures."""
    (tmp_path / "Other.YML").write_text("x.png\n", "utf-8")
    (tmp_path / "x.png").write_bytes(b"")
    source = tmp_path / "data.yaml"
    source.write_text(f"train: {place}\nval: x.png\nnames: [a]\n", "utf-8")
    with pytest.raises(InputError, match="as `train`, which is a YAML file") as error:
        read_data_yaml(source)
    assert "a list of them" in str(error.value)


def test_numbers_may_be_names(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [0, 1.5, 'yes']")
    assert read_data_yaml(tmp_path / "data.yaml").names == ("0", "1.5", "yes")


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000])
def test_hostile_places(name: str) -> None:
    with pytest.raises(InputError, match="does not exist"):
        list_images(name)


def test_a_link_that_leads_back_ends(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images")
    assert list_images(tmp_path / "images") == [tmp_path / "images" / "a.jpg"]


@pytest.mark.parametrize(
    "line",
    [
        "nan 0.5 0.5 1 1",
        "0 nan 0.5 1 1",
        "0 0.5 0.5 inf 1",
        "0 0.5 0.5 -0.1 1",
        "0 0.5 0.5 0 1",
        "0 0.5 0.5 1e-46 1",
        "0 1.01 0.5 1 1",
        "3 0.5 0.5 1 1",
        "-1 0.5 0.5 1 1",
        "0.5 0.5 0.5 1 1",
        "1e400 0.5 0.5 1 1",
        "0x0 0.5 0.5 1 1",
        "0 0.5 0.5 1",
        "0 0.5 0.5 1 1 1",
        "0 0.5 0.5 1 1\0",
        "0, 0.5, 0.5, 1, 1",
        "9" * 1_000_000 + " 0.5 0.5 1 1",
        "0 0.5 0.5 1 " + "x" * 1_000_000,
        "0 " * 500_000,
    ],
    ids=lambda line: repr(line[:20]),
)
def test_hostile_labels_name_their_line(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"0 0.5 0.5 1 1\n\n{line}\n")
    with pytest.raises(InputError) as refusal:
        read_labels(tmp_path / "a.txt", nc=3)
    assert str(refusal.value).startswith(f"{tmp_path / 'a.txt'}:3: ")
    assert len(str(refusal.value)) < 1100


def test_too_many_boxes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 0.5 0.5 1 1\n" * 10_001)
    with pytest.raises(InputError, match="too many boxes"):
        read_labels(tmp_path / "a.txt", nc=1)


@given(st.text(alphabet="0123456789.-+eEinfa \n\t\r\u2028", max_size=80))
def test_any_text_is_labels_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_text(text)
    try:
        labels = read_labels(path, nc=3)
    except InputError:
        return
    assert labels.dtype == np.float32
    assert np.isin(labels[:, 0], [0, 1, 2]).all()
    assert ((labels[:, 1:] >= 0) & (labels[:, 1:] <= 1)).all()
    assert (labels[:, 3:] > 0).all()


def _socket(place: Path) -> None:
    folder = os.open(place.parent, os.O_RDONLY)  # the path of a socket is short
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"/proc/self/fd/{folder}/{place.name}")
    server.close()
    os.close(folder)


@pytest.mark.parametrize("place", ["images/x.png", "labels/1.txt"])
@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (os.mkfifo, "is not a regular file but a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a regular file but a device"),
        (lambda path: path.symlink_to(path.name), "is a link that leads in a circle"),
        (_socket, "is not a regular file but a socket"),
    ],
    ids=["pipe", "device", "circle", "socket"],
)
def test_a_device_among_the_data_ends_the_command(
    make: Callable[[Path], None], cause: str, place: str, tmp_path: Path
) -> None:
    """It is never opened, and never one of the faulty pictures that a stage leaves out."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"images/{number}.png"), np.zeros((8, 8, 3), np.uint8))
        (tmp_path / f"labels/{number}.txt").write_text("0 .5 .5 .5 .5\n", "utf-8")
    (tmp_path / place).unlink(missing_ok=True)
    make(tmp_path / place)
    source = tmp_path / "data.yaml"
    source.write_text("train: images\nval: images/0.png\nnames: [a]\n", "utf-8")
    name = Path(place).name
    listed = [{"id": 1, "file_name": "0.png"}, {"id": 2, "file_name": name}]
    (tmp_path / "coco.json").write_text(
        json.dumps({"images": listed, "annotations": [], "categories": [{"id": 1, "name": "a"}]}),
        "utf-8",
    )
    commands = [["dataset", "check", str(source)]]
    commands.append(["dataset", "convert", str(source), "--out", str(tmp_path / "out")])
    if name == "x.png":
        commands.append(["dataset", "convert", str(tmp_path / "coco.json"), "--images"])
        commands[-1] += [str(tmp_path / "images"), "--out", str(tmp_path / "out")]
    for command in commands:
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 2, done.output
        last = done.output.splitlines()[-1]
        assert last.startswith(f"Error: {tmp_path / place}: {cause}")
    assert not (tmp_path / "out").exists()
