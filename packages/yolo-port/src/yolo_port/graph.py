"""From the layers of a graph (ONNX, MXNet symbol) to an architecture with its tensors.

A graph says exactly what it computes, so its layers themselves become the rows of a layout. Where
they are those of an official size, the architecture is that size and the tensors are called as it
calls them; otherwise each operation is a layer of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.yolo.anchors import COCO_ANCHORS, Anchors
from yolo_core.yolo.architecture import P6_SIZES, SIZES, Architecture
from yolo_core.yolo.plan import Step
from yolo_port.layouts import before_6
from yolo_port.wiring import IMAGE, Terms, expected_inputs

_EXPECTED = "a YOLOv5 detection model"
_NORM = ("gamma", "beta", "running_mean", "running_var")


@dataclass
class GraphLayer:
    """One operation of a graph.

    operation: as of `yolo_core.yolo.plan`. inputs: indices of earlier layers, -1 the image.
    norm: gamma, beta, mean and variance of the normalisation behind a convolution. node: what the
    file calls it.
    """

    operation: str
    inputs: tuple[int, ...]
    node: str
    weight: Array | None = None
    bias: Array | None = None
    norm: tuple[Array, ...] | None = None
    activation: str = ""
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    factor: int = 1


@dataclass(frozen=True)
class Described:
    """An architecture found in a graph, and its tensors in Ultralytics' names."""

    architecture: Architecture
    tensors: dict[str, Array] = field(default_factory=dict)


def describe_graph(
    layers: Sequence[GraphLayer], heads: Sequence[int], source: str, anchors: Anchors | None,
    names: tuple[str, ...] | None,
) -> Described:  # fmt: skip
    """The architecture of a graph. InputError when it is no detector of YOLOv5's kind.

    heads: layers of the detection convolutions. anchors, names: what the file says of them.
    """
    layers, heads = _needed(layers, heads)
    if not heads or any(layers[head].operation != "conv" or layers[head].activation
                        for head in heads):  # fmt: skip
        raise InputError(source, "has no detection convolutions at its end", _EXPECTED)
    widths = {len(_weight(layers[head])) for head in heads}
    count = len(anchors[0]) if anchors else 3
    numbers, rest = divmod(widths.pop(), count) if len(widths) == 1 else (0, 1)
    if rest or numbers < 6:
        raise InputError(source, "has detection convolutions of other channels",
                         f"{count} x (5 + classes)")  # fmt: skip
    if names is not None and len(names) != numbers - 5:
        raise InputError(source, f"has {numbers - 5} classes and {len(names)} class names",
                         "as many")  # fmt: skip
    activation = _usual(layers)
    for candidate in _official(numbers - 5, count, names, activation, len(heads)):
        matched = _matched(layers, heads, candidate)
        if matched is not None:
            found = candidate if anchors is None else replace(candidate, anchors=anchors)
            return Described(found, dict(_tensors(layers, matched, candidate.steps())))
    return _as_rows(layers, heads, source, anchors, names, numbers - 5, activation)


def written_out(
    architecture: Architecture, parameters: Mapping[str, Array], activations: Mapping[str, str],
    source: str,
) -> Described:  # fmt: skip
    """The same network with a row for each operation, which can then have an activation of its own.

    activations: convolution → word, of those that have another one than the architecture gives.
    """
    layers = []
    for step in architecture.steps():
        conv = step.convolution
        if conv is None:
            layers.append(GraphLayer(
                step.operation, step.inputs, "", kernel=(step.kernel, step.kernel),
                stride=step.stride, padding=(step.padding, step.padding), factor=step.factor,
            ))  # fmt: skip
            continue
        norm = None
        if f"{conv.batch_norm}.gamma" in parameters:
            norm = tuple(parameters[f"{conv.batch_norm}.{part}"] for part in _NORM)
        word = activations.get(conv.name, conv.activation)
        layers.append(GraphLayer(
            "conv", step.inputs, conv.name, parameters[f"{conv.name}.weight"],
            parameters.get(f"{conv.name}.bias"), norm, "" if word == "identity" else word,
            conv.kernel, conv.stride, conv.padding, conv.groups,
        ))  # fmt: skip
    heads = architecture.network.heads
    return _as_rows(layers, heads, source, architecture.anchors, architecture.names,
                    architecture.nc, _usual(layers))  # fmt: skip


def _needed(
    layers: Sequence[GraphLayer], heads: Sequence[int]
) -> tuple[list[GraphLayer], list[int]]:
    """The layers that the heads need, renumbered."""
    needed = set(heads)
    for index in range(len(layers) - 1, -1, -1):
        if index in needed:
            needed.update(layers[index].inputs)
    place = {-1: -1}
    kept: list[GraphLayer] = []
    for index, layer in enumerate(layers):
        if index in needed:
            place[index] = len(kept)
            layer.inputs = tuple(place[each] for each in layer.inputs)
            kept.append(layer)
    return kept, [place[head] for head in heads]


def _weight(layer: GraphLayer) -> Array:
    assert layer.weight is not None, layer.node
    return layer.weight


def _usual(layers: Sequence[GraphLayer]) -> str:
    words = [layer.activation for layer in layers if layer.activation]
    return max(sorted(set(words)), key=words.count) if words else "identity"


def _official(
    nc: int, count: int, names: tuple[str, ...] | None, activation: str, levels: int
) -> Iterator[Architecture]:
    """The official sizes with so many levels, of release 6 and of those before."""
    sizes, last = {3: (SIZES, 9), 4: (P6_SIZES, 11)}.get(levels, ((), 0))
    for size in sizes if count == 3 else ():
        known = Architecture.named(size, nc, names, activation=activation)
        yield known
        rows = [row.to_list() for row in before_6(known.layout, last)]
        description = {
            **known.to_description(), "backbone": rows[:1], "head": rows[1:],
            "activation": activation,
        }  # fmt: skip
        yield Architecture.from_description(description, "layout", known.names)


def _matched(
    layers: Sequence[GraphLayer], heads: Sequence[int], candidate: Architecture
) -> dict[int, int] | None:
    """Layer of the graph → step of the candidate for every convolution, if all agree."""
    steps = candidate.steps()
    body = [index for index, step in enumerate(steps) if step.operation == "conv"]
    detect = list(candidate.network.heads)
    body = [index for index in body if index not in detect]
    ours = [index for index, layer in enumerate(layers) if layer.operation == "conv"]
    ours = [index for index in ours if index not in heads]
    if len(body) != len(ours):
        return None
    pairs = {**dict(zip(ours, body)), **dict(zip(heads, detect))}
    for index, step in pairs.items():
        conv, layer = steps[step].convolution, layers[index]
        assert conv is not None
        own = (conv.weight_shape, conv.stride, conv.padding, conv.groups, conv.activation)
        if own != (_weight(layer).shape, layer.stride, layer.padding, layer.groups,
                   layer.activation):  # fmt: skip
            return None
    terms = Terms()
    wanted = expected_inputs(terms, candidate)
    values = {-1: IMAGE}
    for index, layer in enumerate(layers):
        sources = [values[each] for each in layer.inputs]
        if layer.operation == "conv":
            conv = steps[pairs[index]].convolution
            assert conv is not None
            if sources[0] != wanted[conv.name]:
                return None
            values[index] = terms.of("conv", conv.name, conv.activation)
        elif layer.operation == "maxpool":
            values[index] = _pooled(terms, layer, sources[0])
        else:
            values[index] = terms.joined(layer.operation, sources, layer.factor)
    return pairs


def _pooled(terms: Terms, layer: GraphLayer, x: int) -> int:
    """The term of a pool; one of 9 or 13 is two or three of 5, one behind the other."""
    kernel, padding = layer.kernel[0], layer.padding[0]
    if layer.stride == 1 and kernel in (9, 13) and padding == kernel // 2:
        for _ in range(kernel // 4):
            x = terms.of("maxpool", 5, 1, 2, x)
        return x
    if layer.stride == 1 and kernel == 7 and padding == 3:
        for _ in range(3):
            x = terms.of("maxpool", 3, 1, 1, x)
        return x
    return terms.of("maxpool", kernel, layer.stride, padding, x)


def _tensors(
    layers: Sequence[GraphLayer], pairs: dict[int, int], steps: Sequence[Step]
) -> Iterator[tuple[str, Array]]:
    for index, step in pairs.items():
        conv = steps[step].convolution
        assert conv is not None
        yield from _of_layer(layers[index], conv.name, conv.batch_norm)


def _of_layer(layer: GraphLayer, name: str, batch_norm: str | None) -> Iterator[tuple[str, Array]]:
    yield f"{name}.weight", _weight(layer)
    if layer.norm is None or batch_norm is None:
        bias = layer.bias
        yield f"{name}.bias", np.zeros(len(_weight(layer)), np.float32) if bias is None else bias
        return
    for part, array in zip(_NORM, layer.norm):
        yield f"{batch_norm}.{part}", array


def _as_rows(
    layers: Sequence[GraphLayer], heads: Sequence[int], source: str, anchors: Anchors | None,
    names: tuple[str, ...] | None, nc: int, activation: str,
) -> Described:  # fmt: skip
    """The graph as a layout of its own, a row for each operation."""
    rows: list[list[object]] = []
    place = {-1: -1}
    tensors: dict[str, Array] = {}
    for index, layer in enumerate(layers):
        if index in heads:
            continue
        number = len(rows)
        sources = [place[each] if place[each] >= 0 else -1 - number for each in layer.inputs]
        place[index] = number
        if layer.operation == "conv":
            name = f"model.{number}"
            tensors.update(_of_layer(layer, f"{name}.conv", f"{name}.bn"))
        rows.append([sources, 1, *_row(layer)])
    rows.append([[place[layers[head].inputs[0]] for head in heads], 1, "Detect", []])
    for level, head in enumerate(heads):
        name = f"model.{len(rows) - 1}.m.{level}"
        tensors.update(_of_layer(layers[head], name, None))
    description = {
        "nc": nc, "depth_multiple": 1.0, "width_multiple": 1.0, "channel_multiple": 1,
        "activation": activation, "backbone": rows[:1], "head": rows[1:],
        "anchors": [list(map(list, level)) for level in anchors or COCO_ANCHORS[: len(heads)]],
    }  # fmt: skip
    if anchors is None and len(heads) != len(COCO_ANCHORS):
        description["anchors"] = 3
    found = Architecture.from_description(description, source, names)
    return Described(found, tensors)


def _row(layer: GraphLayer) -> list[object]:
    if layer.operation == "conv":
        kernel: object = layer.kernel[0] if layer.kernel[0] == layer.kernel[1] else layer.kernel
        same = layer.padding == tuple(side // 2 for side in layer.kernel)
        padding = None if same else layer.padding[0]
        out = len(_weight(layer))
        word = layer.activation or "identity"
        return ["Conv", [out, kernel, layer.stride, padding, layer.groups, 1, word]]
    if layer.operation == "maxpool":
        return ["MaxPool2d", [layer.kernel[0], layer.stride, layer.padding[0]]]
    if layer.operation == "upsample":
        return ["Upsample", [None, layer.factor, "nearest"]]
    return ["Concat", [1]] if layer.operation == "concat" else ["Add", []]
