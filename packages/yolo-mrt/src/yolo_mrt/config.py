"""The original's YAML configuration: every key is honoured or refused by its name.

Keys and defaults: `qconf_keys.md` section 1. What is refused would change the result in a way that
this quantizer does not offer; nothing is ignored in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.yaml_file import read_yaml
from yolo_core.yolo.dataset import list_images
from yolo_core.yolo.letterbox import check_imgsz
from yolo_mrt.pictures import Tell, chosen
from yolo_mrt.settings import STAGES, Settings, parse_thresholds

VERBOSITIES = ("debug", "info", "warning", "error", "critical", "fatal")
_PASSES = ("all", *STAGES)
_STARTS = ("initial", "prepare", "calibrate", "quantize")


@dataclass(frozen=True)
class Configured:
    """A configuration, read: the settings, the stages it asks for, and how much it wants told."""

    settings: Settings
    stages: tuple[str, ...]
    verbosity: str


@dataclass(frozen=True)
class _Key:
    default: Any
    accepts: Callable[[Any], bool]
    expected: str


def _integer(low: int, high: int) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


_CPU = _Key(None, lambda v: v in (None, "cpu"), "cpu: the quantizer runs on the CPU")
_IDS = _Key(None, lambda v: v in (None, [0]), "[0]: the quantizer runs on the CPU")
_EMPTY = "an empty list: all of the network becomes integers, heads and all"
_KEYS: dict[str, dict[str, _Key]] = {
    "COMMON": {
        "PASS_NAME": _Key("all", lambda v: v in _PASSES, " or ".join(_PASSES)),
        "MODEL_DIR": _Key("~/mrt_model", _text, "a folder"),
        "MODEL_NAME": _Key(None, _text, "the stem of the model's files"),
        "VERBOSITY": _Key("debug", lambda v: v in VERBOSITIES, " or ".join(VERBOSITIES)),
        "START_AFTER": _Key("initial", lambda v: v in _STARTS, " or ".join(_STARTS)),
        "DEVICE_TYPE": _CPU,
        "DEVICE_IDS": _IDS,
        "BATCH": _Key(16, _integer(1, 4096), "1 to 4096"),
        "RUN_EVALUATE": _Key(True, lambda v: isinstance(v, bool), "True or False"),
        "RUN_COMPILE": _Key(True, lambda v: isinstance(v, bool), "True or False"),
    },
    "PREPARE": {
        "DEVICE_TYPE": _CPU,
        "DEVICE_IDS": _IDS,
        "INPUT_SHAPE": _Key([-1, 3, 224, 224], lambda v: isinstance(v, list), "[-1, 3, h, w]"),
        "SPLIT_KEYS": _Key([], lambda v: v == [], _EMPTY),
    },
    "CALIBRATE": {
        "BATCH": _Key(None, lambda v: v is None or _integer(1, 4096)(v), "1 to 4096"),
        "NUM_CALIB": _Key(1, _integer(1, 100_000), "1 to 100000"),
        "LAMBD": _Key(None, lambda v: v is None, "None: thresholds weigh rounding and clipping"),
        "DATASET_NAME": _Key("imagenet", _text, "the dataset's folder in DATASET_DIR"),
        "DATASET_DIR": _Key("~/.mxnet/datasets", _text, "a folder"),
        "DEVICE_TYPE": _CPU,
        "DEVICE_IDS": _IDS,
    },
    "QUANTIZE": {
        "RESTORE_NAMES": _Key([], lambda v: v == [], "an empty list: nothing stays in float"),
        "INPUT_PRECISION": _Key(None, lambda v: v in (None, 8), "8: a pixel has 8 bits"),
        "OUTPUT_PRECISION": _Key(None, lambda v: v is None or _integer(8, 20)(v), "8 to 20"),
        "DEVICE_TYPE": _CPU,
        "DEVICE_IDS": _IDS,
        "SOFTMAX_LAMBD": _Key(None, lambda v: v is None, "None: YOLOv5 has no softmax"),
        "SHIFT_BITS": _Key(None, lambda v: v is None, "None: requantization never shifts first"),
        "THRESHOLDS": _Key([], lambda v: isinstance(v, list), "a list of [name, value]"),
        "ATTRIBUTE_DEPS": _Key([], lambda v: v == [], _EMPTY),
        "OSCALE_MAPS": _Key([], lambda v: v == [], _EMPTY),
    },
    "EVALUATE": {
        "BATCH": _Key(None, lambda v: v is None or _integer(1, 4096)(v), "1 to 4096"),
        "DEVICE_TYPE": _CPU,
        "DEVICE_IDS": _IDS,
        "ITER_NUM": _Key(10, _integer(0, 100_000), "0 to 100000"),
    },
    "COMPILE": {
        "BATCH": _Key(1, lambda v: v in (None, 1), "1: a deployable model takes one image"),
        "DUMP_DIR": _Key("~/mrt_dump", _text, "a folder"),
        "DEVICE_TYPE": _CPU,
        "DEVICE_IDS": _IDS,
    },
}


def read_config(
    path: PathLike,
    effort: str = "normal",
    base: Path | None = None,
    tell: Tell = lambda line: None,
) -> Configured:
    """A qconf YAML file. Relative folders are meant from `base` (default: the working folder).

    tell: hears what is wrong with the images to calibrate on.
    """
    source = str(path)
    values = _values(read_yaml(path), source)
    common, calibrate, compile_ = values["COMMON"], values["CALIBRATE"], values["COMPILE"]
    folder = _folder(common["MODEL_DIR"], base)
    if not folder.is_dir():
        raise InputError(source, f"has COMMON.MODEL_DIR {folder}, which does not exist", "a folder")
    name = common["MODEL_NAME"]
    shape = values["PREPARE"]["INPUT_SHAPE"]
    if len(shape) != 4 or shape[:2] != [-1, 3]:
        raise InputError(source, f"has PREPARE.INPUT_SHAPE {shape}", "[-1, 3, height, width]")
    batch = calibrate["BATCH"] or common["BATCH"]
    images = _dataset(_folder(calibrate["DATASET_DIR"], base) / calibrate["DATASET_NAME"], source)
    count = calibrate["NUM_CALIB"] * batch
    evaluate_batch = values["EVALUATE"]["BATCH"] or common["BATCH"]
    settings = Settings(
        checkpoint=folder / name,
        images=chosen(images, count, f"{source}: DATASET_NAME", tell),
        imgsz=check_imgsz(shape[2:], f"{source}: PREPARE.INPUT_SHAPE"),
        work=folder / name,
        out=_folder(compile_["DUMP_DIR"], base) / f"{name}_cvm",
        effort=effort,
        thresholds=parse_thresholds(values["QUANTIZE"]["THRESHOLDS"], f"{source}: THRESHOLDS"),
        head_bits=values["QUANTIZE"]["OUTPUT_PRECISION"] or 16,
        evaluate_images=values["EVALUATE"]["ITER_NUM"] * evaluate_batch,
    )
    return Configured(settings, _stages(common), common["VERBOSITY"])


def _stages(common: Mapping[str, Any]) -> tuple[str, ...]:
    if common["PASS_NAME"] != "all":
        return (common["PASS_NAME"],)
    after = common["START_AFTER"]
    skip = 0 if after == "initial" else STAGES.index(after) + 1
    wanted = {"evaluate": common["RUN_EVALUATE"], "compile": common["RUN_COMPILE"]}
    return tuple(stage for stage in STAGES[skip:] if wanted.get(stage, True))


def _values(data: Any, source: str) -> dict[str, dict[str, Any]]:
    if not isinstance(data, dict):
        raise InputError(source, "is no mapping", f"the sections {', '.join(_KEYS)}")
    for section, keys in data.items():
        if section not in _KEYS:
            raise InputError(source, f"has the section {section!r:.60}", ", ".join(_KEYS))
        if not isinstance(keys, dict):
            raise InputError(source, f"has no keys in {section}", ", ".join(_KEYS[section]))
    values: dict[str, dict[str, Any]] = {}
    for section, known in _KEYS.items():
        given = data.get(section, {})
        for key in given:
            if key not in known:
                raise InputError(source, f"has the key {section}.{key}", ", ".join(known))
        values[section] = {}
        for key, rule in known.items():
            value = given.get(key, rule.default)
            # A bare None is text in YAML; the original evaluated it.
            value = None if value == "None" else value
            if not rule.accepts(value):
                raise InputError(source, f"has {section}.{key} = {value!r:.60}", rule.expected)
            values[section][key] = value
    return values


def _folder(text: str, base: Path | None) -> Path:
    path = Path(text).expanduser()
    return path if base is None or path.is_absolute() else base / path


def _dataset(folder: Path, source: str) -> tuple[Path, ...]:
    inside = folder / "images"
    place = inside if inside.is_dir() else folder
    if not place.is_dir():
        raise InputError(source, f"names the dataset {folder}, which does not exist", "a folder")
    return tuple(list_images(place))
