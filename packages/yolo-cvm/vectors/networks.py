"""Small networks of the kinds that chains hold besides detectors, with weights of our own.

Every network is requantized the way compilers do it: a product sum of many bits is shifted to 8
bits and clamped there. The weights come from SHAKE-256, so that nothing is trained, and the
figures of a whole network are held, operator by operator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from streams import values

from yolo_core.arrays import Array
from yolo_core.graph import Graph, GraphBuilder, Ref

#: Bits below the declared precision that sums of random terms do not reach.
_UNUSED = 6


class Layers:
    """A builder with the layers of networks; every parameter has a name and a stream of its own."""

    def __init__(self, seed: str) -> None:
        self.builder = GraphBuilder()
        self._seed = seed
        self._count = 0

    def constant(self, shape: tuple[int, ...], bits: int, array: Array | None = None) -> Ref:
        """A parameter: the given integers, else random ones of the whole range."""
        name = f"p{self._count}"
        self._count += 1
        return self.builder.parameter(
            name, values(f"{self._seed}/{name}", shape, bits) if array is None else array, bits
        )

    def shifted(self, x: Ref, bits: int = 8) -> Ref:
        """The sum brought to `bits` bits."""
        distance = max(1, x.precision - bits - _UNUSED)
        return self.builder.operator("cvm_right_shift", [x], precision=bits, shift_bit=distance)

    def conv(self, x: Ref, channels: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> Ref:
        """A convolution with bias, brought to 8 bits; a kernel of 3 keeps the size."""
        weight = self.constant((channels, x.shape[1] // groups, kernel, kernel), 8)
        y = self.builder.operator(
            "conv2d",
            [x, weight, self.constant((channels,), 12)],
            channels=channels,
            kernel_size=(kernel, kernel),
            strides=(stride, stride),
            padding=(kernel // 2, kernel // 2),
            groups=groups,
        )
        return self.shifted(y)

    def scaled(self, x: Ref) -> Ref:
        """Multiplier and shift per channel, as batch normalisation leaves them."""
        shape = (1, x.shape[1], 1, 1)
        y = self.builder.operator("broadcast_mul", [x, self.constant(shape, 6)])
        y = self.builder.operator("broadcast_add", [y, self.constant(shape, 10)])
        return self.shifted(y)

    def relu(self, x: Ref) -> Ref:
        return self.builder.operator("relu", [x])

    def dense(self, x: Ref, units: int, bias: bool = True) -> Ref:
        """A dense layer, its sum as it is."""
        operands = [x, self.constant((units, x.shape[1]), 8)]
        operands += [self.constant((units,), 12)] if bias else []
        return self.builder.operator("dense", operands, units=units, use_bias=bias)

    def mean(self, x: Ref) -> Ref:
        """The sum over height and width, brought to 8 bits: [N, C, 1, 1]."""
        y = self.builder.operator("sum", [x], axis=(2, 3), keepdims=True)
        return self.shifted(y)

    def looked_up(self, x: Ref, table: Array, bits: int) -> Ref:
        """A table of 255 entries indexed by the 8 bits of x."""
        offset = self.constant((1,), 8, np.array([127]))
        index = self.builder.operator("broadcast_add", [x, offset])
        entries = self.constant((255, 1), bits, table.reshape(255, 1))
        return self.builder.operator("cvm_lut", [index, entries], in_dim=255)

    def softmax(self, x: Ref) -> Ref:
        """Softmax of the last axis by a table, a sum and a division; 15 bits."""
        b, last = self.builder, len(x.shape) - 1
        top = b.operator("max", [x], axis=(last,), keepdims=True)
        below = b.operator("cvm_clip", [b.operator("broadcast_sub", [x, top])], precision=8)
        powers = np.array([2**14 >> (127 - k) // 8 for k in range(128)] + [0] * 127)
        weight = self.looked_up(below, powers, 16)
        total = b.operator("sum", [weight], axis=(last,), keepdims=True)
        fraction = b.operator("cvm_clip", [weight], precision=16)
        wide = b.operator("broadcast_mul", [fraction, self.constant((1,), 14, np.array([8191]))])
        return b.operator("cvm_clip", [b.operator("broadcast_div", [wide, total])], precision=15)


def _sigmoid() -> Array:
    """255 rising integers of 8 bits, steep in the middle: x / (16 + |x|) as integers."""
    return np.array([64 + 64 * x // (16 + abs(x)) for x in range(-127, 128)]).clip(0, 127)


def lenet(net: Layers) -> list[Ref]:
    """Two convolutions, max pooling, two dense layers; a batch of 3."""
    b = net.builder
    x = b.input("data", (3, 1, 16, 16), 8)
    for channels in (6, 10):
        x = net.relu(net.conv(x, channels, 5))
        x = b.operator("max_pool2d", [x], pool_size=(2, 2), strides=(2, 2))
    x = net.relu(net.shifted(net.dense(b.operator("flatten", [x]), 24)))
    return [net.shifted(net.dense(x, 10))]


def mobilenet(net: Layers) -> list[Ref]:
    """Depthwise and pointwise convolutions with multipliers and shifts per channel."""
    x = net.relu(net.conv(net.builder.input("data", (1, 3, 20, 18), 8), 8, 3, 2))
    for channels, stride in ((16, 1), (24, 2), (24, 1)):
        x = net.relu(net.scaled(net.conv(x, x.shape[1], 3, stride, groups=x.shape[1])))
        x = net.relu(net.scaled(net.conv(x, channels, 1)))
    return [net.dense(net.builder.operator("flatten", [net.mean(x)]), 7)]


def shufflenet(net: Layers) -> list[Ref]:
    """Grouped convolutions, channels shuffled by reshape and transpose, a sum of two branches."""
    b = net.builder
    x = net.relu(net.conv(b.input("data", (1, 3, 14, 14), 8), 12))
    for _ in range(2):
        y = net.relu(net.conv(x, 12, 1, groups=3))
        y = b.operator("reshape", [y], shape=(0, -4, 3, 4, -2))
        y = b.operator("transpose", [y], axes=(0, 2, 1, 3, 4))
        y = b.operator("reshape", [y], shape=(0, -3, -2))
        y = net.conv(y, 12, 3, groups=4)
        x = net.shifted(b.operator("elemwise_add", [x, y]))
    return [net.dense(b.operator("flatten", [net.mean(x)]), 5)]


def senet(net: Layers) -> list[Ref]:
    """Squeeze and excite: channels weighted by a sigmoid of their means; softmax at the end."""
    b = net.builder
    x = b.input("data", (1, 3, 16, 16), 8)
    for channels in (8, 12):
        x = net.relu(net.conv(x, channels, 3, 2))
        gate = net.relu(net.conv(net.mean(x), 4, 1))
        gate = net.looked_up(net.conv(gate, channels, 1), _sigmoid(), 8)
        x = net.shifted(b.operator("broadcast_mul", [x, gate]))
    x = net.shifted(net.dense(b.operator("flatten", [net.mean(x)]), 6))
    return [net.softmax(x)]


def attention(net: Layers) -> list[Ref]:
    """Queries, keys and values by dense layers and products with sums, in a batch of 2."""
    b = net.builder
    x = b.input("data", (2, 6, 8), 8)
    rows = b.operator("reshape", [x], shape=(-3, 0))
    q, k, v = (
        b.operator("reshape", [net.shifted(net.dense(rows, 8, bias=False), 6)], shape=(2, 6, 8))
        for _ in range(3)
    )
    product = b.operator(
        "broadcast_mul",
        [b.operator("expand_dims", [q], axis=2), b.operator("expand_dims", [k], axis=1)],
    )
    score = net.softmax(net.shifted(b.operator("sum", [product], axis=(3,))))
    weighted = b.operator(
        "broadcast_mul",
        [b.operator("expand_dims", [score], axis=3), b.operator("expand_dims", [v], axis=1)],
    )
    y = net.shifted(b.operator("sum", [weighted], axis=(2,)))
    return [net.shifted(b.operator("elemwise_add", [x, y]))]


def text(net: Layers) -> list[Ref]:
    """Words of 16 bits: an embedding, its sum, a convolution over words, the largest of each."""
    b = net.builder
    x = b.input("data", (1, 12), 16)
    words = b.operator("take", [net.constant((50, 9), 8), x], axis=0)
    total = net.shifted(b.operator("sum", [words], axis=(1,)))
    plane = b.operator("expand_dims", [words], axis=1)
    y = b.operator(
        "conv2d", [plane, net.constant((8, 1, 3, 9), 8)],
        channels=8, kernel_size=(3, 9), use_bias=False,
    )  # fmt: skip
    most = b.operator("max", [net.relu(net.shifted(y))], axis=(2, 3))
    joined = b.operator("concatenate", [total, most], axis=1)
    return [net.dense(joined, 4)]


def boxes(net: Layers) -> list[Ref]:
    """Rows of boxes from an image, counted and suppressed; two heads of equally many rows."""
    b = net.builder
    x = net.relu(net.conv(b.input("data", (2, 3, 12, 12), 8), 8, 3, 2))
    y = net.conv(x, 12, 3, 2)
    rows = b.operator("transpose", [b.operator("reshape", [y], shape=(0, 2, 6, 9))],
                      axes=(0, 1, 3, 2))  # fmt: skip
    rows = b.operator("reshape", [rows], shape=(2, 18, 6))
    classes = b.operator("strided_slice", [rows], begin=(0, 0, 0), end=(2, 18, 1))
    classes = b.operator("clip", [classes], a_min=-1, a_max=2)
    rest = b.operator("strided_slice", [rows], begin=(0, 0, 1), end=(2, 18, 6))
    rows = b.operator("concatenate", [classes, rest], axis=2)
    counts = b.operator("get_valid_counts", [rows], score_threshold=-20)
    kept = b.operator(
        "non_max_suppression", [b.output(counts, 1), counts],
        iou_threshold=30, top_k=15, max_output_size=9,
    )  # fmt: skip
    best = b.operator("strided_slice", [kept], begin=(0, 0, 0), end=(2, 18, 2))
    return [best, b.operator("strided_slice", [kept], begin=(0, 0, 2), end=(2, 18, 6))]


def hourglass(net: Layers) -> list[Ref]:
    """Down and up again: leaky relu, upsampling, concatenation, slices; 16 bits out."""
    b = net.builder
    x = b.input("data", (1, 3, 12, 10), 8)
    down = net.conv(x, 8, 3, 2)
    leak = b.operator("relu", [b.operator("negative", [down])])
    down = b.operator("elemwise_sub", [net.relu(down), net.shifted(leak, 5)])
    up = b.operator("upsampling", [net.shifted(down)], scale=2)
    up = b.operator("slice_like", [up, x], axis=(2, 3))
    y = net.conv(b.operator("concatenate", [up, x], axis=1), 4)
    wide = b.operator("broadcast_mul", [y, net.constant((1,), 9)])
    return [b.operator("transpose", [net.shifted(wide, 16)], axes=(0, 2, 3, 1))]


NETWORKS: dict[str, Callable[[Layers], list[Ref]]] = {
    network.__name__: network
    for network in (
        lenet, mobilenet, shufflenet, senet, attention, text, boxes, hourglass,
    )
}  # fmt: skip


def build(name: str) -> Graph:
    """The network of this name."""
    net = Layers(name)
    return net.builder.build(NETWORKS[name](net))
