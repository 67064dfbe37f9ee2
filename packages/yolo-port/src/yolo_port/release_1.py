"""Release 1 of YOLOv5, whose detection convolutions were layers of their own.

    [-1, 1, nn.Conv2d, [na * (nc + 5), 1, 1]]   after each level's block
    [[], 1, Detect, [nc, anchors]]              reads all of these, the last first

From release 2 on they are parts of Detect, which reads the blocks. The networks are the same, so
a model of release 1 is brought to the later form before anything else is asked of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from yolo_port.source import SourceModel, Structure

_BARE = re.compile(r"model\.(\d{1,4})\.weight")
_LATER_HEAD = re.compile(r"model\.\d+\.m\.\d+\.weight")
_LAYER = re.compile(r"model\.(\d{1,4})(?=\.|$)")
_MAX_LEVELS = 8

T = TypeVar("T")


def as_release_2(model: SourceModel) -> SourceModel:
    """The same model with its detection convolutions in Detect; any other model as it is."""
    found = (_BARE.fullmatch(name) for name, array in model.tensors.items() if array.ndim == 4)
    heads = sorted(int(each.group(1)) for each in found if each is not None)
    bare = all(f"model.{head}.bias" in model.tensors for head in heads)
    if not 1 <= len(heads) <= _MAX_LEVELS or not bare:
        return model
    if any(_LATER_HEAD.fullmatch(name) for name in model.tensors if ".conv." not in name):
        return model
    change = _Change(heads)
    silent = model.structure is None and model.activation is None
    return replace(
        model,
        tensors=change.renamed(model.tensors),
        description=change.description(model.description),
        structure=None if model.structure is None else change.structure(model.structure),
        activation="leaky" if silent else model.activation,
        assumed=(*model.assumed, "activation leaky, as in release 1 (--activation says another)")
        if silent
        else model.assumed,
    )


class _Change:
    """heads: layers that are detection convolutions, ascending."""

    def __init__(self, heads: Sequence[int]) -> None:
        self._heads = heads
        self._order = list(reversed(heads))
        self._detect = self._place(heads[-1] + 1)

    def _place(self, layer: int) -> int:
        return layer - sum(head < layer for head in self._heads)

    def _name(self, name: str) -> str:
        found = _LAYER.match(name)
        if found is None:
            return name
        layer, rest = int(found.group(1)), name[found.end() :]
        if layer in self._heads:
            return f"model.{self._detect}.m.{self._order.index(layer)}{rest}"
        return f"model.{self._place(layer)}{rest}"

    def renamed(self, values: Mapping[str, T]) -> dict[str, T]:
        """The same values by the names of the later form."""
        return {self._name(name): value for name, value in values.items()}

    def _sources(self, rows: Sequence[Sequence[int]], layer: int) -> list[int]:
        """What a layer reads, as numbers of the later form. rows: absolute sources by layer."""
        if layer == self._heads[-1] + 1:
            return [self._place(rows[head][0]) for head in self._order]
        through = (rows[each][0] if each in self._heads else each for each in rows[layer])
        return [self._place(each) for each in through]

    def structure(self, structure: Structure) -> Structure:
        """The wiring of the modules in the later form."""
        rows = [list(sources) for _, sources in structure.layers]
        if len(rows) != self._heads[-1] + 2 or not all(rows[head] for head in self._heads):
            return structure
        layers = tuple(
            (kind, tuple(self._sources(rows, layer)))
            for layer, (kind, _) in enumerate(structure.layers)
            if layer not in self._heads
        )
        return Structure(
            layers, self.renamed(structure.convolutions), self.renamed(structure.shortcuts),
            self.renamed(structure.activations), self.renamed(structure.pools),
        )  # fmt: skip

    def description(self, description: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """The model yaml in the later form; one that is no list of rows as it is."""
        if description is None:
            return None
        rows = [*_listed(description.get("backbone")), *_listed(description.get("head"))]
        sound = all(isinstance(row, (list, tuple)) and len(row) == 4 for row in rows)
        if not sound or len(rows) != self._heads[-1] + 2:
            return description
        sources = [_absolute(row[0], layer) for layer, row in enumerate(rows)]
        if any(each is None or (not each and layer != len(rows) - 1)
               for layer, each in enumerate(sources)):  # fmt: skip
            return description
        known = [each or [] for each in sources]
        changed = [
            [self._sources(known, layer) if layer else -1, *row[1:]]
            for layer, row in enumerate(rows)
            if layer not in self._heads
        ]
        changed[-1][3] = ["nc", "anchors"]
        return {**description, "backbone": changed[:1], "head": changed[1:]}


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [None]


def _absolute(sources: Any, layer: int) -> list[int] | None:
    """The layers that a row reads; None for what are no numbers of earlier ones."""
    numbers = sources if isinstance(sources, (list, tuple)) else [sources]
    if not all(type(each) is int for each in numbers):
        return None
    found = [layer + each if each < 0 else each for each in numbers]
    return found if all(-1 <= each < layer for each in found) else None
