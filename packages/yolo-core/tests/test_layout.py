"""The language of model yamls: official sizes, other layouts, and what is no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yolo_core.errors import InputError
from yolo_core.yolo.activations import from_torch_text, split_activation
from yolo_core.yolo.architecture import Architecture

#: Parameters as the repository's own models count them, GFLOPs as its tables publish them: of
#: release 7.0 (https://github.com/ultralytics/yolov5, README) at 640 pixels.
RELEASE_7 = {
    "n": (1872157, 4.5),
    "s": (7235389, 16.5),
    "m": (21190557, 49.0),
    "l": (46563709, 109.1),
    "x": (86749405, 205.7),
    "n6": (3246940, 4.6),
    "s6": (12626620, 16.8),
    "m6": (35731932, 50.0),
    "l6": (76770172, 111.4),
    "x6": (140794780, 209.8),
}
#: The same of release 5.0, whose models begin with a Focus and pool in an SPP.
RELEASE_5 = {
    "s": (7276605, 17.0),
    "m": (21375645, 51.3),
    "l": (47056765, 115.4),
    "x": (87775965, 218.8),
    "s6": (12667836, 17.4),
    "m6": (35917020, 52.4),
    "l6": (77263228, 117.7),
    "x6": (141821340, 222.9),
}


def release_5(size: str) -> Architecture:
    description = Architecture.named(size).to_description()
    rows = [*description["backbone"], *description["head"]]
    last = 9 if len(size) == 1 else 11
    width = rows[last][3][0]
    rows[0] = [-1, 1, "Focus", [64, 3]]
    rows[4][1] = 9
    rows[last - 1] = [-1, 1, "SPP", [width, [5, 9, 13] if last == 9 else [3, 5, 7]]]
    rows[last] = [-1, 3, "C3", [width, False]]
    description.update(backbone=rows[:1], head=rows[1:])
    return Architecture.from_description(description, "release 5")


@pytest.mark.parametrize("size", RELEASE_7)
def test_official_sizes_of_release_7(size: str) -> None:
    architecture = Architecture.named(size)
    parameters, gflops = RELEASE_7[size]
    assert architecture.parameter_count() == parameters
    assert 2 * architecture.macs(640, 640) / 1e9 == pytest.approx(gflops, rel=0.01)
    assert architecture.strides == (8, 16, 32, 64)[: 3 + (len(size) == 2)]


@pytest.mark.parametrize("size", RELEASE_5)
def test_official_sizes_of_release_5(size: str) -> None:
    architecture = release_5(size)
    parameters, gflops = RELEASE_5[size]
    assert architecture.parameter_count() == parameters
    assert 2 * architecture.macs(640, 640) / 1e9 == pytest.approx(gflops, rel=0.01)


def test_a_yaml_of_an_official_size_is_that_size() -> None:
    for size in ("n", "s6"):
        known = Architecture.named(size)
        assert Architecture.from_description(known.to_description(), "x") == known
    assert Architecture.from_dict(Architecture.named("s6").to_dict(), "x").size == "s6"


def small(**changes: Any) -> dict[str, Any]:
    """Two levels in few layers."""
    return {
        "nc": 2,
        "depth_multiple": 1.0,
        "width_multiple": 0.25,
        "anchors": [[10, 13, 16, 30], [30, 61, 62, 45]],
        "backbone": [[-1, 1, "Conv", [32, 6, 2, 2]], [-1, 1, "Conv", [64, 3, 2]]],
        "head": [
            [-1, 1, "Conv", [64, 3, 2]],
            [-1, 1, "Conv", [64, 3, 2]],
            [[2, 3], 1, "Detect", ["nc", "anchors"]],
        ],
        **changes,
    }


def test_levels_strides_and_anchors_follow_the_layout() -> None:
    found = Architecture.from_description(small(), "x")
    assert (found.levels, found.strides, found.anchors_per_level) == (2, (8, 16), 2)
    assert found.level_names == ("p3", "p4")
    assert found.rows(64, 64) == 2 * (64 + 16)
    assert Architecture.from_dict(found.to_dict(), "x") == found
    assert hash(found) == hash(Architecture.from_dict(found.to_dict(), "x"))


@pytest.mark.parametrize(
    "row",
    [
        [-1, 1, "DWConv", [64, 3, 2]],
        [-1, 2, "C3", [64]],
        [-1, 2, "C3x", [64]],
        [-1, 2, "C3Ghost", [64]],
        [-1, 2, "BottleneckCSP", [64, False]],
        [-1, 2, "Bottleneck", [64]],
        [-1, 1, "CrossConv", [64, 3, 1]],
        [-1, 1, "GhostConv", [64, 3, 2]],
        [-1, 1, "SPP", [64, [5, 9, 13]]],
        [-1, 1, "SPPF", [64, 5]],
        [-1, 1, "Focus", [64, 3]],
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 1], 1, "Concat", [1]],
        [-1, 1, "Conv", [64, 3, 1, None, 1, 1, "nn.Hardswish()"]],
    ],
)
def test_every_kind_has_a_shape_and_comes_back(row: list[Any]) -> None:
    description = small()
    description["head"].insert(1, [-1, 1, "Conv", [64, 3, 1]])
    if row[2] == "Concat":
        row = [[-1, 2], 1, "Concat", [1]]
    description["head"].insert(2, row)
    if row[2] == "nn.Upsample":
        description["head"].insert(3, [-1, 1, "Conv", [64, 3, 2]])
    last = len(description["head"]) + 2 - 2
    description["head"][-1][0] = [last - 1, last]
    found = Architecture.from_description(description, "x")
    assert found.parameter_count() > 0
    assert Architecture.from_dict(found.to_dict(), "x") == found


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"backbone": "Conv"}, "not a list"),
        ({"head": []}, "Detect"),
        ({"depth_multiple": -1}, "multiples"),
        ({"width_multiple": 1e9}, "multiples"),
        ({"width_multiple": "wide"}, "wrong kind"),
        ({"anchors": [[1, 2, 3]]}, "anchors"),
        ({"anchors": [[1, 2]]}, "1 levels"),
        ({"activation": "__import__('os')"}, "wrong kind"),
        ({"nc": 10**6}, "classes"),
        ({"ch": 1}, "of one input channel; expected three, for RGB"),
        ({"ch": 4}, "of 4 input channels"),
        ({"ch": "many"}, "of 'many' input channels"),
        ({"backbone": [[-1, 1, "Conv", [64, 3, 2]]] * 100_000}, "layers"),
        ({"backbone": [[-1, 1, "os.system", ["ls"]]]}, "os.system"),
        ({"backbone": [[-1, 1, "C3TR", [64]]]}, "transformer"),
        ({"backbone": [[5, 1, "Conv", [64]]]}, "reads layer 5"),
        ({"backbone": [[-1, 1, "Conv", [64]], [1, 1, "Conv", [64]]]}, "reads layer 1"),
        ({"backbone": [[-1, 10**9, "C3", [64]]]}, "repeated"),
        ({"backbone": [[-1, 1, "Conv", [10**9]]]}, "channels"),
        ({"backbone": [[-1, 1, "Conv", [64, 2, 1]]]}, "evenly"),
        ({"backbone": [[-1, 1, "Conv", [64, 3, 2, None, 7]]]}, "groups"),
        ({"backbone": [[-1, 1, "Conv", []]]}, "channels"),
        ({"backbone": [[-1, 1, "Conv", [64, [], {}]]]}, "argument"),
        ({"backbone": [[-1, 1, "Conv", [64, 3, 2]], [[0, -1], 1, "Conv", [64]]]}, "2 layers"),
        ({"backbone": [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "nn.Upsample", [None, 1.5]]]}, "whole"),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(changes: Any, cause: str) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        Architecture.from_description(small(**changes), "m.yaml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_yaml_file_is_read_with_the_names_of_the_data(tmp_path: Path) -> None:
    import yaml

    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump(small(nc=80)))
    assert Architecture.of(str(path), names=["a", "b", "c"]).names == ("a", "b", "c")
    assert Architecture.of(str(path), nc=5).nc == 5
    assert Architecture.of(str(path)).nc == 80


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("nn.SiLU()", "silu"),
        ("nn.LeakyReLU(0.1)", "leaky"),
        ("nn.LeakyReLU(0.1, inplace=True)", "leaky"),
        ("nn.LeakyReLU()", "leaky0.01"),
        ("torch.nn.ReLU6()", "relu6"),
        ("nn.Hardswish()", "hardswish"),
        ("mish", "mish"),
    ],
)
def test_activations_are_read_and_not_run(text: str, word: str) -> None:
    assert from_torch_text(text) == word
    assert split_activation(word)[0] in text.lower()


@pytest.mark.parametrize("text", ["nn.Tanh()", "eval('1')", "nn.SiLU", "nn.ReLU(0.5)", "a" * 1000])
def test_other_activations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"nn|eval|a"):
        from_torch_text(text)
