"""The kinds of layers that a YOLOv5 model yaml may name, each as a few steps of a `Plan`.

Facts from the YOLOv5 repository's `models/common.py` (releases 1.0 to 7.0): how each kind is
wired, how its parameters are called, and the order of its arguments. The first argument of every
kind with `scaled` is its number of output channels, before the width multiple. e is the share of
the channels that a kind has inside.

A function takes the plan, the stem of its parameters (`model.4`), the tensors it reads, and its
arguments with the channels scaled; kinds with `repeats` also take how often their inner block is
repeated. It returns the tensor that the layer puts out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yolo_core.yolo.activations import from_torch_text
from yolo_core.yolo.plan import LayoutError, Plan

Sources = Sequence[int]


def _word(act: Any) -> str | bool:
    """An activation argument: True, False, or the text of a `torch.nn` class."""
    if act is None:
        return True
    if isinstance(act, str):
        try:
            return from_torch_text(act)
        except ValueError as error:
            raise LayoutError(f"has the activation {act[:40]!r}", "one of torch.nn") from error
    return bool(act)


def _conv(
    plan: Plan, stem: str, x: Sources, out: int, kernel: int = 1, stride: int = 1,
    padding: int | None = None, groups: int = 1, dilation: int | bool = 1, act: Any = True,
) -> int:  # fmt: skip
    # Before release 7.0 there was no dilation and the activation stood in its place.
    if isinstance(dilation, (bool, str)):
        dilation, act = 1, dilation
    _plain(dilation)
    return plan.conv(stem, x[0], out, kernel, stride, padding, groups, _word(act))


def _plain(dilation: Any) -> None:
    if dilation != 1:
        raise LayoutError(f"has a convolution of dilation {dilation}", "1")


def _depthwise(
    plan: Plan, stem: str, x: Sources, out: int, kernel: int = 1, stride: int = 1,
    dilation: int | bool = 1, act: Any = True,
) -> int:  # fmt: skip
    if isinstance(dilation, (bool, str)):
        dilation, act = 1, dilation
    _plain(dilation)
    groups = math.gcd(plan.channels(x[0]), out)
    return plan.conv(stem, x[0], out, kernel, stride, None, groups, _word(act))


def _focus(
    plan: Plan, stem: str, x: Sources, out: int, kernel: int = 1, stride: int = 1,
    padding: int | None = None, groups: int = 1, act: Any = True,
) -> int:  # fmt: skip
    """Every second row and column as channels, then a convolution.

    The same numbers as one convolution of twice the kernel and twice the stride on the image;
    that one is what the network has.
    """
    if groups != 1:
        raise LayoutError(f"has a Focus of {groups} groups", "1")
    pad = 2 * (kernel // 2 if padding is None else padding)
    return plan.conv(stem, x[0], out, 2 * kernel, 2 * stride, pad, 1, _word(act))


def _cross(
    plan: Plan, stem: str, x: Sources, out: int, kernel: int = 3, stride: int = 1, groups: int = 1,
    e: float = 1.0, shortcut: bool = False,
) -> int:  # fmt: skip
    """A horizontal and a vertical convolution."""
    if stride != 1:
        raise LayoutError(f"has a CrossConv of stride {stride}", "1")
    y = plan.conv(f"{stem}.cv1", x[0], int(out * e), (1, kernel))
    y = plan.conv(f"{stem}.cv2", y, out, (kernel, 1), groups=groups)
    return plan.add(x[0], y) if shortcut and plan.channels(x[0]) == out else y


def _bottleneck(
    plan: Plan, stem: str, x: Sources, out: int, shortcut: bool = True, groups: int = 1,
    e: float = 0.5,
) -> int:  # fmt: skip
    """1x1 and 3x3 convolution, added to the input where that has as many channels."""
    y = plan.conv(f"{stem}.cv1", x[0], int(out * e))
    y = plan.conv(f"{stem}.cv2", y, out, 3, groups=groups)
    return plan.add(x[0], y) if shortcut and plan.channels(x[0]) == out else y


def _c3(
    plan: Plan, stem: str, x: Sources, out: int, n: int = 1, shortcut: bool = True,
    groups: int = 1, e: float = 0.5, block: Callable[..., int] | None = None,
) -> int:  # fmt: skip
    """Two 1x1 branches, one through a chain of blocks, joined by a third 1x1."""
    inside = int(out * e)
    y = plan.conv(f"{stem}.cv1", x[0], inside)
    for index in range(n):
        name = f"{stem}.m.{index}"
        if block is None:
            y = _bottleneck(plan, name, [y], inside, shortcut, groups, 1.0)
        else:
            y = block(plan, name, y, inside, shortcut, groups)
    branch = plan.conv(f"{stem}.cv2", x[0], inside)
    return plan.conv(f"{stem}.cv3", plan.concat([y, branch]), out)


def _c3x(
    plan: Plan, stem: str, x: Sources, out: int, n: int = 1, shortcut: bool = True,
    groups: int = 1, e: float = 0.5,
) -> int:  # fmt: skip
    """C3 of crossed convolutions."""

    def block(plan: Plan, name: str, y: int, inside: int, shortcut: bool, groups: int) -> int:
        return _cross(plan, name, [y], inside, 3, 1, groups, 1.0, shortcut)

    return _c3(plan, stem, x, out, n, shortcut, groups, e, block)


def _c3ghost(
    plan: Plan, stem: str, x: Sources, out: int, n: int = 1, shortcut: bool = True,
    groups: int = 1, e: float = 0.5,
) -> int:  # fmt: skip
    """C3 of Ghost bottlenecks."""

    def block(plan: Plan, name: str, y: int, inside: int, shortcut: bool, groups: int) -> int:
        return _ghost_bottleneck(plan, name, [y], inside)

    return _c3(plan, stem, x, out, n, shortcut, groups, e, block)


def _csp(
    plan: Plan, stem: str, x: Sources, out: int, n: int = 1, shortcut: bool = True,
    groups: int = 1, e: float = 0.5,
) -> int:  # fmt: skip
    """The block of before release 4.0: two bare 1x1 branches, normalised and activated together.

    A normalisation of joined channels is one of each part, which is how it is kept here.
    """
    inside = int(out * e)
    y = plan.conv(f"{stem}.cv1", x[0], inside)
    for index in range(n):
        y = _bottleneck(plan, f"{stem}.m.{index}", [y], inside, shortcut, groups, 1.0)
    parts = [
        # Bare convolutions: `cv3.weight`, not `cv3.conv.weight`.
        plan.conv(f"{stem}.{name}", source, inside, activation=plan.csp_activation,
                  name=f"{stem}.{name}")
        for name, source in (("cv3", y), ("cv2", x[0]))
    ]  # fmt: skip
    return plan.conv(f"{stem}.cv4", plan.concat(parts), out)


def _ghost_conv(
    plan: Plan, stem: str, x: Sources, out: int, kernel: int = 1, stride: int = 1, groups: int = 1,
    act: Any = True,
) -> int:  # fmt: skip
    """Half of the channels by a convolution, the other half from those by a 5x5 of each alone."""
    half = out // 2
    if out % 2:
        raise LayoutError(f"has a GhostConv of {out} channels", "an even number")
    word = _word(act)
    y = plan.conv(f"{stem}.cv1", x[0], half, kernel, stride, groups=groups, activation=word)
    cheap = plan.conv(f"{stem}.cv2", y, half, 5, groups=half, activation=word)
    return plan.concat([y, cheap])


def _ghost_bottleneck(
    plan: Plan, stem: str, x: Sources, out: int, kernel: int = 3, stride: int = 1
) -> int:
    inside = out // 2
    y = _ghost_conv(plan, f"{stem}.conv.0", x, inside)
    source = x[0]
    if stride == 2:
        y = _depthwise(plan, f"{stem}.conv.1", [y], inside, kernel, stride, act=False)
    y = _ghost_conv(plan, f"{stem}.conv.2", [y], out, act=False)
    if stride == 2:
        channels = plan.channels(source)
        source = _depthwise(plan, f"{stem}.shortcut.0", [source], channels, kernel, stride,
                            act=False)  # fmt: skip
        source = plan.conv(f"{stem}.shortcut.1", source, out, activation=False)
    return plan.add(y, source)


def _spp(plan: Plan, stem: str, x: Sources, out: int, kernels: Any = (5, 9, 13)) -> int:
    """Max-pools of several sizes, joined.

    A pool of 9 is two of 5, one after the other, so each size is made from the one before.
    """
    sides = [kernels] if isinstance(kernels, int) else list(kernels)
    grows = all(type(side) is int and side % 2 for side in sides) and sides == sorted(set(sides))
    if not 1 <= len(sides) <= 8 or not grows:
        raise LayoutError(f"has an SPP of the pools {str(kernels)[:40]}", "growing odd numbers")
    stages = [plan.conv(f"{stem}.cv1", x[0], plan.channels(x[0]) // 2)]
    for before, side in zip([1, *sides], sides):
        stages.append(plan.maxpool(stages[-1], side - before + 1))
    return plan.conv(f"{stem}.cv2", plan.concat(stages), out)


def _sppf(plan: Plan, stem: str, x: Sources, out: int, kernel: int = 5) -> int:
    """Three chained max-pools of one kernel, all stages joined (spatial pyramid pooling)."""
    stages = [plan.conv(f"{stem}.cv1", x[0], plan.channels(x[0]) // 2)]
    for _ in range(3):
        stages.append(plan.maxpool(stages[-1], kernel))
    return plan.conv(f"{stem}.cv2", plan.concat(stages), out)


def _concat(plan: Plan, stem: str, x: Sources, axis: int = 1) -> int:
    if axis != 1:
        raise LayoutError(f"joins along axis {axis}", "1, the channels")
    return plan.concat(x)


def _add(plan: Plan, stem: str, x: Sources) -> int:
    total = x[0]
    for source in x[1:]:
        total = plan.add(total, source)
    return total


def _upsample(
    plan: Plan, stem: str, x: Sources, size: Any = None, factor: Any = 2, mode: str = "nearest"
) -> int:
    if size is not None or mode != "nearest" or factor != int(factor):
        raise LayoutError("has an Upsample of another way", "a whole factor, nearest")
    return plan.upsample(x[0], int(factor))


def _pool(
    plan: Plan, stem: str, x: Sources, kernel: int, stride: int | None = None, padding: int = 0
) -> int:
    return plan.maxpool(x[0], kernel, kernel if stride is None else stride, padding)


@dataclass(frozen=True)
class Kind:
    """One kind of layer.

    expand: see the module. scaled: its first argument is a number of channels. repeats: it
    repeats an inner block; other kinds that are repeated stand one behind the other. sources:
    the most tensors that it reads.
    """

    expand: Callable[..., int]
    scaled: bool = True
    repeats: bool = False
    sources: int = 1


#: Most tensors that one layer joins.
MAX_SOURCES = 16

KINDS: Mapping[str, Kind] = {
    "Conv": Kind(_conv),
    "DWConv": Kind(_depthwise),
    "Focus": Kind(_focus),
    "CrossConv": Kind(_cross),
    "Bottleneck": Kind(_bottleneck),
    "C3": Kind(_c3, repeats=True),
    "C3x": Kind(_c3x, repeats=True),
    "BottleneckCSP": Kind(_csp, repeats=True),
    "GhostConv": Kind(_ghost_conv),
    "GhostBottleneck": Kind(_ghost_bottleneck),
    "C3Ghost": Kind(_c3ghost, repeats=True),
    "SPP": Kind(_spp),
    "SPPF": Kind(_sppf),
    "Concat": Kind(_concat, scaled=False, sources=MAX_SOURCES),
    "Add": Kind(_add, scaled=False, sources=MAX_SOURCES),
    "Upsample": Kind(_upsample, scaled=False),
    "MaxPool2d": Kind(_pool, scaled=False),
}

DETECT = "Detect"

#: Kinds of YOLOv5's repository that integers cannot follow yet, and why.
UNSUPPORTED: Mapping[str, str] = {
    "C3TR": "a transformer, whose attention (softmax, products of activations) has no integer form",
    "TransformerBlock": "a transformer, whose attention has no integer form",
    "C3SPP": "a block that no release of YOLOv5 uses in a model",
    "MixConv2d": "a mixture of convolutions that no integer form is written for",
    "Contract": "a rearrangement of pixels that no integer form is written for",
    "Expand": "a rearrangement of pixels that no integer form is written for",
    "ConvTranspose2d": "a transposed convolution, which the integer runtime has not",
    "ZeroPad2d": "an uneven border, as YOLOv3-tiny has it",
    "Segment": "the head of a segmentation model",
    "Classify": "the head of a classification model",
}
