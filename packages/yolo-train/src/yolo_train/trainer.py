"""The training loop: what happens in a step, in an epoch, and between epochs.

Everything random depends on (seed, epoch, position) and everything that changes from epoch to
epoch is in the run's state, so a resumed run continues exactly as it would have.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import click
import numpy as np

from yolo_core.architecture import Architecture
from yolo_core.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from yolo_core.dataset import DataConfig, read_data_yaml
from yolo_core.device import contexts
from yolo_core.errors import InputError
from yolo_core.letterbox import check_imgsz
from yolo_core.mxnet_door import mxnet
from yolo_core.network import YoloV5, build, parameters_of
from yolo_core.progress import progress
from yolo_train.batches import Batch, Loader, Source, pad_targets
from yolo_train.gradients import GradientSum
from yolo_train.hyp import Hyp, read_hyp
from yolo_train.images import ImageCache
from yolo_train.loss import DetectionLoss, scaled_gains
from yolo_train.optimizer import MovingAverage, Optimizer
from yolo_train.options import FitOptions
from yolo_train.run_folder import COLUMNS, RunFolder
from yolo_train.samples import Sample, check_samples, digest
from yolo_train.schedule import Rates, Schedule
from yolo_train.start import random_parameters, transfer
from yolo_train.validate import Validated, Validator

mx = mxnet()


class Network:
    """The network that learns, its average that is validated, and one step of learning."""

    def __init__(
        self, architecture: Architecture, parameters: Mapping[str, np.ndarray], options: FitOptions,
        hyp: Hyp, schedule: Schedule, devices: Sequence[Any], sums: GradientSum,
    ) -> None:  # fmt: skip
        self.architecture, self._devices, self._sums = architecture, list(devices), sums
        self.net = build(architecture, parameters, fused=False, ctx=self._devices)
        self.average: YoloV5 = build(architecture, parameters, fused=False, ctx=self._devices[0])
        self._all: Dict[str, Any] = dict(self.net.collect_params().items())
        frozen = tuple(f"model.{index}." for index in range(options.freeze))
        for name, parameter in self._all.items():
            if frozen and name.startswith(frozen):
                parameter.grad_req = "null"
        self._accumulates = schedule.accumulate > 1
        self._trained = {
            name: parameter
            for name, parameter in self._all.items()
            if parameter.grad_req != "null"
        }
        if self._accumulates:
            for parameter in self._trained.values():
                parameter.grad_req = "add"
        self._optimizer = Optimizer(
            options.optimizer, self._trained, self._devices, schedule.weight_decay
        )
        sums.share_start(self._trained)
        self._average = MovingAverage(
            dict(self.average.collect_params().items()), self._all, self._devices[0]
        )
        share = options.batch_size // sums.workers // len(self._devices)
        self._share, self._hyp = share, hyp
        self._gains = scaled_gains(hyp, architecture.nc, options.imgsz)
        self._losses: Dict[Tuple[int, int], DetectionLoss] = {}
        fixed = not options.multi_scale
        self._fixed = fixed
        self.net.hybridize(static_alloc=fixed, static_shape=fixed)
        self.average.hybridize(static_alloc=True)
        self._waiting = 0

    def learn(self, batch: Batch, rates: Rates, side: int) -> np.ndarray:
        """One forward and backward pass, and an update when enough batches have passed.

        side: pixels of the network's input. Returns the mean weighted losses [3].
        """
        losses, parts = [], []
        with mx.autograd.record():
            for place, device in enumerate(self._devices):
                images, targets = self._portion(batch, place)
                x = mx.nd.array(images, ctx=device, dtype="float32") / 255.0
                if x.shape[2] != side:
                    x = mx.nd.contrib.BilinearResize2D(x, height=side, width=side)
                y = mx.nd.array(targets, ctx=device)
                loss, part = self._loss(side)(*self.net(x), y)
                losses.append(loss)
                parts.append(part)
        mx.autograd.backward(losses)
        self._waiting += 1
        if self._waiting >= rates.accumulate:
            self.update(rates)
        return np.mean([part.asnumpy() for part in parts], axis=0, dtype=np.float64)

    def update(self, rates: Rates) -> None:
        """Move the parameters along the gradients gathered so far, if there are any."""
        if not self._waiting:
            return
        self._waiting = 0
        self._sums.add_up(self._trained)
        self._optimizer.step(rates)
        if self._accumulates:
            for device in self._devices:
                gradients = [p.grad(device) for p in self._trained.values()]
                mx.nd.reset_arrays(*gradients, num_arrays=len(gradients))
        self._average.update()

    def _portion(self, batch: Batch, place: int) -> Tuple[np.ndarray, np.ndarray]:
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

    def _loss(self, side: int) -> DetectionLoss:
        key = (side, side)
        if key not in self._losses:
            loss = DetectionLoss(self.architecture, key, self._share, self._hyp, self._gains)
            loss.initialize(ctx=self._devices)
            loss.hybridize(static_alloc=self._fixed)
            self._losses[key] = loss
        return self._losses[key]

    def state(self) -> Dict[str, np.ndarray]:
        """All that a resumed run needs of the network."""
        arrays = {f"net/{name}": value for name, value in parameters_of(self.net).items()}
        for name, value in parameters_of(self.average).items():
            arrays[f"average/{name}"] = value
        for name, value in self._optimizer.state().items():
            arrays[f"optimizer/{name}"] = value
        arrays["average_updates"] = np.array(self._average.updates)
        return arrays

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from `state`. KeyError or ValueError when it belongs to another network."""
        for prefix, net in (("net", self.net), ("average", self.average)):
            for name, parameter in net.collect_params().items():
                parameter.set_data(mx.nd.array(state[f"{prefix}/{name}"], dtype="float32"))
        self._optimizer.restore(
            {
                name[len("optimizer/") :]: value
                for name, value in state.items()
                if name.startswith("optimizer/")
            }
        )
        self._average.updates = int(state["average_updates"])


class Training:
    """One run from its options to its last epoch."""

    def __init__(self, options: FitOptions, folder: Optional[RunFolder] = None) -> None:
        """folder: of an earlier run with these options that is taken up again."""
        self._options = options
        self._hyp = read_hyp(options.hyp, options.set)
        side, _ = check_imgsz(options.imgsz, "--imgsz")
        self._devices = contexts(options.device)
        self._sums = GradientSum(self._devices)
        self._check_batch()
        self._data = read_data_yaml(options.data)
        self._train = self._samples("train")
        self._val = self._samples("val")
        self._per_epoch = -(-len(self._train) // options.batch_size)
        self._schedule = Schedule(
            self._hyp, options.epochs, self._per_epoch, options.batch_size, options.cos_lr
        )
        state = None if folder is None else folder.read_state()
        architecture, parameters = self._start(state)
        self._network = Network(
            architecture, parameters, options, self._hyp, self._schedule, self._devices, self._sums
        )
        self._validator = Validator(
            self._val, architecture, side, 2 * options.batch_size, self._devices[0], self._hyp,
            scaled_gains(self._hyp, architecture.nc, side),
        )  # fmt: skip
        self._done, self._best, self._best_epoch = 0, -1.0, 0
        self.folder = folder if folder is not None else self._create_folder()
        if state is not None:
            self._restore(state)

    def _check_batch(self) -> None:
        shares = self._sums.workers * len(self._devices)
        if self._options.batch_size % shares:
            raise InputError(
                "--batch-size", f"is {self._options.batch_size}", f"a multiple of {shares} devices"
            )

    def _samples(self, split: str) -> Tuple[Sample, ...]:
        data: DataConfig = self._data
        samples, report = check_samples(data.images(split), len(data.names), split)
        click.echo(report.summary(), err=True)
        if self._options.strict:
            report.refuse_faults()
        return samples

    def _start(
        self, state: Optional[Mapping[str, np.ndarray]]
    ) -> Tuple[Architecture, Dict[str, np.ndarray]]:
        options = self._options
        anchors = None
        checkpoint: Optional[Checkpoint] = None
        if options.weights is not None:
            checkpoint = read_checkpoint(options.weights)
            anchors = checkpoint.architecture.anchors
        architecture = Architecture.named(options.model, names=self._data.names, anchors=anchors)
        parameters = random_parameters(architecture, options.seed)
        if checkpoint is not None:
            parameters, skipped = transfer(parameters, checkpoint, options.weights or "")
            click.echo(f"{options.weights}: {len(parameters) - len(skipped)} parameters taken, "
                       f"{len(skipped)} start anew: {', '.join(skipped) or 'none'}", err=True)
        return architecture, parameters

    def _create_folder(self) -> RunFolder:
        folder = RunFolder.create(self._options.project, self._options.name)
        folder.write_yaml("opt.yaml", self._options.to_dict())
        folder.write_yaml("hyp.yaml", self._hyp.to_dict())
        return folder

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        source = str(self.folder.path)
        try:
            if str(state["digest"]) != digest(self._train):
                raise InputError(source, "was trained on other images or labels", "the same data")
            self._network.restore(state)
            self._done = int(state["epochs"])
            self._best, self._best_epoch = float(state["best"]), int(state["best_epoch"])
        except (KeyError, ValueError) as error:
            raise InputError(source, f"has a state of another network ({error})") from error

    def run(self) -> RunFolder:
        """Train to the end; returns the run folder."""
        options = self._options
        begin = time.monotonic()
        paths = [sample.image for sample in self._train]
        cache = ImageCache(paths, options.imgsz, options.cache) if options.cache else None
        source = Source.of(
            self._train, options.imgsz, self._hyp, options.seed, cache.index if cache else None
        )
        try:
            with Loader(source, options.workers) as loader:
                for epoch in range(self._done, options.epochs):
                    self._epoch(epoch, loader)
                    if epoch - self._best_epoch >= options.patience > 0:
                        click.echo(f"No better for {options.patience} epochs: stopped.", err=True)
                        break
        finally:
            if cache:
                cache.close()
        best = self.folder.rows[self._best_epoch]
        click.echo(
            f"{self.folder.best}: mAP@0.5 {best['metrics/mAP_0.5']:.4f}, mAP@0.5:0.95 "
            f"{best['metrics/mAP_0.5:0.95']:.4f} of epoch {self._best_epoch}; "
            f"{time.monotonic() - begin:.0f} s"
        )
        return self.folder

    def _epoch(self, epoch: int, loader: Loader) -> None:
        options = self._options
        totals = np.zeros(3)
        rates = self._schedule.at(epoch, 0)
        order = self._order(epoch)
        size, share = options.batch_size, options.batch_size // self._sums.workers
        first = self._sums.rank * share
        batches = [
            [order[(start + place) % len(order)] for place in range(first, first + share)]
            for start in range(0, self._per_epoch * size, size)
        ]
        label = f"epoch {epoch}/{options.epochs - 1}"
        made = loader.epoch(epoch, batches)
        for number, batch in enumerate(progress(made, label, total=len(batches), unit="batches")):
            rates = self._schedule.at(epoch, number)
            totals += self._network.learn(batch, rates, self._side(epoch, number))
            if not np.isfinite(totals).all():
                raise InputError(
                    f"epoch {epoch} batch {number}", "the loss is not a finite number",
                    "a smaller learning rate (-o lr0=…)",
                )  # fmt: skip
        self._network.update(rates)
        validated = self._validator.run(self._network.average, f"validate {epoch}")
        self._finish(epoch, totals / len(batches), validated, rates)

    def _order(self, epoch: int) -> List[int]:
        rng = np.random.default_rng([self._options.seed, epoch])
        return [int(number) for number in rng.permutation(len(self._train))]

    def _side(self, epoch: int, number: int) -> int:
        """Pixels of the network's input: half to one and a half of --imgsz with --multi-scale."""
        side = self._options.imgsz
        if not self._options.multi_scale:
            return side
        rng = np.random.default_rng([self._options.seed, epoch, number, 1])
        return max(int(rng.integers(side // 2, side + side // 2 + 1)) // 32, 1) * 32

    def _finish(
        self, epoch: int, losses: np.ndarray, validated: Validated, rates: Rates
    ) -> None:
        """Results, checkpoints and state of a complete epoch."""
        scores = validated.scores
        self.folder.add_row(
            dict(
                zip(
                    COLUMNS,
                    (
                        epoch, *losses, scores.precision, scores.recall, scores.map50, scores.map,
                        *validated.losses, rates.lr, rates.lr, rates.bias_lr,
                    ),
                )
            )
        )  # fmt: skip
        click.echo(
            f"epoch {epoch}: box {losses[0]:.4f} obj {losses[1]:.4f} cls {losses[2]:.4f}, "
            f"P {scores.precision:.3f} R {scores.recall:.3f} mAP@0.5 {scores.map50:.4f} "
            f"mAP@0.5:0.95 {scores.map:.4f}"
        )
        better = scores.fitness > self._best
        if better:
            self._best, self._best_epoch = scores.fitness, epoch
        self._done = epoch + 1
        if self._sums.rank:
            return
        self._write_checkpoint(self.folder.last, epoch, validated)
        if better:
            self._write_checkpoint(self.folder.best, epoch, validated)
        self.folder.write_state(
            {
                **self._network.state(),
                "digest": np.array(digest(self._train)),
                "epochs": np.array(self._done),
                "best": np.array(self._best),
                "best_epoch": np.array(self._best_epoch),
            }
        )

    def _write_checkpoint(self, stem: Path, epoch: int, validated: Validated) -> None:
        meta = {
            "imgsz": self._options.imgsz,
            "epoch": epoch,
            "map50": round(validated.scores.map50, 6),
            "map": round(validated.scores.map, 6),
            "source": "yolo-train",
        }
        parameters = parameters_of(self._network.average)
        write_checkpoint(
            stem, Checkpoint(self._network.architecture, parameters, fused=False, meta=meta)
        )


def fit(options: FitOptions) -> RunFolder:
    """Train as asked in a new run folder."""
    return Training(options).run()


def resume(folder: RunFolder) -> RunFolder:
    """Continue an earlier run after its last complete epoch, with the options it was given."""
    options = FitOptions.from_dict(folder.read_yaml("opt.yaml"), str(folder.path / "opt.yaml"))
    return Training(options, folder).run()
