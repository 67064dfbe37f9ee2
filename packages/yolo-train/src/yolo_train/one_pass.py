"""The optimizer's step and the moving average of all parameters, in one compiled pass on the CPU.

MXNet's own kernels read every parameter once for each term of the formulas. The compiled pass
(native/update.cpp) reads it once; its results are those of `Optimizer` and `MovingAverage` to
rounding, and the same bits from any number of threads.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.mxnet.importing import mxnet
from yolo_train import operators
from yolo_train.optimizer import ADAM_BETA2, ADAM_EPSILON, MovingAverage, Optimizer
from yolo_train.schedule import Rates

mx = mxnet()

#: The number of each kind of optimizer in native/update.cpp.
_KINDS = {"sgd": 0, "adam": 1, "adamw": 2}


class _Entry(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("gradient", "weight", "first", "second", "average")),
        ("size", ctypes.c_int64),
        ("rate", ctypes.c_float),
        ("decay", ctypes.c_float),
    )


class _Rule(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int),
        *(
            (name, ctypes.c_float)
            for name in ("rescale", "momentum", "beta2", "epsilon", "correction", "share")
        ),
    )


class OnePass:
    """Moves the parameters of an `Optimizer` and the copy of a `MovingAverage` after them."""

    def __init__(self, optimizer: Optimizer, average: MovingAverage) -> None:
        self._optimizer, self._average = optimizer, average
        self._library = operators.library()

    def step(self) -> Step:
        """The next update. MXNet comes to rest, and computes nothing before it is made."""
        mx.nd.waitall()
        places = range(len(self._optimizer.devices))
        entries = [self._entries(place) for place in places]
        return Step(self._library, self._optimizer, self._average, entries)

    def _entries(self, place: int) -> _Entries:
        """All parameters of one device; with the averages on the first."""
        optimizer = self._optimizer
        device = optimizer.devices[place]
        averages = self._average.pairs if place == 0 else {}
        names = list(optimizer.parameters)
        names += [name for name in averages if name not in optimizer.parameters]
        array = (_Entry * len(names))()
        for entry, name in zip(array, names):
            if name in optimizer.parameters:
                parameter = optimizer.parameters[name]
                weight = parameter.data(device)
                states = [slot[place][name] for slot in optimizer.slots.values()]
                entry.gradient = _address(parameter.grad(device))
                entry.first = _address(states[0])
                entry.second = _address(states[1]) if len(states) > 1 else None
                entry.decay = optimizer.decay[name]
            else:
                weight = averages[name][1]
            if name in averages:
                entry.average = _address(averages[name][0])
            entry.weight, entry.size = _address(weight), weight.size
        return _Entries(array, names)


@dataclass(frozen=True)
class _Entries:
    """The array that the compiled pass reads, and the name of the parameter at each place."""

    array: Any
    names: list[str]


@dataclass(frozen=True)
class Step:
    """One update, from the gradients that the parameters hold. entries: by device."""

    library: Any
    optimizer: Optimizer
    average: MovingAverage
    entries: list[_Entries]

    def norm(self) -> float:
        """Length of all gradients together, those of the first device."""
        first = self.entries[0]
        sums = np.zeros(len(first.names), np.float64)
        self.library.yolo_square_sums(first.array, len(first.names), sums.ctypes.data)
        return math.sqrt(math.fsum(sums))

    def update(self, rates: Rates, rescale: float) -> None:
        """Make the update, of each gradient times `rescale`. Call once."""
        optimizer, average = self.optimizer, self.average
        optimizer.updates += 1
        average.updates += 1
        rule = _Rule(
            _KINDS[optimizer.kind], rescale, rates.momentum, ADAM_BETA2, ADAM_EPSILON,
            optimizer.correction(rates), average.share(),
        )  # fmt: skip
        for entries in self.entries:
            for entry, name in zip(entries.array, entries.names):
                if name in optimizer.parameters:
                    entry.rate = optimizer.rate(name, rates)
            self.library.yolo_update(entries.array, len(entries.names), ctypes.byref(rule))


def _address(array: Any) -> int | None:
    """Where the values of an MXNet array lie, in the plain order of its axes."""
    found = ctypes.c_void_p()
    mx.base.check_call(mx.base._LIB.MXNDArrayGetData(array.handle, ctypes.byref(found)))
    return found.value
