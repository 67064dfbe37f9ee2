"""What a `.pt` file says: YOLOv5's model, read off the records of its pickle.

Two forms are understood: the whole model that YOLOv5 v6.0 to v7.0 saves (the averaged weights
`ema` preferred over `model`), and a plain dictionary of tensors. The list below is every global
that such files name; any other is refused, by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.yolo.architecture import BATCH_NORM_EPSILON
from yolo_port.description import KEY, checked_names, understand
from yolo_port.pickle_machine import Admit, Global, Record, named_globals
from yolo_port.readers.torch_archive import TENSOR_GLOBALS, TorchArchive
from yolo_port.readers.torch_modules import ModuleTree, mapping
from yolo_port.source import SourceModel
from yolo_port.state_dict import tidy

_MODELS = frozenset({Global("models.yolo", "Model"), Global("models.yolo", "DetectionModel")})

#: Every global that a YOLOv5 detection checkpoint names, those of `TENSOR_GLOBALS` aside.
_ALLOWED = (
    TENSOR_GLOBALS
    | _MODELS
    | {
        Global(module, name)
        for module, names in {
            "models.yolo": ("Detect",),
            "models.common": ("Conv", "C3", "Bottleneck", "SPP", "SPPF", "Concat"),
            "torch.nn.modules.container": ("Sequential", "ModuleList"),
            "torch.nn.modules.conv": ("Conv2d",),
            "torch.nn.modules.batchnorm": ("BatchNorm2d",),
            "torch.nn.modules.activation": ("SiLU", "LeakyReLU", "ReLU"),
            "torch.nn.modules.pooling": ("MaxPool2d",),
            "torch.nn.modules.upsampling": ("Upsample",),
            "torch": ("Size", "device", "float16", "float32", "float64"),
            "collections": ("OrderedDict", "defaultdict"),
            "__builtin__": ("set", "dict", "list", "int", "float"),
            "builtins": ("set", "dict", "list", "int", "float"),
            "_codecs": ("encode",),
            "numpy": ("dtype", "ndarray"),
            "numpy.core.multiarray": ("scalar", "_reconstruct"),
            "numpy._core.multiarray": ("scalar", "_reconstruct"),
            "argparse": ("Namespace",),
            "pathlib": ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
        }.items()
        for name in names
    }
)

#: Module and name prefix of a global → what the file is, for files that are known and unsupported.
_UNSUPPORTED = (
    ("models.yolo", "Segment", "a YOLOv5 segmentation checkpoint"),
    ("models.common", "Proto", "a YOLOv5 segmentation checkpoint"),
    ("models.yolo", "Classif", "a YOLOv5 classification checkpoint"),
    ("models.common", "Classify", "a YOLOv5 classification checkpoint"),
    ("models.common", "Focus", "a YOLOv5 checkpoint from before v6.0"),
    ("models.common", "BottleneckCSP", "a YOLOv5 checkpoint from before v4.0"),
    ("models.yolo", "IDetect", "a YOLOv7 checkpoint"),
    ("models.yolo", "IAuxDetect", "a YOLOv7 checkpoint"),
    ("models.yolo", "IKeypoint", "a YOLOv7 checkpoint"),
    ("models.common", "MP", "a YOLOv7 checkpoint"),
    ("models.common", "ReOrg", "a YOLOv7 checkpoint"),
    ("models.common", "RepConv", "a YOLOv7 checkpoint"),
    ("models.common", "RepNCSP", "a YOLOv9 checkpoint"),
    ("models.common", "Silence", "a YOLOv9 checkpoint"),
    ("models.common", "SPPCSPC", "a YOLOv7 checkpoint"),
    ("models.", "", "a YOLOv5 variant with other layers"),
    ("ultralytics.", "", "a checkpoint of the ultralytics package (YOLOv8 or later)"),
    ("yolov6.", "", "a YOLOv6 checkpoint"),
    ("yolox.", "", "a YOLOX checkpoint"),
    ("torch.nn.modules.activation", "", "a model with another activation than SiLU or ReLU"),
    ("torch.jit", "", "a TorchScript module"),
    ("__torch__", "", "a TorchScript module"),
)  # fmt: skip

_EXPECTED = "a YOLOv5 v6.0 to v7.0 detection checkpoint"
_MAX_TENSORS = 4000
_MAX_NAME = 200


def read_torch(path: Path) -> SourceModel:
    """The model in a `.pt` file. No code of the file runs and PyTorch is not needed.

    InputError for a container that PyTorch would not write, a global that is not on the list,
    another family or task, and tensors that disagree with their storages.
    """
    archive = TorchArchive(path, _admission(path))
    try:
        return _interpret(archive)
    finally:
        archive.close()


def check_globals(path: Path, head: bytes) -> None:
    """InputError when a pickle without PyTorch's zip around it names a global off the list.

    head: the file's beginning; of content that is no pickle nothing is said.
    """
    admit = _admission(path)
    for reference in named_globals(head):
        admit(reference)


def _admission(path: Path) -> Admit:
    """The doorkeeper of a file: passes what is on the list, and names what is not."""

    def admit(reference: Global) -> None:
        if reference in _ALLOWED:
            return
        for module, name, what in _UNSUPPORTED:
            if reference.module.startswith(module) and reference.name.startswith(name):
                raise InputError(path, f"is {what} (it names {reference})", _EXPECTED)
        raise InputError(
            path, f"asks for the global {reference}, which is not on the allow-list", _EXPECTED
        )

    return admit


def _interpret(archive: TorchArchive) -> SourceModel:
    model = _model(archive.content)
    if model is not None:
        return _whole_model(archive, model, {})
    top = mapping(archive.content)
    if top is None:
        raise InputError(archive.path, "holds neither a model nor a dictionary", _EXPECTED)
    notes: dict[str, object] = {
        key: top[key]
        for key in ("epoch", "date")
        if isinstance(top.get(key), (int, str)) and top[key] != -1
    }
    notes.update(_training_size(top.get("opt")))
    for key in ("ema", "model", "state_dict"):
        model = _model(top.get(key))
        if model is not None:
            return _whole_model(archive, model, {**notes, "weights": key})
        inner = mapping(top.get(key))
        if inner is not None and any(archive.is_tensor(each) for each in inner.values()):
            return _state_dict(archive, inner, {**notes, "weights": key})
    if any(archive.is_tensor(each) for each in top.values()):
        return _state_dict(archive, top, {})
    raise InputError(archive.path, "holds no model", _EXPECTED)


def _training_size(options: Any) -> dict[str, object]:
    """The note `imgsz` from the options that YOLOv5's trainer saves since v7.0."""
    size = (mapping(options) or {}).get("imgsz")
    return {"imgsz": size} if type(size) is int and size in range(32, 8193, 32) else {}


def _model(value: Any) -> Record | None:
    """The value, when it is a pickled YOLOv5 model with its state."""
    if isinstance(value, Record) and value.function in _MODELS and isinstance(value.state, dict):
        return value
    return None


def _whole_model(archive: TorchArchive, model: Record, notes: Mapping[str, object]) -> SourceModel:
    tree = ModuleTree(model, archive.path)
    structure = tree.structure()
    tensors, anchors = tidy(_read(archive, tree.tensors()), archive.path)
    return SourceModel(
        path=archive.path,
        form="PyTorch model",
        tensors=tensors,
        names=checked_names(model.state.get("names"), archive.path),
        anchors=anchors,
        activation=tree.activation(),
        epsilon=tree.epsilon(BATCH_NORM_EPSILON),
        structure=structure,
        notes=notes,
    )


def _read(archive: TorchArchive, records: Mapping[str, Any]) -> dict[str, Array]:
    if len(records) > _MAX_TENSORS:
        raise InputError(archive.path, f"has {len(records)} tensors", f"at most {_MAX_TENSORS}")
    for name in records:
        if len(name) > _MAX_NAME:
            raise InputError(archive.path, f"has a tensor name of {len(name)} characters",
                             f"at most {_MAX_NAME}")  # fmt: skip
    return {name: archive.tensor(value, name) for name, value in records.items()}


def _state_dict(
    archive: TorchArchive, values: dict[Any, Any], notes: Mapping[str, object]
) -> SourceModel:
    records = {
        name: value
        for name, value in values.items()
        if isinstance(name, str) and archive.is_tensor(value)
    }
    tensors, anchors = tidy(_read(archive, records), archive.path)
    description = _description(archive.content)
    described = (
        {"anchors": anchors, "notes": notes}
        if description is None
        else understand(description, archive.path)
    )
    return SourceModel(archive.path, "PyTorch state dict", tensors, **described)


def _description(content: Any) -> str | None:
    """The text that our own writer leaves as an attribute of the dictionary."""
    state = content.state if isinstance(content, Record) else None
    text = state.get(KEY) if isinstance(state, dict) else None
    return text if isinstance(text, str) else None
