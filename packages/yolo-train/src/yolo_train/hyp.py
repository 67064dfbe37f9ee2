"""The recipe's numbers: gains, optimizer, schedule, augmentation. Data only.

The defaults are those published for training from scratch on COCO (YOLOv5 release 6.0 onward,
hyp.scratch-low); a `hyp.yaml` or `-o key=value` replaces any of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.yaml_file import read_yaml
from yolo_core.yolo.anchors import MAX_ANCHORS

#: The recipe is chosen by `yolo_train.recipe`.
AUTO = "auto"
_PACKAGED = Path(__file__).parent / "hyps"


@dataclass(frozen=True)
class Hyp:
    """Hyper-parameters under their YOLOv5 names; all are finite numbers.

    lr0, lrf: first learning rate, and the last one as a share of it. momentum: SGD momentum or
    Adam's beta1. warmup_epochs, warmup_momentum, warmup_bias_lr: where the warm-up starts.
    box, cls, obj: gains for 3 levels, 80 classes and 640 pixels. cls_pw, obj_pw: weights of
    positives in the two cross-entropies. fl_gamma: exponent of the focal loss, 0 for plain
    cross-entropy. anchor_t: largest ratio of a box side to an anchor's.
    label_smoothing: share taken from the true class. hsv_*: shares of hue, saturation, value.
    degrees, shear: ± degrees. translate, scale, perspective: ± shares. flipud, fliplr, mosaic,
    mixup: probabilities. copy_paste: share of the outlined objects of a mosaic that are pasted
    once more, mirrored. anchors: of each level, rounded; 0 for those of the model.
    """

    lr0: float = 0.01
    lrf: float = 0.01
    momentum: float = 0.937
    weight_decay: float = 0.0005
    warmup_epochs: float = 3.0
    warmup_momentum: float = 0.8
    warmup_bias_lr: float = 0.1
    box: float = 0.05
    cls: float = 0.5
    cls_pw: float = 1.0
    obj: float = 1.0
    obj_pw: float = 1.0
    fl_gamma: float = 0.0
    anchor_t: float = 4.0
    label_smoothing: float = 0.0
    hsv_h: float = 0.015
    hsv_s: float = 0.7
    hsv_v: float = 0.4
    degrees: float = 0.0
    translate: float = 0.1
    scale: float = 0.5
    shear: float = 0.0
    perspective: float = 0.0
    flipud: float = 0.0
    fliplr: float = 0.5
    mosaic: float = 1.0
    mixup: float = 0.0
    copy_paste: float = 0.0
    anchors: float = 0.0

    def to_dict(self) -> dict[str, float]:
        return dataclasses.asdict(self)


#: Allowed range of each number; what is not named here lies between 0 and 1000.
_LIMITS: Mapping[str, Any] = {
    **dict.fromkeys(
        (
            "flipud",
            "fliplr",
            "mosaic",
            "mixup",
            "copy_paste",
            "hsv_h",
            "hsv_s",
            "hsv_v",
            "translate",
        ),
        (0, 1),
    ),
    **dict.fromkeys(("momentum", "warmup_momentum", "label_smoothing", "scale"), (0, 0.999)),
    "lr0": (1e-9, 10),
    "lrf": (1e-9, 1),
    "anchor_t": (1, 1000),
    "anchors": (0, MAX_ANCHORS),
    "fl_gamma": (0, 10),
    "degrees": (0, 180),
    "shear": (0, 60),
    "perspective": (0, 0.001),
}

#: Key of YOLOv5's own files that nothing reads there either.
_UNUSED = "iou_t"
#: Names that other programs and early releases of YOLOv5 have for a key.
_OTHER_NAMES = {"learning_rate": "lr0", "lr": "lr0", "giou": "box", "wd": "weight_decay"}


def read_hyp(
    path: PathLike | None, overrides: Sequence[str] = (), tell: Callable[[str], None] | None = None
) -> Hyp:
    """The defaults, replaced by a YAML file and then by `key=value` words.

    path: a file, or the name of one that comes with this package; "auto" and None mean the
    defaults, until `recipe` has chosen. tell: hears which keys of the file have no part here.
    InputError names an unknown key, a value that is not a number or lies out of range.
    """
    values: dict[str, Any] = {}
    if path is not None and str(path) != AUTO:
        path = _PACKAGED / f"{path}.yaml" if str(path) in packaged() else path
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise InputError(path, "is not a mapping", "lines of `key: number`")
        if _UNUSED in content and tell is not None:
            tell(f"{path}: {_UNUSED} has no part in this recipe and is left out")
        for key, value in content.items():
            if key == _UNUSED:
                continue
            values[key] = _number(str(path), key, value)
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals:
            raise InputError("-o", f"got {word!r}", "key=value")
        try:
            value = float(text)
        except ValueError as error:
            raise InputError("-o", f"{key} is {text!r}", "a number") from error
        values[key] = _number("-o", key, value)
    return Hyp(**values)


def packaged() -> list[str]:
    """Names of the hyper-parameter files that come with this package."""
    return sorted(file.stem for file in _PACKAGED.glob("*.yaml"))


def _number(source: str, key: Any, value: Any) -> float:
    known = [item.name for item in dataclasses.fields(Hyp)]
    if key not in known:
        near = _OTHER_NAMES.get(str(key)) or next(iter(get_close_matches(str(key), known, 1)), None)
        expected = f"perhaps {near!r}" if near else f"one of {', '.join(known)}"
        raise InputError(source, f"has the unknown key {key!r:.60}", expected)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(source, f"{key} is {value!r}", "a finite number")
    low, high = _LIMITS.get(key, (0, 1000))
    if not low <= value <= high:
        raise InputError(source, f"{key} is {value}", f"{low} to {high}")
    return float(value)
