"""The original's YAML configuration: every key is honoured or refused by its name.

What is refused would change the result in a way that this quantizer does not offer; all of it is
listed at once. What makes no difference here (a GPU, a batch) is taken and, where somebody might
expect a difference, told. Nothing is ignored in silence.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.yaml_file import read_yaml
from yolo_core.yolo.dataset import list_images
from yolo_core.yolo.letterbox import check_imgsz
from yolo_mrt.pictures import Tell, chosen, kept_back
from yolo_mrt.settings import STAGES, Settings, parse_thresholds

VERBOSITIES = ("debug", "info", "warning", "error", "critical", "fatal")
#: Longest value on a command line that is read as Python, and how many faults are listed.
_LITERAL_LIMIT, _LISTED = 10_000, 20
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


def _device_ids(value: Any) -> bool:
    return value is None or (
        isinstance(value, list) and value != [] and all(_integer(0, 1023)(v) for v in value)
    )


def _factor(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (number and 0 < value <= 1e6)


_DEVICE = _Key(None, lambda v: v in (None, "cpu", "gpu"), "cpu or gpu")
_IDS = _Key(None, _device_ids, "a list of numbers, such as [0]")
_EMPTY = "an empty list: all of the network becomes integers, heads and all"
_KEYS: dict[str, dict[str, _Key]] = {
    "COMMON": {
        "PASS_NAME": _Key("all", lambda v: v in _PASSES, " or ".join(_PASSES)),
        "MODEL_DIR": _Key("~/mrt_model", _text, "a folder"),
        "MODEL_NAME": _Key(None, _text, "the stem of the model's files"),
        "VERBOSITY": _Key("debug", lambda v: v in VERBOSITIES, " or ".join(VERBOSITIES)),
        "START_AFTER": _Key("initial", lambda v: v in _STARTS, " or ".join(_STARTS)),
        "DEVICE_TYPE": _DEVICE,
        "DEVICE_IDS": _IDS,
        "BATCH": _Key(16, _integer(1, 4096), "1 to 4096"),
        "RUN_EVALUATE": _Key(True, lambda v: isinstance(v, bool), "True or False"),
        "RUN_COMPILE": _Key(True, lambda v: isinstance(v, bool), "True or False"),
    },
    "PREPARE": {
        "DEVICE_TYPE": _DEVICE,
        "DEVICE_IDS": _IDS,
        "INPUT_SHAPE": _Key([-1, 3, 224, 224], lambda v: isinstance(v, list), "[-1, 3, h, w]"),
        "SPLIT_KEYS": _Key([], lambda v: v == [], _EMPTY),
    },
    "CALIBRATE": {
        "BATCH": _Key(None, lambda v: v is None or _integer(1, 4096)(v), "1 to 4096"),
        "NUM_CALIB": _Key(1, _integer(1, 100_000), "1 to 100000"),
        "LAMBD": _Key(None, _factor, "None, or a positive number of standard deviations"),
        "DATASET_NAME": _Key("imagenet", _text, "the dataset's folder in DATASET_DIR"),
        "DATASET_DIR": _Key("~/.mxnet/datasets", _text, "a folder"),
        "DEVICE_TYPE": _DEVICE,
        "DEVICE_IDS": _IDS,
    },
    "QUANTIZE": {
        "RESTORE_NAMES": _Key([], lambda v: v == [], "an empty list: nothing stays in float"),
        "INPUT_PRECISION": _Key(None, lambda v: v in (None, 8), "8: a pixel has 8 bits"),
        "OUTPUT_PRECISION": _Key(None, lambda v: v is None or _integer(8, 20)(v), "8 to 20"),
        "DEVICE_TYPE": _DEVICE,
        "DEVICE_IDS": _IDS,
        "SOFTMAX_LAMBD": _Key(None, lambda v: v is None, "None: YOLOv5 has no softmax"),
        "SHIFT_BITS": _Key(None, lambda v: v is None, "None: requantization never shifts first"),
        "THRESHOLDS": _Key([], lambda v: isinstance(v, list), "a list of [name, value]"),
        "ATTRIBUTE_DEPS": _Key([], lambda v: v == [], _EMPTY),
        "OSCALE_MAPS": _Key([], lambda v: v == [], _EMPTY),
    },
    "EVALUATE": {
        "BATCH": _Key(None, lambda v: v is None or _integer(1, 4096)(v), "1 to 4096"),
        "DEVICE_TYPE": _DEVICE,
        "DEVICE_IDS": _IDS,
        "ITER_NUM": _Key(10, _integer(0, 100_000), "0 to 100000"),
    },
    "COMPILE": {
        "BATCH": _Key(1, lambda v: v in (None, 1), "1: a deployable model takes one image"),
        "DUMP_DIR": _Key(None, lambda v: v is None or _text(v), "a folder"),
        "DEVICE_TYPE": _DEVICE,
        "DEVICE_IDS": _IDS,
    },
}


def shipped_config(size: str) -> str:
    """The text of the configuration that comes with the package for a size: n, s, m, l or x."""
    return (resources.files("yolo_mrt") / "qconf" / f"yolov5{size}.yaml").read_text("utf-8")


def overriding(words: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Section and key → value from `--section.key value` or `--section.key=value`, as the
    original's command line has them. A value is a Python literal, or else text.

    InputError for anything else.
    """
    found: dict[str, dict[str, Any]] = {}
    rest = list(words)
    while rest:
        word, given, text = rest.pop(0).partition("=")
        section, dot, key = word[2:].partition(".")
        if not word.startswith("--") or not (section and dot and key):
            raise InputError("quantize", f"is given {word!r:.60}", "--section.key value")
        if not given:
            if not rest:
                raise InputError(word, "has no value", "--section.key value")
            text = rest.pop(0)
        found.setdefault(section.upper(), {})[key.upper()] = _literal(text)
    return found


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text) if len(text) <= _LITERAL_LIMIT else text
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _merged(data: Any, changes: Mapping[str, Mapping[str, Any]]) -> Any:
    """The content of a file with values in place of its own."""
    if not changes or not isinstance(data, dict):
        return data
    merged = {**data}
    for section, keys in changes.items():
        own = merged.get(section, {})
        merged[section] = {**own, **keys} if isinstance(own, dict) else own
    return merged


def read_config(
    path: PathLike,
    effort: str = "normal",
    base: Path | None = None,
    tell: Tell = lambda line: None,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Configured:
    """A qconf YAML file. Relative folders are meant from `base` (default: the working folder).

    tell: hears what is wrong with the images to calibrate on, and what makes no difference.
    changes: section and key → value that replaces the file's.
    """
    source = str(path)
    values = _values(_merged(read_yaml(path), changes or {}), source)
    _tell_device(values, source, tell)
    common, calibrate, compile_ = values["COMMON"], values["CALIBRATE"], values["COMPILE"]
    folder = _folder(common["MODEL_DIR"], base)
    if not folder.is_dir():
        raise InputError(source, f"has COMMON.MODEL_DIR {folder}, which does not exist", "a folder")
    name = common["MODEL_NAME"]
    shape = values["PREPARE"]["INPUT_SHAPE"]
    if len(shape) != 4 or shape[:2] != [-1, 3]:
        raise InputError(source, f"has PREPARE.INPUT_SHAPE {shape}", "[-1, 3, height, width]")
    batch = calibrate["BATCH"] or common["BATCH"]
    imgsz = check_imgsz(shape[2:], f"{source}: PREPARE.INPUT_SHAPE")
    every = _dataset(_folder(calibrate["DATASET_DIR"], base) / calibrate["DATASET_NAME"], source)
    count = calibrate["NUM_CALIB"] * batch
    images = chosen(every, count, f"{source}: DATASET_NAME", tell, imgsz=imgsz)
    evaluated = values["EVALUATE"]["ITER_NUM"] * (values["EVALUATE"]["BATCH"] or common["BATCH"])
    settings = Settings(
        checkpoint=folder / name,
        images=images,
        imgsz=imgsz,
        work=folder / name,
        out=_folder(compile_["DUMP_DIR"] or f"results/{name}", base) / f"{name}_cvm",
        effort=effort,
        deviations=calibrate["LAMBD"],
        thresholds=parse_thresholds(values["QUANTIZE"]["THRESHOLDS"], f"{source}: THRESHOLDS"),
        head_bits=values["QUANTIZE"]["OUTPUT_PRECISION"] or 16,
        judged=kept_back(every, images, evaluated),
        evaluate_images=evaluated,
    )
    return Configured(settings, _stages(common), common["VERBOSITY"])


def _stages(common: Mapping[str, Any]) -> tuple[str, ...]:
    if common["PASS_NAME"] != "all":
        return (common["PASS_NAME"],)
    after = common["START_AFTER"]
    skip = 0 if after == "initial" else STAGES.index(after) + 1
    wanted = {"evaluate": common["RUN_EVALUATE"], "compile": common["RUN_COMPILE"]}
    return tuple(stage for stage in STAGES[skip:] if wanted.get(stage, True))


def _tell_device(values: Mapping[str, Mapping[str, Any]], source: str, tell: Tell) -> None:
    asked = [section for section, keys in values.items() if keys.get("DEVICE_TYPE") == "gpu"]
    if asked:
        tell(f"{source}: the device gpu ({', '.join(asked)}): quantization runs on the CPU, with "
             "the same result")  # fmt: skip


def _values(data: Any, source: str) -> dict[str, dict[str, Any]]:
    """Every key's value, the default where the file has none; InputError names all that is wrong
    with sections, keys and values."""
    if not isinstance(data, dict):
        raise InputError(source, "is not a mapping", f"the sections {', '.join(_KEYS)}")
    wrong: list[tuple[str, str]] = []
    for section, keys in data.items():
        if section not in _KEYS:
            wrong.append((f"the section {section!r:.60}", ", ".join(_KEYS)))
        elif not isinstance(keys, dict):
            wrong.append((f"no keys in {section}", ", ".join(_KEYS[section])))
        else:
            wrong += [
                (f"the key {section}.{key!s:.60}", ", ".join(_KEYS[section]))
                for key in keys
                if key not in _KEYS[section]
            ]
    values: dict[str, dict[str, Any]] = {}
    for section, known in _KEYS.items():
        given = data.get(section, {})
        given = given if isinstance(given, dict) else {}
        values[section] = {}
        for key, rule in known.items():
            value = given.get(key, rule.default)
            # A bare None is text in YAML; the original evaluated it.
            value = None if value == "None" else value
            if not rule.accepts(value):
                wrong.append((f"{section}.{key} = {value!r:.60}", rule.expected))
            values[section][key] = value
    if len(wrong) == 1:
        raise InputError(source, f"has {wrong[0][0]}", wrong[0][1])
    if wrong:
        listed = "; ".join(f"{what} (expected {expected})" for what, expected in wrong[:_LISTED])
        rest = f"; and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
        raise InputError(source, f"has {len(wrong)} entries that cannot be served: {listed}{rest}")
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
