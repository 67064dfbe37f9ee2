"""What a training run is asked to do: read once, written into the run folder, passed down."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_core.errors import InputError
from yolo_core.yolo.letterbox import MAX_SIDE
from yolo_train.hyp import AUTO

OPTIMIZERS = (AUTO, "sgd", "adam", "adamw")
#: Parts of the network that `freeze` counts.
MAX_FREEZE = 24


@dataclass(frozen=True)
class FitOptions:
    """Options of `yolo-train fit` under their command-line names; `yolo-train fit --help` says
    what each means. nominal_batch: 0 leaves it to the recipe. cache: bytes of the image cache.
    save_period: epochs between kept checkpoints, 0 keeps none but best and last. exist_ok: replace
    an earlier run of this name. single_cls: count every box as one class, "item".
    teacher: the checkpoint that `qat` learns from instead of labels, and starts from where no
    weights are given. batch_size: images over all devices and machines. InputError when a value is
    out of range.
    """

    data: str
    model: str | None = None
    cfg: str | None = None
    weights: str | None = None
    qat: bool = False
    teacher: str | None = None
    epochs: int = 100
    batch_size: int = 16
    nominal_batch: int = 0
    imgsz: int = 640
    device: str = "cpu"
    workers: int = 2
    seed: int = 0
    project: str = "runs/train"
    name: str = "exp"
    exist_ok: bool = False
    freeze: int = 0
    freeze_bn: bool = False
    hyp: str | None = AUTO
    set: tuple[str, ...] = ()
    optimizer: str = AUTO
    cos_lr: bool = False
    patience: int = 100
    cache: int = 1 << 30
    strict: bool = False
    amp: bool = False
    multi_scale: bool = False
    image_weights: bool = False
    rect: bool = False
    autoanchor: bool = True
    plots: bool = True
    save_period: int = 0
    single_cls: bool = False

    def __post_init__(self) -> None:
        # All that can be seen without data: looking through a large dataset takes minutes.
        for name, low, high in (
            ("epochs", 1, 100_000),
            ("imgsz", 1, MAX_SIDE),
            ("batch_size", 1, 4096),
            ("nominal_batch", 0, 65536),
            ("workers", 0, 256),
            ("seed", 0, 2**31 - 1),
            ("freeze", 0, MAX_FREEZE),
            ("patience", 0, 100_000),
            ("save_period", 0, 100_000),
            ("cache", 0, 1 << 50),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                option = f"--{name.replace('_', '-')}"
                raise InputError(option, f"is {value}", f"{low} to {high}")
        if self.optimizer not in OPTIMIZERS:
            expected = f"one of {', '.join(OPTIMIZERS)}"
            raise InputError("--optimizer", f"is {self.optimizer!r}", expected)
        if self.name in ("", ".", "..") or Path(self.name).name != self.name:
            raise InputError("--name", f"is {self.name!r}", "a plain folder name")
        if self.model is not None and self.cfg is not None:
            raise InputError("--cfg", "does not go with --model", "one of them")
        if self.teacher is not None and not self.qat:
            raise InputError("--teacher", "is given without --qat", "both")
        if self.teacher is not None and self.single_cls:
            raise InputError("--single-cls", "does not go with --teacher", "one of them")
        if self.teacher is not None and self.weights is None:
            object.__setattr__(self, "weights", self.teacher)
        if self.qat and self.weights is None:
            raise InputError("--qat", "has no --weights", "a trained checkpoint to finetune")
        if self.rect and self.image_weights:
            raise InputError("--rect", "goes not with --image-weights", "one of them")
        if self.amp and self.qat:
            raise InputError("--amp", "does not go with --qat", "one of them")
        if self.amp and "cpu" in self.device:
            cause = f"is asked for on {self.device}"
            raise InputError("--amp", cause, "a GPU, where half precision saves time")

    def from_anywhere(self) -> FitOptions:
        """The same options with whole paths, so that another working folder changes nothing."""
        paths = {
            name: os.path.abspath(value)
            for name in ("data", "cfg", "weights", "teacher", "project")
            if (value := getattr(self, name)) is not None
        }
        return dataclasses.replace(self, **paths)

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "set": list(self.set)}

    @classmethod
    def from_dict(cls, data: dict[str, Any], source: str) -> FitOptions:
        """The options that `to_dict` wrote. source: the file they come from."""
        known = {field.name: field for field in dataclasses.fields(cls)}
        defaults = {name: field.default for name, field in known.items()}
        for name, value in data.items():
            if name not in known:
                raise InputError(source, f"has the unknown option {name!r}")
            expected = type(defaults[name]) if name != "data" else str
            if name == "set":
                valid = isinstance(value, list) and all(isinstance(v, str) for v in value)
            elif defaults[name] is None or name == "hyp":
                valid = value is None or isinstance(value, str)
            else:
                valid = type(value) is expected
            if not valid:
                raise InputError(source, f"has {name} {value!r}", "what `yolo-train fit` wrote")
        if "data" not in data:
            raise InputError(source, "has no `data`")
        return cls(**{**data, "set": tuple(data.get("set", ()))})
