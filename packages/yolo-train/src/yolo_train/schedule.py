"""What the learning rate, momentum and accumulation are at every step. Pure arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from yolo_train.hyp import Hyp

#: The warm-up lasts at least so many batches.
_MIN_WARMUP = 100
#: Share of a batch's statistics in the running ones: YOLOv5's (PyTorch's momentum), and the most.
_STATISTICS, _MOST_STATISTICS = 0.03, 0.1
#: What a checkpoint knew of other pictures is left to e to the minus so much at the end.
_FORGOTTEN = 10.0


@dataclass(frozen=True)
class Rates:
    """Settings of one step. bias_lr: learning rate of the biases, which warm up from above."""

    lr: float
    bias_lr: float
    momentum: float
    accumulate: int


@dataclass(frozen=True)
class Schedule:
    """Warm-up, then linear or cosine decay from lr0 to lr0 * lrf.

    batches: per epoch. batch_size: images of a batch over all devices and machines.
    nominal_batch: images that one optimizer step stands for; batches are gathered up to it.
    """

    hyp: Hyp
    epochs: int
    batches: int
    batch_size: int
    cosine: bool = False
    nominal_batch: int = 64

    @property
    def accumulate(self) -> int:
        """Batches per optimizer step once warm."""
        return max(round(self.nominal_batch / self.batch_size), 1)

    @property
    def weight_decay(self) -> float:
        """Weight decay for the images that a step really stands for."""
        return self.hyp.weight_decay * self.batch_size * self.accumulate / self.nominal_batch

    @property
    def warmup(self) -> int:
        """Batches of the warm-up; never more than half of the training."""
        if self.hyp.warmup_epochs == 0:
            return 0
        wanted = max(round(self.hyp.warmup_epochs * self.batches), _MIN_WARMUP)
        return min(wanted, self.epochs * self.batches // 2)

    @property
    def statistics(self) -> float:
        """Share of a batch's statistics in the running ones of batch normalisation.

        More than YOLOv5's in a training of few batches, where the statistics of the pictures that
        the checkpoint was trained on would outlast it: the network is validated with them.
        """
        wanted = _FORGOTTEN / (self.epochs * self.batches)
        return min(max(wanted, _STATISTICS), _MOST_STATISTICS)

    def decay(self, epoch: int) -> float:
        """Share of lr0 in an epoch (counted from 0)."""
        done = epoch / self.epochs
        if self.cosine:
            return (1 - math.cos(math.pi * done)) / 2 * (self.hyp.lrf - 1) + 1
        return (1 - done) * (1 - self.hyp.lrf) + self.hyp.lrf

    def at(self, epoch: int, batch: int) -> Rates:
        """Settings of batch number `batch` of an epoch, both counted from 0."""
        lr = self.hyp.lr0 * self.decay(epoch)
        step = epoch * self.batches + batch
        if step >= self.warmup:
            return Rates(lr, lr, self.hyp.momentum, self.accumulate)
        share = step / self.warmup
        return Rates(
            lr * share,
            self.hyp.warmup_bias_lr + (lr - self.hyp.warmup_bias_lr) * share,
            self.hyp.warmup_momentum + (self.hyp.momentum - self.hyp.warmup_momentum) * share,
            max(round(1 + (self.nominal_batch / self.batch_size - 1) * share), 1),
        )
