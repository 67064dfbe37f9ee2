"""What every network of ours is made of: five operations, and the plan that lists them.

    conv      convolution, batch normalisation (or a bias once folded, or a bias alone) and
              activation. MXNet: Convolution, BatchNorm, the activation's operators. NumPy: sums
              of products over windows. Quantizer: int8 weights and codes, an int32 accumulator,
              requantization and a table for the activation.
    add       sum of two tensors. Quantizer: wide codes of a common scale.
    concat    joined along channels. Quantizer: codes side by side, each with its own scale.
    maxpool   maximum over windows; what lies outside counts for nothing. Quantizer: the same.
    upsample  every pixel repeated `factor` times in both directions. Quantizer: the same.

Kinds of layers (`kinds`) write themselves down in these operations; the Gluon network, the NumPy
oracle, the ONNX graph and the quantizer read nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Bounds of a plan: yolov5x6 has 178 convolutions, the widest of 1280 channels.
MAX_CONVOLUTIONS = 4096
MAX_CHANNELS = 1 << 15
MAX_WEIGHTS = 1 << 30
MAX_STRIDE_FROM_INPUT = 128
IMAGE = -1


class LayoutError(ValueError):
    """A layout that is no network. cause, expected: as of an InputError."""

    def __init__(self, cause: str, expected: str) -> None:
        super().__init__(f"{cause}; expected {expected}")
        self.cause, self.expected = cause, expected


@dataclass(frozen=True)
class Convolution:
    """One convolution and its activation.

    name: stem of its parameters, `<name>.weight` [out, in / groups, *kernel] and `<name>.bias`.
    kernel, padding: (vertical, horizontal). batch_norm: stem of the normalisation behind it, None
    for the detection convolutions, which always have a bias. activation: a word of `activations`,
    empty for the detection convolutions. input_stride: how often smaller its input is than the
    image.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: int
    padding: tuple[int, int]
    batch_norm: str | None
    input_stride: int
    groups: int = 1
    activation: str = ""

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Shape of its weight."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel)


@dataclass(frozen=True)
class Step:
    """One tensor and the operation that makes it.

    operation: see the module. inputs: indices of earlier steps, `IMAGE` for the input image.
    channels: of the result. stride_from_input: how often smaller it is than the image.
    convolution: of a conv. kernel, stride, padding: of a maxpool, in both directions. factor: of
    an upsample.
    """

    operation: str
    inputs: tuple[int, ...]
    channels: int
    stride_from_input: int
    convolution: Convolution | None = None
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    factor: int = 1


class Plan:
    """The steps so far; every method adds one and returns its index."""

    def __init__(self, input_channels: int, activation: str, csp_activation: str) -> None:
        self.activation, self.csp_activation = activation, csp_activation
        self.steps: list[Step] = []
        self._input_channels = input_channels
        self._names: set[str] = set()
        self._weights = 0

    def channels(self, step: int) -> int:
        """Channels of a tensor."""
        return self._input_channels if step == IMAGE else self.steps[step].channels

    def stride(self, step: int) -> int:
        """How often smaller a tensor is than the image."""
        return 1 if step == IMAGE else self.steps[step].stride_from_input

    def _add(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def conv(
        self,
        stem: str,
        x: int,
        out: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        activation: str | bool = True,
        name: str | None = None,
    ) -> int:
        """A convolution called `<stem>.conv` with the batch normalisation `<stem>.bn`.

        padding: None keeps the size. activation: True for the network's own, False for none.
        name: of the convolution, where its kind calls it otherwise.
        """
        if isinstance(activation, bool):
            activation = self.activation if activation else "identity"
        name = name or f"{stem}.conv"
        return self._convolve(name, f"{stem}.bn", x, out, kernel, stride, padding, groups,
                              activation)  # fmt: skip

    def detection(self, name: str, x: int, out: int) -> int:
        """A detection convolution: 1x1 with a bias, neither normalised nor activated."""
        return self._convolve(name, None, x, out, 1, 1, 0, 1, "")

    def _convolve(
        self, name: str, batch_norm: str | None, x: int, out: int, kernel: int | tuple[int, int],
        stride: int, padding: int | None, groups: int, activation: str,
    ) -> int:  # fmt: skip
        inside = self.channels(x)
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        _require(1 <= out <= MAX_CHANNELS, f"has {out} channels in {name}",
                 f"1 to {MAX_CHANNELS}")  # fmt: skip
        _require(all(1 <= side <= 64 for side in sides), f"has a kernel of {sides} in {name}",
                 "1 to 64")  # fmt: skip
        _require(1 <= stride <= 8, f"has stride {stride} in {name}", "1 to 8")
        _require(groups >= 1 and inside % groups == 0 and out % groups == 0,
                 f"has {groups} groups in {name}",
                 f"a divisor of {inside} and of {out} channels")  # fmt: skip
        pads = tuple(side // 2 if padding is None else padding for side in sides)
        for side, pad in zip(sides, pads):
            # Then a side that is a multiple of the stride becomes exactly so many times smaller.
            _require(side - stride <= 2 * pad < side,
                     f"has kernel {side}, stride {stride} and padding {pad} in {name}",
                     "a convolution that divides sides evenly")  # fmt: skip
        _require(name not in self._names, f"has two convolutions {name}", "one")
        self._names.add(name)
        conv = Convolution(
            name, inside, out, sides, stride, (pads[0], pads[1]), batch_norm, self.stride(x),
            groups, activation,
        )  # fmt: skip
        self._weights += math.prod(conv.weight_shape)
        _require(len(self._names) <= MAX_CONVOLUTIONS, "has too many convolutions",
                 f"at most {MAX_CONVOLUTIONS}")  # fmt: skip
        _require(self._weights <= MAX_WEIGHTS, "has too many weights", f"at most {MAX_WEIGHTS}")
        return self._add(Step("conv", (x,), out, self._coarser(x, stride, name), conv))

    def _coarser(self, x: int, stride: int, name: str) -> int:
        scale = self.stride(x) * stride
        _require(scale <= MAX_STRIDE_FROM_INPUT, f"is {scale} times smaller than the image "
                 f"at {name}", f"at most {MAX_STRIDE_FROM_INPUT} times")  # fmt: skip
        return scale

    def add(self, x: int, y: int) -> int:
        """The sum of two tensors of one shape."""
        _require(self.channels(x) == self.channels(y), f"adds {self.channels(x)} channels to "
                 f"{self.channels(y)}", "as many")  # fmt: skip
        self._same_size((x, y), "adds")
        _require(self._sums(x) and self._sums(y), "adds what a pool or the image puts out",
                 "sums of convolutions, which integers can hold")  # fmt: skip
        return self._add(Step("add", (x, y), self.channels(x), self.stride(x)))

    def _sums(self, x: int) -> bool:
        """Whether a tensor can have the wide codes that sums are made of."""
        if x == IMAGE or self.steps[x].operation == "maxpool":
            return False
        step = self.steps[x]
        joined = step.operation in ("concat", "upsample")
        return not joined or all(map(self._sums, step.inputs))

    def concat(self, sources: Sequence[int]) -> int:
        """The tensors side by side."""
        self._same_size(sources, "joins")
        channels = sum(map(self.channels, sources))
        _require(channels <= MAX_CHANNELS, f"joins {channels} channels", f"at most {MAX_CHANNELS}")
        return self._add(Step("concat", tuple(sources), channels, self.stride(sources[0])))

    def _same_size(self, sources: Sequence[int], what: str) -> None:
        strides = sorted({self.stride(source) for source in sources})
        _require(len(strides) == 1, f"{what} tensors of the strides {strides}", "one stride")

    def maxpool(self, x: int, kernel: int, stride: int = 1, padding: int | None = None) -> int:
        """The maximum over windows; padding: None keeps the size."""
        pad = kernel // 2 if padding is None else padding
        fits = 1 <= kernel <= 64 and 1 <= stride <= 8 and kernel - stride <= 2 * pad < kernel
        _require(fits, f"has a pool of {kernel}, stride {stride} and padding {pad}",
                 "a pool that divides sides evenly")  # fmt: skip
        scale = self._coarser(x, stride, "a pool")
        return self._add(Step("maxpool", (x,), self.channels(x), scale, None, kernel, stride, pad))

    def upsample(self, x: int, factor: int) -> int:
        """Every pixel `factor` times in both directions."""
        scale = self.stride(x)
        _require(2 <= factor <= 8 and scale % factor == 0, f"enlarges {factor} times what is "
                 f"{scale} times smaller than the image", "a factor of it")  # fmt: skip
        return self._add(Step("upsample", (x,), self.channels(x), scale // factor, factor=factor))


def _require(condition: bool, cause: str, expected: str) -> None:
    if not condition:
        raise LayoutError(cause, expected)
