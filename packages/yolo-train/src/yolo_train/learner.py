"""One step of learning: forward, backward, update, average; on one device or several."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.importing import mxnet
from yolo_core.mxnet.network import YoloV5, build, parameters_of, trainable
from yolo_train import operators
from yolo_train.batches import Batch, pad_targets
from yolo_train.gradients import GradientSum
from yolo_train.hyp import Hyp
from yolo_train.loss import DetectionLoss, scaled_gains
from yolo_train.one_pass import OnePass
from yolo_train.optimizer import LossScale, MovingAverage, Optimizer, clipping
from yolo_train.options import FitOptions
from yolo_train.rectangles import Size, stride_up
from yolo_train.schedule import Rates, Schedule
from yolo_train.start import Start
from yolo_train.teacher import DistillationLoss, Teacher

mx = mxnet()

#: What convolutions compute in with --amp.
HALF = "float16"


class Diverged(ArithmeticError):
    """The training left the finite numbers; the message says where it was seen."""


class Learner:
    """The network that learns, its average that is validated, and one step of learning."""

    def __init__(
        self, start: Start, options: FitOptions, hyp: Hyp, schedule: Schedule,
        devices: Sequence[Any], sums: GradientSum, teacher: Teacher | None = None,
    ) -> None:  # fmt: skip
        """teacher: whose outputs are learnt, instead of labels."""
        self.architecture, self._devices, self._sums = start.architecture, list(devices), sums
        network = (start.architecture, start.parameters, start.fused)
        self._scale = LossScale() if options.amp else None
        precision = HALF if options.amp else "float32"
        # With --freeze-bn the statistics are not the batch's, which the operator works with.
        norm_silu = None if options.freeze_bn else operators.batch_norm_silu(self._devices)
        self.net: YoloV5 = build(
            *network, ctx=self._devices, grid=start.grid, precision=precision, learns=True,
            norm_silu=norm_silu,
        )  # fmt: skip
        self.net.apply(functools.partial(_remember, 1 - schedule.statistics))
        self.average: YoloV5 = build(*network, ctx=self._devices[0], grid=start.grid)
        if options.freeze_bn:
            self.net.apply(_keep_statistics)
        self._all: dict[str, Any] = trainable(self.net)
        frozen = tuple(f"model.{index}." for index in range(options.freeze))
        for name, parameter in self._all.items():
            if frozen and name.startswith(frozen):
                parameter.grad_req = "null"
        self._accumulates = schedule.accumulate > 1
        self._trained = {
            name: parameter for name, parameter in self._all.items() if parameter.grad_req != "null"
        }
        if self._accumulates:
            for parameter in self._trained.values():
                parameter.grad_req = "add"
        self._optimizer = Optimizer(
            options.optimizer, self._trained, self._devices, schedule.weight_decay
        )
        sums.share_start(self._trained)
        self._average = MovingAverage(trainable(self.average), self._all, self._devices[0])
        self._own = operators.usable(self._devices)
        self._pass = OnePass(self._optimizer, self._average) if self._own else None
        share = options.batch_size // sums.workers // len(self._devices)
        self._share, self._hyp = share, hyp
        self._gains = scaled_gains(
            hyp, self.architecture.nc, options.imgsz, self.architecture.levels
        )
        self._losses: dict[tuple[int, int], DetectionLoss] = {}
        self._teacher = teacher
        if teacher:
            gains = (hyp.box, hyp.obj, hyp.cls)
            self._distillation = DistillationLoss(self.architecture, gains)
            self._distillation.initialize(ctx=self._devices)
            self._distillation.hybridize()
        fixed = not (options.multi_scale or options.rect)
        self._fixed = fixed
        self.net.hybridize(static_alloc=fixed, static_shape=fixed)
        self.average.hybridize(static_alloc=True)
        self._waiting = 0

    def learn(self, batch: Batch, rates: Rates, side: int) -> Array:
        """One forward and backward pass, and an update when enough batches have passed.

        side: longer side of the network's input in pixels. Returns the mean weighted losses [3].
        Diverged where a loss or a gradient is not a finite number.
        """
        losses, parts = [], []
        with mx.autograd.record():
            for place, device in enumerate(self._devices):
                images, targets = self._portion(batch, place)
                x = mx.nd.array(images, ctx=device, dtype="float32")
                x /= 255.0
                size = self._size(x.shape[2:], side)
                if x.shape[2:] != size:
                    x = mx.nd.contrib.BilinearResize2D(x, height=size[0], width=size[1])
                loss, part = self._losses_of(x, size, targets)
                losses.append(loss)
                parts.append(part)
        factor = self._scale.value if self._scale else 1.0
        mx.autograd.backward(losses, [mx.nd.full((1,), factor, device) for device in self._devices])
        found = np.asarray(np.mean([part.asnumpy() for part in parts], axis=0, dtype=np.float64))
        if not np.isfinite(found).all():
            raise Diverged("the loss is not a finite number")
        self._waiting += 1
        if self._waiting >= rates.accumulate:
            self.update(rates)
        return found

    def _losses_of(self, x: Any, size: Size, targets: Array) -> tuple[Any, Any]:
        """Loss and parts of the images of one device."""
        if self._teacher:
            with mx.autograd.pause():
                aims = self._teacher.net(x)
            loss, part = self._distillation(*self.net(x), *aims)
        else:
            y = mx.nd.array(targets, ctx=x.context)
            loss, part = self._loss(size)(*self.net(x), y)
        return loss, part

    def update(self, rates: Rates) -> None:
        """Move the parameters along the gradients gathered so far, if there are any."""
        if not self._waiting:
            return
        self._waiting = 0
        self._sums.add_up(self._trained)
        # By device; after the sum all devices have the same.
        gradients = [[p.grad(device) for p in self._trained.values()] for device in self._devices]
        rescale = 1 / self._scale.value if self._scale else 1.0
        if self._scale is None or self._scale.accept(gradients[0]):
            self._move(rates, rescale)
        if self._accumulates:
            for arrays in gradients:
                mx.nd.reset_arrays(*arrays, num_arrays=len(arrays))

    def _move(self, rates: Rates, rescale: float) -> None:
        """One step along gradients that are to be multiplied by `rescale`, and clipped then."""
        step = self._pass.step() if self._pass else self._optimizer
        norm = step.norm() * rescale
        if not math.isfinite(norm):
            raise Diverged("the gradients are not finite numbers")
        step.update(rates, rescale * clipping(norm))
        if not self._pass:
            self._average.update()

    def _portion(self, batch: Batch, place: int) -> tuple[Array, Array]:
        """The images and targets of one device."""
        if len(self._devices) == 1:
            return batch.images, batch.targets
        first = place * self._share
        mine = batch.targets[
            (batch.targets[:, 0] >= first)
            & (batch.targets[:, 0] < first + self._share)
            & (batch.targets[:, 1] >= 0)
        ].copy()
        mine[:, 0] -= first
        return batch.images[first : first + self._share], pad_targets(mine)

    def _size(self, size: Size, side: int) -> Size:
        """A batch's (height, width) once its longer side has so many pixels."""
        longest, stride = max(size), self.architecture.max_stride
        return stride_up(size[0] * side / longest, stride), stride_up(
            size[1] * side / longest, stride
        )

    def _loss(self, key: Size) -> DetectionLoss:
        if key not in self._losses:
            loss = DetectionLoss(
                self.architecture, key, self._share, self._hyp, self._gains, self._own
            )
            loss.initialize(ctx=self._devices)
            loss.hybridize(static_alloc=self._fixed)
            self._losses[key] = loss
        return self._losses[key]

    def state(self) -> dict[str, Array]:
        """All that a resumed run needs of the network."""
        arrays = {f"net/{name}": value for name, value in parameters_of(self.net).items()}
        for name, value in parameters_of(self.average).items():
            arrays[f"average/{name}"] = value
        for name, value in self._optimizer.state().items():
            arrays[f"optimizer/{name}"] = value
        arrays["average_updates"] = np.array(self._average.updates)
        if self._scale:
            arrays["loss_scale"] = self._scale.state()
        return arrays

    def restore(self, state: Mapping[str, Array]) -> None:
        """Continue from `state`. KeyError or ValueError when it belongs to another network."""
        for name, parameter in self._all.items():
            parameter.set_data(mx.nd.array(state[f"net/{name}"], dtype="float32"))
        self.load_average({name: state[f"average/{name}"] for name in self._all})
        self._optimizer.restore(
            {
                name[len("optimizer/") :]: value
                for name, value in state.items()
                if name.startswith("optimizer/")
            }
        )
        self._average.updates = int(state["average_updates"])
        if self._scale:
            self._scale.restore(state["loss_scale"])

    def load_average(self, parameters: Mapping[str, Array]) -> None:
        """Give the averaged network these parameters."""
        for name, parameter in trainable(self.average).items():
            parameter.set_data(mx.nd.array(parameters[name], dtype="float32"))


def _remember(share: float, block: Any) -> None:
    """Let a batch normalisation keep this share of its running statistics with every batch."""
    if isinstance(block, mx.gluon.nn.BatchNorm):
        block._kwargs["momentum"] = share


def _keep_statistics(block: Any) -> None:
    """Let a batch normalisation work with the statistics it has, as it does after training."""
    if isinstance(block, mx.gluon.nn.BatchNorm):
        block._kwargs["use_global_stats"] = True
