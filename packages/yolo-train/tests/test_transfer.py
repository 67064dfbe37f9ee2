"""What a network takes over from a checkpoint of other classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.yolo.architecture import Architecture
from yolo_train.start import random_parameters
from yolo_train.transfer import transfer

HEAD = "model.24.m.1.weight"


def checkpoint(*names: str) -> Checkpoint:
    architecture = Architecture.named("n", names=names)
    return Checkpoint(architecture, random_parameters(architecture, 5), fused=False)


def rows(parameters: Any, name: str, classes: int) -> Array:
    found: Array = parameters[name].reshape(3, 5 + classes, -1)
    return found


def test_boxes_objectness_and_classes_of_the_same_name_are_taken() -> None:
    source = checkpoint("a", "star", "circle")
    own = Architecture.named("n", names=["circle", "new"])
    start = random_parameters(own, 0)
    taken = transfer(start, own, source)
    for name in (HEAD, "model.24.m.1.bias"):
        before, after = rows(source.parameters, name, 3), rows(taken.parameters, name, 2)
        np.testing.assert_array_equal(after[:, :5], before[:, :5])
        np.testing.assert_array_equal(after[:, 5], before[:, 7])
        np.testing.assert_array_equal(after[:, 6], rows(start, name, 2)[:, 6])
    assert taken.new == ("new",)
    assert not taken.skipped
    assert len(taken.heads) == 6
    assert "of the detection head boxes and objectness, new classes are new" in taken.summary()


def test_classes_in_another_order_are_found_by_their_names() -> None:
    source = checkpoint("a", "b")
    taken = transfer(random_parameters(source.architecture, 0),
                     Architecture.named("n", names=["b", "a"]), source)  # fmt: skip
    before, after = rows(source.parameters, HEAD, 2), rows(taken.parameters, HEAD, 2)
    np.testing.assert_array_equal(after, before[:, [0, 1, 2, 3, 4, 6, 5]])
    assert taken.summary().endswith("boxes and objectness and all classes")


def test_as_many_classes_of_other_names_are_the_same_ones_renamed() -> None:
    source = checkpoint("a", "b")
    own = Architecture.named("n", names=["chat", "chien"])
    taken = transfer(random_parameters(own, 0), own, source)
    np.testing.assert_array_equal(taken.parameters[HEAD], source.parameters[HEAD])
    assert not taken.heads
    assert not taken.new


def test_a_head_of_other_anchors_starts_anew() -> None:
    source = checkpoint("a", "b")
    anchors = tuple(level[:2] for level in source.architecture.anchors)
    own = Architecture.from_description(
        {**source.architecture.to_description(), "anchors": [sum(level, ()) for level in anchors]},
        "model",
        ["a", "c"],
    )
    taken = transfer(random_parameters(own, 0), own, source)
    assert len(taken.skipped) == 6
    assert "6 start anew: model.24.m.0.weight" in taken.summary()
