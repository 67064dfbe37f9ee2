"""What a network takes over from a checkpoint of other classes or layers.

A parameter of the same name and shape is taken whole. Of a detection head for other classes the
rows that say where a box lies and whether there is one are taken, and the rows of the classes that
both know by name: what an object's outline looks like does not depend on what the object is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.yolo.architecture import Architecture

#: Rows of a head that belong to no class: x, y, width, height, objectness.
_COMMON = 5
#: Class names that a message lists.
_LISTED = 8


@dataclass(frozen=True)
class Transfer:
    """parameters: of the new network. whole: names that were taken whole. heads: names of which
    rows were taken. new: classes whose rows start anew. skipped: names that start anew.
    """

    parameters: Mapping[str, Array]
    whole: tuple[str, ...]
    heads: tuple[str, ...]
    new: tuple[str, ...]
    skipped: tuple[str, ...]

    def summary(self) -> str:
        """What was taken, as the rest of a line."""
        said = f"{len(self.whole)} parameters taken"
        if self.heads:
            said += "; of the detection head boxes and objectness"
            said += f", new classes are {_listed(self.new)}" if self.new else " and all classes"
        if self.skipped:
            said += f"; {len(self.skipped)} start anew: {', '.join(self.skipped)}"
        return said


def transfer(
    start: Mapping[str, Array], architecture: Architecture, checkpoint: Checkpoint
) -> Transfer:
    """`start`, unfused parameters of `architecture`, with what the checkpoint has for them."""
    found, heads = checkpoint.parameters, _heads(architecture, checkpoint.architecture)
    into, out_of = _rows(architecture, checkpoint.architecture)
    parameters = dict(start)
    whole, partly, skipped = [], [], []
    for name, value in start.items():
        if name in heads and name in found and found[name].shape[1:] == value.shape[1:]:
            anchors = architecture.anchors_per_level
            rows = value.reshape(anchors, architecture.no, -1).copy()
            taken = found[name].reshape(anchors, checkpoint.architecture.no, -1)
            rows[:, into] = taken[:, out_of]
            parameters[name] = np.ascontiguousarray(rows.reshape(value.shape), np.float32)
            partly.append(name)
        elif name in found and found[name].shape == value.shape:
            parameters[name] = np.ascontiguousarray(found[name], np.float32)
            whole.append(name)
        else:
            skipped.append(name)
    new = tuple(
        architecture.names[number]
        for number in range(architecture.nc)
        if partly and _COMMON + number not in into
    )
    return Transfer(parameters, tuple(whole), tuple(partly), new, tuple(skipped))


def _heads(own: Architecture, source: Architecture) -> frozenset[str]:
    """The parameters of the detection head of which rows are taken, where classes differ.

    As many classes, none of which has the same name, are the same ones renamed, as in YOLOv5.
    """
    alike = (own.levels, own.anchors_per_level) == (source.levels, source.anchors_per_level)
    renamed = own.nc == source.nc and not set(own.names) & set(source.names)
    if not alike or renamed or own.names == source.names:
        return frozenset()
    return frozenset(
        f"{conv.name}.{kind}"
        for conv in own.convolutions()
        if conv.batch_norm is None
        for kind in ("weight", "bias")
    )


def _rows(own: Architecture, source: Architecture) -> tuple[list[int], list[int]]:
    """Rows of an anchor, and the rows of the source that they are taken from."""
    into, out_of = list(range(_COMMON)), list(range(_COMMON))
    for number, name in enumerate(own.names):
        if name in source.names:
            into.append(_COMMON + number)
            out_of.append(_COMMON + source.names.index(name))
    return into, out_of


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
