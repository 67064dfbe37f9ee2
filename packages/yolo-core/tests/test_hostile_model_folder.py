"""Model folders that lie: files that are too long, an `ext` about another network."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_core.errors import InputError
from yolo_core.graph import Graph, GraphBuilder
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.model_folder import (
    Extension,
    is_model_folder,
    read_model_folder,
    write_model_folder,
)


def small_graph() -> Graph:
    """[1,3,32,32] → [1,63,6], the shape of a one-class detector."""
    builder = GraphBuilder()
    data = builder.input("data", (1, 3, 32, 32), 8)
    scale = builder.parameter("scale", np.array([2]), 8)
    wide = builder.operator("broadcast_mul", [data, scale])
    row = builder.operator("reshape", [wide], shape=(1, 3 * 32 * 32))
    part = builder.operator("strided_slice", [row], begin=(0, 0), end=(1, 63 * 6))
    return builder.build([builder.operator("reshape", [part], shape=(1, 63, 6))])


EXTENSION = Extension(
    Architecture.named("n", nc=1, names=["thing"]), (32, 32), 255.0, -128, 8, (16.0,) * 6
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model_folder(tmp_path / "model", small_graph(), EXTENSION)
    return tmp_path / "model"


def test_the_whole_folder_is_read(model: Path) -> None:
    assert read_model_folder(model).extension() == EXTENSION


@pytest.mark.parametrize("name", ["symbol", "params"])
def test_a_huge_file_is_not_read(model: Path, name: str) -> None:
    with open(model / name, "ab") as stream:
        stream.truncate(1 << 40)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="larger than"):
            read_model_folder(model)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def change(*keys: Any, value: Any) -> Any:
    def apply(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        if value is ...:
            del content[keys[-1]]
        else:
            content[keys[-1]] = value

    return apply


@pytest.mark.parametrize(
    "lie",
    [
        change("detection", value=...),
        change("detection", value=[]),
        change("detection", "architecture", value=...),
        change("detection", "architecture", "names", value=["a", "b"]),
        change("detection", "color", value="cmyk"),
        change("detection", "letterbox", value="crop"),
        change("detection", "output_scales", value=[1.0] * 7),
        change("detection", "output_scales", 0, value=0),
        change("detection", "output_scales", 0, value=float("nan")),
        change("detection", "output_scales", 0, value=-1),
        change("detection", "output_scales", value=5),
        change("detection", "input_zero_point", value=1 << 40),
        change("detection", "input_zero_point", value="zero"),
        change("inputs_ext", "data", "scale", value=float("inf")),
        change("inputs_ext", "data", "scale", value=0),
        change("inputs_ext", "data", "target_bit", value=33),
        change("inputs_ext", "data", "target_bit", value=9),
        change("inputs_ext", value={}),
        change("input_shapes", value=[]),
        change("input_shapes", value=[[-1, 3]]),
        change("input_shapes", 0, 2, value=64),
        change("input_shapes", 0, 2, value=1e400),
        change("input_shapes", 0, 2, value="x"),
    ],
)
def test_an_ext_that_lies_is_refused_by_name(model: Path, lie: Any) -> None:
    content = json.loads((model / "ext").read_text())
    lie(content)
    (model / "ext").write_text(json.dumps(content))
    with pytest.raises(InputError, match="ext") as refusal:
        read_model_folder(model).extension()
    assert not re.search(r"[A-Z]\w*Error", str(refusal.value)), "the name of a Python exception"


def test_the_ext_of_the_original_tool_says_nothing_of_boxes(model: Path) -> None:
    content = {"inputs_ext": {"data": {"scale": 23.5, "target_bit": 8}}, "oscales": [7.9],
               "input_shapes": [-1, 3, 32, 32]}  # fmt: skip
    (model / "ext").write_text(json.dumps(content))
    with pytest.raises(InputError, match="has no key `detection`"):
        read_model_folder(model).extension()


@pytest.mark.parametrize("name", ["", "/", "a\0b", "a" * 5000, "/dev/null"])
def test_names_that_are_no_model(name: str) -> None:
    assert not is_model_folder(name)
    with pytest.raises(InputError):
        read_model_folder(name)
