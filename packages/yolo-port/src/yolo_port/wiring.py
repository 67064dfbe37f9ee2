"""How a graph's convolutions feed each other, as numbers that can be compared.

Graph formats rename and reorder what they like. A reader turns each value of a graph into a
term; the architecture's own terms are built beside it, and a convolution is what it is taken for
only if the same term feeds it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.plan import IMAGE as IMAGE_STEP

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

    def joined(self, operation: str, sources: Sequence[int], factor: int) -> int:
        """The number of an `add`, a `concat`, or an `upsample` by `factor`."""
        if operation == "add":
            return self.of("add", *sorted(sources))
        if operation == "concat":
            return self.of("concat", *sources)
        return self.of("upsample", factor, sources[0])

    def label(self, number: int) -> tuple[Hashable, ...]:
        """The operator and operands behind a number."""
        return self._labels[number]


def expected_inputs(terms: Terms, architecture: Architecture) -> Mapping[str, int]:
    """Convolution → the term that feeds it in this architecture.

    The words are `conv` with a name and an activation, `add` (operands in ascending order),
    `concat`, `maxpool` with kernel, stride and padding, and `upsample` with its factor.
    """
    inputs: dict[str, int] = {}
    outputs = {IMAGE_STEP: IMAGE}
    for index, step in enumerate(architecture.steps()):
        sources = [outputs[source] for source in step.inputs]
        if step.convolution is not None:
            conv = step.convolution
            inputs[conv.name] = sources[0]
            outputs[index] = terms.of("conv", conv.name, conv.activation)
        elif step.operation == "maxpool":
            outputs[index] = terms.of("maxpool", step.kernel, step.stride, step.padding, sources[0])
        else:
            outputs[index] = terms.joined(step.operation, sources, step.factor)
    return inputs
