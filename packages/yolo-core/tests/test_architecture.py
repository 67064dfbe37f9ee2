"""The architecture as data: the published figures of the five sizes, and refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest

from yolo_core.errors import InputError
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.coco import COCO_NAMES

# Parameters and convolutions of the released COCO models; GMAC at 640 is half their FLOPs.
PUBLISHED = {
    "n": (1_872_157, 60, 2.2),
    "s": (7_235_389, 60, 8.2),
    "m": (21_190_557, 82, 24.4),
    "l": (46_563_709, 104, 54.5),
    "x": (86_749_405, 126, 102.7),
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_sizes_have_the_published_figures(size: Any) -> None:
    architecture = Architecture.named(size)
    parameters, convolutions, gmac = PUBLISHED[size]
    shapes = architecture.parameter_shapes(fused=False)
    trained = sum(math.prod(s) for name, s in shapes.items() if ".running_" not in name)
    assert trained == parameters
    assert len(architecture.convolutions()) == convolutions
    assert architecture.macs(640, 640) / 1e9 == pytest.approx(gmac, abs=0.06)


def test_rows_and_numbers() -> None:
    architecture = Architecture.named("yolov5n", nc=3)
    assert architecture.no == 8
    assert architecture.rows(640, 640) == 25200
    assert architecture.rows(64, 96) == 3 * (8 * 12 + 4 * 6 + 2 * 3)
    assert architecture.names == ("class0", "class1", "class2")
    assert Architecture.named("s").names == COCO_NAMES


def test_fused_parameters_have_a_bias_per_convolution() -> None:
    architecture = Architecture.named("n", nc=1)
    fused = architecture.parameter_shapes(fused=True)
    assert len(fused) == 2 * len(architecture.convolutions())
    assert fused["model.0.conv.weight"] == (16, 3, 6, 6)
    assert fused["model.24.m.2.bias"] == (18,)


def test_survives_plain_data() -> None:
    architecture = Architecture.named("m", names=["a", "b"], activation="relu")
    assert Architecture.from_dict(architecture.to_dict(), "x.yaml") == architecture


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"size": "q"}, "size"),
        ({"names": []}, "0 classes"),
        ({"names": "person"}, "not a list"),
        ({"names": ["a"] * 9000}, "list of 9000"),
        ({"strides": [8, 16]}, "strides"),
        ({"anchors": [[[1, 2]]]}, "anchors"),
        ({"anchors": [[[-1, 1]] * 3] * 3}, "anchor out of range"),
        ({"anchors": [[[float("nan"), 1]] * 3] * 3}, "anchor out of range"),
        ({"activation": "tanh"}, "tanh"),
        ({"nc": 7}, "nc 7"),
        ({"width_multiple": 1e9}, "multiple"),
    ],
)
def test_refuses_what_is_no_architecture(change: Any, word: str) -> None:
    data = {**Architecture.named("n", nc=2).to_dict(), **change}
    with pytest.raises(InputError, match=word) as caught:
        Architecture.from_dict(data, "bad.yaml")
    assert str(caught.value).startswith("bad.yaml: ")


def test_refuses_missing_keys_and_other_sizes() -> None:
    with pytest.raises(InputError, match="strides"):
        Architecture.from_dict(
            {k: v for k, v in Architecture.named("n").to_dict().items() if k != "strides"}, "x"
        )
    with pytest.raises(InputError, match="yolov5n, s, m, l or x"):
        Architecture.named("yolov8n")


def test_multiples_in_quotes_are_numbers() -> None:
    lists = {"backbone": [[-1, 1, "Conv", [64, 3, 2]], [-1, 3, "C3", [128]]],
             "head": [[[1], 1, "Detect", ["nc", "anchors"]]], "nc": 2,
             "anchors": [[10, 13, 16, 30]]}  # fmt: skip
    plain = {**lists, "depth_multiple": 0.33, "width_multiple": 0.5}
    quoted = {**lists, "depth_multiple": "0.33", "width_multiple": "0.5"}
    found = Architecture.from_description(quoted, "my.yaml", None)
    assert found == Architecture.from_description(plain, "my.yaml", None)
    with pytest.raises(InputError, match="is no number"):
        Architecture.from_description({**plain, "depth_multiple": "inf"}, "my.yaml", None)
