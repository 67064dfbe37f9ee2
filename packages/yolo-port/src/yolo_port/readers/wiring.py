"""How a graph's convolutions feed each other, as numbers that can be compared.

Graph formats rename and reorder what they like. A reader turns each value of a graph into a
term; the architecture's own terms are built beside it, and a convolution is what it is taken for
only if the same term feeds it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from yolo_core.yolo.architecture import Architecture

#: The number of the term that is the input image.
IMAGE = 0


class Terms:
    """Numbers for terms, so that equal terms have equal numbers whoever builds them."""

    def __init__(self) -> None:
        self._labels: list[tuple[Hashable, ...]] = [("image",)]
        self._numbers: dict[tuple[Hashable, ...], int] = {("image",): IMAGE}

    def of(self, *label: Hashable) -> int:
        """The number of an operator with its operands' numbers."""
        if label not in self._numbers:
            self._numbers[label] = len(self._labels)
            self._labels.append(label)
        return self._numbers[label]

    def label(self, number: int) -> tuple[Hashable, ...]:
        """The operator and operands behind a number."""
        return self._labels[number]


def expected_inputs(terms: Terms, architecture: Architecture) -> Mapping[str, int]:
    """Convolution → the term that feeds it in this architecture.

    The words are those of ONNX (`Mul`, `Add`, `Sigmoid`, `Relu`, `LeakyRelu`, `Concat`), `conv`
    with a name, `pool5` and `double`. Operands of `Mul` and `Add` stand in ascending order.
    """
    inputs: dict[str, int] = {}

    def convolve(name: str, x: int) -> int:
        inputs[name] = x
        return terms.of("conv", name)

    def block(stem: str, x: int) -> int:
        y = convolve(f"{stem}.conv", x)
        if architecture.activation == "silu":
            return terms.of("Mul", *sorted((y, terms.of("Sigmoid", y))))
        return terms.of("LeakyRelu" if architecture.activation == "leaky" else "Relu", y)

    outputs = {-1: IMAGE}
    for layer in architecture.layers():
        stem = f"model.{layer.index}"
        sources = [outputs[source] for source in layer.sources]
        x = sources[0]
        if layer.kind == "Conv":
            y = block(stem, x)
        elif layer.kind == "Concat":
            y = terms.of("Concat", *sources)
        elif layer.kind == "Upsample":
            y = terms.of("double", x)
        elif layer.kind == "SPPF":
            stages = [block(f"{stem}.cv1", x)]
            for _ in range(3):
                stages.append(terms.of("pool5", stages[-1]))
            y = block(f"{stem}.cv2", terms.of("Concat", *stages))
        elif layer.kind == "Detect":
            for level, source in enumerate(sources):
                convolve(f"{stem}.m.{level}", source)
            y = x
        else:
            y = block(f"{stem}.cv1", x)
            for repeat in range(layer.repeats):
                name = f"{stem}.m.{repeat}"
                inner = block(f"{name}.cv2", block(f"{name}.cv1", y))
                y = terms.of("Add", *sorted((y, inner))) if layer.shortcut else inner
            y = block(f"{stem}.cv3", terms.of("Concat", y, block(f"{stem}.cv2", x)))
        outputs[layer.index] = y
    return inputs
