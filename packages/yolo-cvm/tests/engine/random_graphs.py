"""Random valid programs: any operator, any shapes, data at the extremes of their precision.

One seed, one program: a failure names its seed and can be repeated.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry, Graph, GraphBuilder, LogicError, Ref, RuntimeFault
from yolo_core.graph.integers import limit

Shape = tuple[int, ...]
MOST_ELEMENTS = 20000


class Generator:
    """Adds random operators to a program until it has enough."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.builder = GraphBuilder()
        self.constants: dict[Entry, Array] = {}
        image = self.random.random() < 0.7
        self.pool: list[Ref] = [
            self.builder.input(
                "data",
                self.shape(4 if image else None),
                self.integer(1, 12) if image else self.integer(1, 32),
            )
        ]

    def integer(self, low: int, high: int) -> int:
        """A random integer of [low, high]."""
        return int(self.random.integers(low, high + 1))

    def shape(self, ndim: int | None = None) -> Shape:
        """A small random shape."""
        ndim = ndim or self.integer(1, 5)
        return tuple(self.integer(1, 12 if ndim < 5 else 4) for _ in range(ndim))

    def values(self, shape: Shape, precision: int) -> Array:
        """Random integers of a precision; sometimes only the extremes."""
        bound = limit(precision)
        if self.random.random() < 0.3:
            return self.random.choice(np.array([-bound, bound]), shape)
        return self.random.integers(-bound, bound + 1, shape)

    def parameter(self, shape: Shape, precision: int) -> Ref:
        """A new constant of random values."""
        return self.constant(self.values(shape, precision), precision)

    def constant(self, values: Array, precision: int) -> Ref:
        """A new constant of given values."""
        ref = self.builder.parameter(f"p{len(self.constants)}", values, precision)
        self.constants[ref.entry] = values
        return ref

    def pick(self, ndim: int | None = None) -> Ref | None:
        """A tensor made so far, the later the likelier."""
        fits = [r for r in self.pool if ndim is None or len(r.shape) == ndim]
        if not fits:
            return None
        return fits[-1 - min(len(fits) - 1, int(self.random.exponential(1.5)))]

    def narrow(self, x: Ref, precision: int) -> Ref:
        """x brought into a precision."""
        if x.precision <= precision:
            return x
        if self.random.random() < 0.5:
            return self.builder.operator("cvm_clip", [x], precision=precision)
        return self.builder.operator(
            "cvm_right_shift",
            [x],
            precision=precision,
            shift_bit=self.integer(1, min(32, x.precision)),
        )

    def add(self, x: Ref | None) -> None:
        """Keep a tensor, if it is small enough."""
        if x is not None and int(np.prod(x.shape)) <= MOST_ELEMENTS:
            self.pool.append(x)

    def bordered(self, x: Ref) -> Ref:
        """x with codes of its channels around it, the way a quantizer pads with a zero point."""
        codes = self.parameter((1, x.shape[1], 1, 1), int(self.random.choice([2, 8])))
        for axis in (2, 3) if self.random.random() < 0.8 else (3, 2):
            reps = [1, 1, self.integer(1, 2), 1]
            other = 5 - axis
            reps[axis], reps[other] = reps[2], x.shape[other]
            edge = self.builder.operator("tile", [codes], reps=tuple(reps))
            parts = [edge, x, edge] if self.random.random() < 0.8 else [x, edge]
            x = self.builder.operator("concatenate", parts, axis=axis)
        return x

    def conv2d(self) -> Ref | None:
        x = self.pick(4)
        if x is None:
            return None
        x = self.narrow(x, 8)
        if x.shape[0] == 1 and self.random.random() < 0.3:
            x = self.bordered(x)
        groups = self.integer(1, 3) if self.random.random() < 0.3 else 1
        if x.shape[1] % groups:
            groups = 1
        outputs = groups * self.integer(1, 40 // groups)
        kernel = (self.integer(1, 4), self.integer(1, 4))
        if self.random.random() < 0.2:
            kernel = (3, 3)
        weight = self.parameter((outputs, x.shape[1] // groups, *kernel), self.integer(1, 8))
        inputs = [x, weight]
        biased = self.random.random() < 0.6
        if biased:
            inputs.append(self.parameter((outputs,), self.integer(1, 20)))
        stride = (self.integer(1, 6), self.integer(1, 3))
        padding = (self.integer(0, 3), self.integer(0, 3))
        dilation = (self.integer(1, 2), self.integer(1, 3))
        if kernel == (3, 3) and self.random.random() < 0.8:
            stride = dilation = (1, 1)
        return self.builder.operator(
            "conv2d",
            inputs,
            channels=outputs,
            kernel_size=kernel,
            strides=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            use_bias=biased,
        )

    def requantized_conv(self) -> Ref | None:
        """The chain of a quantized layer: conv, clip, multiply, shift, add, table or tables."""
        y = self.conv2d()
        if y is None:
            return None
        b = self.builder
        if self.random.random() < 0.8:
            y = b.operator("cvm_clip", [y], precision=self.integer(8, 22))
        if y.precision <= 22 and self.random.random() < 0.9:
            shape = (1, y.shape[1], 1, 1) if self.random.random() < 0.7 else (1,)
            y = b.operator("broadcast_mul", [y, self.parameter(shape, self.integer(2, 10))])
        bits = self.integer(4, 12)
        if self.random.random() < 0.2 and y.precision < 31:
            y = b.operator("broadcast_add", [y, self.parameter((1, y.shape[1], 1, 1), 12)])
        y = b.operator("cvm_right_shift", [y], precision=bits, shift_bit=self.integer(1, 31))
        if self.random.random() < 0.8:
            half = limit(bits)
            windows = self.integer(1, 3)
            shape = (1, y.shape[1], 1, 1) if windows > 1 else (1,)
            chosen = half + self.random.integers(0, windows, shape) * (2 * half + 1)
            y = b.operator("broadcast_add", [y, self.constant(chosen, 15)])
            size = windows * (2 * half + 1)
            self.add(self.table(y, size))
            if self.random.random() < 0.4:
                wide = self.table(y, size)
                self.add(wide)
                same = [r for r in self.pool if r.shape == wide.shape and r.precision <= 16]
                other = same[self.integer(0, len(same) - 1)] if same else wide
                total = b.operator("elemwise_add", [other, wide])
                total = b.operator("broadcast_mul", [total, self.parameter((1,), 8)])
                self.add(b.operator("cvm_right_shift", [total], precision=8, shift_bit=9))
        return y

    def pixelwise(self) -> Ref | None:
        """Two results of convolutions of one shape, joined pixel by pixel."""
        x = self.pick(4)
        y = None if x is None else self.conv2d_like(x)
        if x is None or y is None:
            return None
        pair = [self.narrow(x, 12), self.narrow(y, 12)]
        if self.random.random() < 0.5:
            pair.reverse()
        op = str(self.random.choice(["add", "sub", "mul", "max"]))
        y = self.builder.operator(f"broadcast_{op}", pair)
        floor = self.parameter((1, y.shape[1], 1, 1) if self.random.random() < 0.5 else (1,), 6)
        if self.random.random() < 0.5:
            y = self.builder.operator("broadcast_max", [y, floor])
        return self.narrow(y, 8) if self.random.random() < 0.5 else y

    def conv2d_like(self, x: Ref) -> Ref:
        """A 1x1 convolution of x into its own shape."""
        weight = self.parameter((x.shape[1], x.shape[1], 1, 1), 4)
        return self.builder.operator(
            "conv2d",
            [self.narrow(x, 8), weight],
            channels=x.shape[1],
            kernel_size=(1, 1),
            use_bias=False,
        )

    def table(self, x: Ref, size: int) -> Ref:
        """A lookup in a table: noise, or the smooth kind that a network has."""
        precision = self.integer(2, 16) if self.random.random() < 0.4 else 8
        bound = limit(precision)
        if self.random.random() < 0.5:
            values = self.values((size,), precision)
        else:
            z = np.linspace(-6, 6, size)
            values = np.clip(np.round(z / (1 + np.exp(-z)) * bound / 6), -bound, bound).astype(int)
        t = self.constant(values, precision)
        return self.builder.operator("cvm_lut", [x, t], in_dim=size)

    def dense(self) -> Ref | None:
        x = self.pick(2)
        if x is None:
            return None
        x, units = self.narrow(x, 8), self.integer(1, 20)
        inputs = [x, self.parameter((units, x.shape[1]), 8)]
        if self.random.random() < 0.5:
            inputs.append(self.parameter((units,), 16))
        return self.builder.operator("dense", inputs, units=units, use_bias=len(inputs) == 3)

    def max_pool2d(self) -> Ref | None:
        x = self.pick(4)
        return x and self.builder.operator(
            "max_pool2d",
            [x],
            pool_size=(self.integer(1, 5), self.integer(1, 5)),
            strides=(self.integer(1, 3), self.integer(1, 3)),
            padding=(self.integer(0, 2), self.integer(0, 2)),
            ceil_mode=bool(self.integer(0, 1)),
        )

    def upsampling(self) -> Ref | None:
        x = self.pick(4)
        return x and self.builder.operator("upsampling", [x], scale=self.integer(1, 3))

    def unary(self) -> Ref:
        x = self.pick()
        assert x is not None
        op = self.random.choice(["relu", "abs", "negative", "cvm_precision", "flatten"])
        return self.builder.operator(str(op), [x])

    def clip(self) -> Ref:
        x = self.pick()
        assert x is not None
        low = self.integer(-(2**31 - 1), 2**31 - 3) >> self.integer(0, 30)
        return self.builder.operator(
            "clip", [x], a_min=low, a_max=min(2**31 - 1, low + 1 + abs(low) * self.integer(0, 3))
        )

    def ranged(self) -> Ref:
        x = self.pick()
        assert x is not None
        op = self.random.choice(["cvm_clip", "cvm_right_shift", "cvm_left_shift"])
        extra: dict[str, Any] = {} if op == "cvm_clip" else {"shift_bit": self.integer(1, 32)}
        return self.builder.operator(str(op), [x], precision=self.integer(1, 32), **extra)

    def pairwise(self) -> Ref | None:
        x = self.pick()
        assert x is not None
        others = [r for r in self.pool if r.shape == x.shape]
        y = others[self.integer(0, len(others) - 1)]
        return self.builder.operator(
            str(self.random.choice(["elemwise_add", "elemwise_sub"])), [x, y]
        )

    def broadcast(self) -> Ref:
        x = self.pick()
        assert x is not None
        other = self.pick()
        assert other is not None
        if self.random.random() < 0.7:
            keep = self.integer(0, len(x.shape))
            shape = tuple(d if self.random.random() < 0.5 else 1 for d in x.shape[keep:]) or (1,)
            other = self.parameter(shape, self.integer(1, 16))
        op = self.random.choice(["add", "sub", "mul", "max", "div", "greater"])
        pair = [x, other] if self.random.random() < 0.7 else [other, x]
        return self.builder.operator(f"broadcast_{op}", pair)

    def reduction(self) -> Ref:
        x = self.pick()
        assert x is not None
        axes = [a for a in range(len(x.shape)) if self.random.random() < 0.5]
        return self.builder.operator(
            str(self.random.choice(["sum", "max"])),
            [x],
            axis=tuple(axes),
            keepdims=bool(self.integer(0, 1)),
            exclude=bool(self.integer(0, 1)),
        )

    def moves(self) -> Ref:
        x = self.pick()
        assert x is not None
        n, op = len(x.shape), self.builder.operator
        kind = self.integer(0, 6)
        if kind == 0:
            return op("repeat", [x], repeats=self.integer(1, 3), axis=self.integer(-n, n - 1))
        if kind == 1:
            reps = tuple(self.integer(1, 2) for _ in range(self.integer(1, n)))
            return op("tile", [x], reps=reps)
        if kind == 2:
            return op("transpose", [x], axes=tuple(int(i) for i in self.random.permutation(n)))
        if kind == 3:
            return op("expand_dims", [x], axis=self.integer(-n - 1, n))
        if kind == 4:
            return op("squeeze", [x])
        if kind == 5:
            return op("reshape", [x], shape=(-1, x.shape[-1]))
        return op("reshape", [x], shape=(0, -1) if n > 1 else (-1,))

    def slices(self) -> Ref:
        x = self.pick()
        assert x is not None
        begin = tuple(self.integer(-d - 1, d) for d in x.shape)
        end = tuple(self.integer(-d - 1, d) for d in x.shape)
        stride = tuple(int(self.random.choice([-2, -1, 1, 2])) for _ in x.shape)
        return self.builder.operator("strided_slice", [x], begin=begin, end=end, stride=stride)

    def slice_like(self) -> Ref:
        x = self.pick()
        assert x is not None
        like = self.parameter(tuple(self.integer(1, d) for d in x.shape), 2)
        return self.builder.operator("slice_like", [x, like])

    def concatenate(self) -> Ref:
        x = self.pick()
        assert x is not None
        axis = self.integer(-len(x.shape), len(x.shape) - 1)
        shape = list(x.shape)
        shape[axis] = self.integer(1, 5)
        same = [r for r in self.pool if r.shape == x.shape]
        parts = [x, self.parameter(tuple(shape), 7), same[self.integer(0, len(same) - 1)]]
        return self.builder.operator("concatenate", parts[: self.integer(1, 3)], axis=axis)

    def gathers(self) -> Ref:
        x, index = self.pick(), self.pick()
        assert x is not None
        assert index is not None
        if self.random.random() < 0.4:
            return self.table(x, self.integer(1, 600))
        if self.random.random() < 0.5:
            index = self.parameter(self.shape(self.integer(1, 2)), 5)
        axis = None if self.random.random() < 0.3 else self.integer(0, len(x.shape) - 1)
        return self.builder.operator("take", [x, index], axis=axis)

    def where(self) -> Ref:
        x = self.pick()
        assert x is not None
        same = [r for r in self.pool if r.shape == x.shape]
        condition = self.parameter(x.shape if self.random.random() < 0.5 else x.shape[:1], 2)
        return self.builder.operator("where", [condition, x, same[self.integer(0, len(same) - 1)]])

    def detection(self) -> Ref | None:
        x = self.pick(3)
        if x is None or x.shape[2] < 2:
            rows = (self.integer(1, 3), self.integer(1, 40), self.integer(2, 8))
            x = self.parameter(rows, int(self.random.choice([3, 6, 12, 32])))
        counts = self.builder.operator("get_valid_counts", [x], score_threshold=self.integer(-3, 3))
        self.add(counts)
        packed = self.builder.output(counts, 1)
        if x.shape[2] != 6:
            return packed
        return self.builder.operator(
            "non_max_suppression",
            [packed, counts],
            max_output_size=self.integer(-1, 20),
            iou_threshold=self.integer(1, 100),
            force_suppress=bool(self.integer(0, 1)),
            top_k=self.integer(-1, 30),
        )

    def program(self, operators: int) -> Graph:
        """A program of at least `operators` operators (fewer where none fits)."""
        kinds: dict[Callable[[], Ref | None], float] = {
            self.conv2d: 1,
            self.requantized_conv: 3,
            self.pixelwise: 1.5,
            self.dense: 1,
            self.max_pool2d: 1,
            self.upsampling: 1,
            self.unary: 1,
            self.clip: 1,
            self.ranged: 2,
            self.pairwise: 1.5,
            self.broadcast: 2,
            self.reduction: 1,
            self.moves: 2,
            self.slices: 1,
            self.slice_like: 0.5,
            self.concatenate: 1.5,
            self.gathers: 1,
            self.where: 0.5,
            self.detection: 0.5,
        }
        weights = np.array(list(kinds.values()))
        actions = list(kinds)
        for _ in range(operators * 3):
            if len(self.pool) > operators:
                break
            action = actions[int(self.random.choice(len(actions), p=weights / weights.sum()))]
            try:
                self.add(action())
            except (LogicError, RuntimeFault):
                continue  # the rules forbid it here; try another
        heads = [self.pool[-1]]
        if self.random.random() < 0.3:
            heads += [r for r in self.pool if self.random.random() < 0.3]
        return self.builder.build(heads)


def random_program(seed: int, operators: int = 12) -> tuple[Graph, Array]:
    """The program of a seed, and an input for it."""
    generator = Generator(seed)
    graph = generator.program(operators)
    return graph, generator.values(graph.input_shape, graph.input_precision).astype(np.int32)
