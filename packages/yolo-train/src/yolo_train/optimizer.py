"""SGD with Nesterov momentum, and Adam, over three groups of parameters; and the moving average.

The groups are those of YOLOv5: weights of convolutions decay, scales of batch normalisation do
not, biases do not and warm up from a higher rate. All state is plain arrays by parameter name, so
that a training can be written down and taken up again exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.importing import mxnet
from yolo_train.schedule import Rates

mx = mxnet()

ADAM_BETA2, ADAM_EPSILON = 0.999, 1e-8
#: Arrays that one call of MXNet's multi-tensor kernels takes at most.
_MULTI = 40


class Optimizer:
    """Updates the parameters of one device, or the same ones on several devices."""

    def __init__(
        self, kind: str, parameters: Mapping[str, Any], devices: Sequence[Any], weight_decay: float
    ) -> None:
        """kind: one of `OPTIMIZERS`. parameters: Gluon parameters by name, those that are trained.
        devices: MXNet contexts.
        """
        self.kind, self.parameters, self.devices = kind, dict(parameters), list(devices)
        self.decay = {
            name: weight_decay if name.endswith(".weight") else 0.0 for name in self.parameters
        }
        self._bias = {name for name in self.parameters if name.endswith((".bias", ".beta"))}
        slots = ("velocity",) if kind == "sgd" else ("mean", "variance")
        self.slots: dict[str, list[dict[str, Any]]] = {
            slot: [
                {name: mx.nd.zeros(p.shape, ctx=device) for name, p in self.parameters.items()}
                for device in self.devices
            ]
            for slot in slots
        }
        self.updates = 0

    def update(self, rates: Rates, rescale: float = 1.0) -> None:
        """One update from the gradients that the parameters hold, each times `rescale`."""
        self.updates += 1
        for place, device in enumerate(self.devices):
            if self.kind == "sgd":
                self._sgd(place, device, rates, rescale)
                continue
            for name, parameter in self.parameters.items():
                weight, gradient = parameter.data(device), parameter.grad(device)
                self._adam(weight, gradient, place, name, rates, rescale)

    def norm(self) -> float:
        """Length of all gradients together, those of the first device. Before any clipping."""
        gradients = [parameter.grad(self.devices[0]) for parameter in self.parameters.values()]
        sums: list[float] = []
        for start in range(0, len(gradients), _MULTI):
            part = gradients[start : start + _MULTI]
            sums += mx.nd.multi_sum_sq(*part, num_arrays=len(part)).asnumpy().tolist()
        return math.sqrt(math.fsum(sums))

    def rate(self, name: str, rates: Rates) -> float:
        """The learning rate of a parameter."""
        return rates.bias_lr if name in self._bias else rates.lr

    def correction(self, rates: Rates) -> float:
        """Adam's bias correction of the rate, as its authors propose."""
        return math.sqrt(1 - ADAM_BETA2**self.updates) / (1 - rates.momentum**self.updates)

    def _sgd(self, place: int, device: Any, rates: Rates, rescale: float) -> None:
        """Nesterov momentum as in PyTorch: v = m v + g, w -= lr (g + m v), g with its decay.

        MXNet's own update keeps the rate inside v, so that the steps of a warm-up, whose rate
        changes with every batch, would go on with the rates of the batches before.
        """
        names = list(self.parameters)
        for start in range(0, len(names), _MULTI):
            part = names[start : start + _MULTI]
            weights = [self.parameters[name].data(device) for name in part]
            gradients = [self.parameters[name].grad(device) for name in part]
            velocities = [self.slots["velocity"][place][name] for name in part]
            decay = [self.decay[name] for name in part]
            lr = [self.rate(name, rates) for name in part]
            ones, none = [1.0] * len(part), [0.0] * len(part)
            # Each call is out = a - lr (rescale b + wd a).
            _multi_sgd(velocities, gradients, ones, [1 - rates.momentum] * len(part), -rescale)
            decayed = [number for number, share in enumerate(decay) if share]
            if decayed:
                _multi_sgd(
                    [velocities[number] for number in decayed],
                    [weights[number] for number in decayed],
                    [decay[number] for number in decayed],
                    [0.0] * len(decayed),
                    -1.0,
                )
            _multi_sgd(weights, gradients, lr, decay, rescale)
            _multi_sgd(weights, velocities, [rate * rates.momentum for rate in lr], none, 1.0)

    def _adam(
        self, weight: Any, gradient: Any, place: int, name: str, rates: Rates, rescale: float
    ) -> None:
        lr = self.rate(name, rates)
        decay = self.decay[name]
        if self.kind == "adamw":
            weight *= 1 - lr * decay
            decay = 0.0
        mx.nd.adam_update(
            weight,
            gradient,
            self.slots["mean"][place][name],
            self.slots["variance"][place][name],
            lr=lr * self.correction(rates),
            beta1=rates.momentum,
            beta2=ADAM_BETA2,
            epsilon=ADAM_EPSILON,
            wd=decay,
            rescale_grad=rescale,
            out=weight,
        )

    def state(self) -> dict[str, Array]:
        """Everything that `restore` needs, by name."""
        arrays = {
            f"{slot}/{name}": array.asnumpy()
            for slot, places in self.slots.items()
            for name, array in places[0].items()
        }
        arrays["updates"] = np.array(self.updates, np.int64)
        return arrays

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up where `state` was taken. KeyError or ValueError when it belongs elsewhere."""
        self.updates = int(state["updates"])
        for slot, places in self.slots.items():
            for arrays in places:
                for name, array in arrays.items():
                    array[:] = state[f"{slot}/{name}"]


#: Longest gradient of all parameters together that an update follows (YOLOv5's number).
MAX_NORM = 10.0


def clipping(norm: float) -> float:
    """What gradients of this length are multiplied by so that none is longer than `MAX_NORM`.

    As PyTorch's `clip_grad_norm_`, with its 1e-6.
    """
    return min(1.0, MAX_NORM / (norm + 1e-6))


class LossScale:
    """A factor on the loss that lifts small gradients into the range of float16.

    A power of two, so that taking it out again changes no digit. It halves when a gradient is not
    finite, and doubles when none has been for long.
    """

    FIRST, LONG = 2.0**16, 2000

    def __init__(self) -> None:
        self.value, self._calm = self.FIRST, 0

    def accept(self, gradients: Sequence[Any]) -> bool:
        """Whether all gradients are finite, so that an update may use them."""
        finite = mx.nd.ones((1,), ctx=gradients[0].context)
        for start in range(0, len(gradients), _MULTI):
            part = gradients[start : start + _MULTI]
            mx.nd.multi_all_finite(*part, num_arrays=len(part), init_output=False, out=finite)
        accepted = bool(finite.asscalar())
        self._calm = self._calm + 1 if accepted else 0
        if not accepted:
            self.value /= 2
        elif self._calm % self.LONG == 0:
            self.value *= 2
        return accepted

    def state(self) -> Array:
        """What `restore` needs: float64 [2]."""
        return np.array([self.value, self._calm])

    def restore(self, state: Array) -> None:
        self.value, self._calm = float(state[0]), int(state[1])


class MovingAverage:
    """Exponential moving average of a network's parameters, kept in a second network.

    Its decay grows from 0 to 0.9999 over about 2000 updates, so that a short training is
    not averaged with its own beginning.
    """

    DECAY, RAMP = 0.9999, 2000.0

    def __init__(self, average: Mapping[str, Any], source: Mapping[str, Any], device: Any) -> None:
        """average, source: Gluon parameters of two networks by name. device: MXNet context."""
        self.pairs: dict[str, tuple[Any, Any]] = {
            name: (average[name].data(device), source[name].data(device)) for name in source
        }
        self.updates = 0

    def share(self) -> float:
        """1 - decay, after so many updates."""
        return 1 - self.DECAY * (1 - math.exp(-self.updates / self.RAMP))

    def update(self) -> None:
        """average += (1 - decay) * (source - average), for every parameter."""
        self.updates += 1
        share, every = self.share(), list(self.pairs.values())
        # Plain SGD with the negated source as gradient and a weight decay of 1 is just that,
        # and takes many arrays in one call.
        for start in range(0, len(every), _MULTI):
            pairs = every[start : start + _MULTI]
            averages, sources = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            _multi_sgd(averages, sources, [share] * len(pairs), [1.0] * len(pairs), -1.0)


def _multi_sgd(
    out: Sequence[Any], other: Sequence[Any], lr: Sequence[float], decay: Sequence[float],
    rescale: float,
) -> None:  # fmt: skip
    """out -= lr * (rescale * other + decay * out), for each of at most `_MULTI` arrays."""
    mx.nd.multi_sgd_update(
        *[array for pair in zip(out, other) for array in pair],
        lrs=list(lr),
        wds=list(decay),
        rescale_grad=rescale,
        num_weights=len(out),
        out=list(out),
    )
