"""What a `.pt` file says: YOLOv5's model, read off the records of its pickle.

Two forms are understood: the whole model that YOLOv5 v6.0 to v7.0 saves (the averaged weights
`ema` preferred over `model`), and a plain dictionary of tensors. The list below is every global
that such files name; any other is refused, by its name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.yolo.architecture import BATCH_NORM_EPSILON
from yolo_core.yolo.kinds import KINDS, UNSUPPORTED
from yolo_port.description import KEY, checked_names, names_beside, plain, understand
from yolo_port.holders import HOLDERS, find
from yolo_port.matching import usual_activation
from yolo_port.pickle_machine import Admit, Global, Record, mapping, named_globals
from yolo_port.readers.pickled_arrays import ARRAY_GLOBALS
from yolo_port.readers.torch_archive import TorchArchive
from yolo_port.readers.torch_legacy import MAGIC, LegacyFile
from yolo_port.readers.torch_modules import ModuleTree
from yolo_port.readers.torch_tensors import TENSOR_GLOBALS, TorchFile
from yolo_port.source import SourceModel, for_epsilon
from yolo_port.state_dict import tidy

#: Classes of YOLOv5's repository that are a whole model.
_MODELS = ("Model", "DetectionModel")
#: What may stand around a model, and the name that it has in there.
_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
    "AutoShape": "model",
    "autoShape": "model",
    "DetectMultiBackend": "model",
    "AveragedModel": "module",
}
#: Modules whose every class is inert here: their records are read or left alone. The last three
#: lines are what training scripts keep beside a model: options and states.
_INERT_MODULES = (
    "torch.nn.modules.", "torch.nn.parallel.", "torch.optim.", "pathlib.",
    "torch.amp.", "torch.cuda.amp.", "torch.torch_version.", "numpy.random.", "datetime.",
    "decimal.", "fractions.", "uuid.", "enum.",
    "easydict.", "omegaconf.", "yacs.config.", "addict.", "munch.", "box.", "ruamel.yaml.",
)  # fmt: skip
#: A function of YOLOv5's own repository: DetectMultiBackend keeps some in its state.
_REPOSITORY_FUNCTION = re.compile(r"(models\.\w+\.[a-z]\w*|utils\.[\w.]+)")
_BUILTINS = ("set", "dict", "list", "tuple", "int", "float", "str", "bool", "slice", "getattr")
#: Every other global that a YOLOv5 detection checkpoint may name, those of `TENSOR_GLOBALS` aside.
_ALLOWED = TENSOR_GLOBALS | ARRAY_GLOBALS | {
    Global(module, name)
    for module, names in {
        "models.yolo": (*_MODELS, "Detect"),
        "models.common": (
            *KINDS, "Classes", "AutoShape", "autoShape", "DetectMultiBackend", "C3TR",
            "TransformerBlock", "TransformerLayer", "CrossConv", "Swish",
        ),
        "utils.activations": ("SiLU", "Swish", "MemoryEfficientSwish", "Hardswish", "Mish",
                              "MemoryEfficientMish", "FReLU", "AconC", "MetaAconC"),
        "models.experimental": ("CrossConv", "GhostConv", "GhostBottleneck", "C3Ghost",
                                "MixConv2d"),
        "torch.nn.utils.prune": ("L1Unstructured", "RandomUnstructured", "LnStructured",
                                 "RandomStructured", "CustomFromMask", "Identity",
                                 "PruningContainer", "BasePruningMethod"),
        "torch._dynamo.eval_frame": ("OptimizedModule",),
        "torch": ("Size", "device", "float16", "float32", "float64", "int64"),
        "torch._utils": ("_rebuild_parameter_with_state",),
        "collections": ("OrderedDict", "defaultdict", "Counter", "UserDict", "UserList",
                        "ChainMap", "deque"),
        "UserDict": ("IterableUserDict", "UserDict"),  # the names of Python 2, by protocol 2
        "UserList": ("UserList",),
        "__builtin__": _BUILTINS,
        "builtins": _BUILTINS,
        "_codecs": ("encode",),
        "copyreg": ("_reconstructor",),
        "numpy": ("dtype", "ndarray", "str_", "float64", "int64"),
        "numpy.core.multiarray": ("scalar", "_reconstruct"),
        "numpy._core.multiarray": ("scalar", "_reconstruct"),
        "argparse": ("Namespace",),
        "utils.torch_utils": ("ModelEMA",),
        "pathlib": ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path"),
        "types": ("SimpleNamespace",),
    }.items()
    for name in names
}  # fmt: skip

_EXPECTED = "a YOLOv5 detection checkpoint"
_OF_DETECTION = f"{_EXPECTED}, as yolov5n.pt is beside yolov5n-seg.pt and yolov5n-cls.pt"
_OF_YOLOV5 = f"{_EXPECTED}: yolov5n.pt to yolov5x.pt, or one trained by yolo-train fit"
_AGAIN = f"{_EXPECTED}; of a file that you trust, save model.state_dict() with PyTorch"

#: Module and name prefix of a global → what the file is, for files that are known and unsupported.
_UNSUPPORTED = (
    ("models.yolo", "Segment", "a YOLOv5 segmentation checkpoint"),
    ("models.common", "Proto", "a YOLOv5 segmentation checkpoint"),
    ("models.yolo", "Classif", "a YOLOv5 classification checkpoint"),
    ("models.common", "Classify", "a YOLOv5 classification checkpoint"),
    ("models.yolo", "IDetect", "a YOLOv7 checkpoint"),
    ("models.yolo", "IAuxDetect", "a YOLOv7 checkpoint"),
    ("models.yolo", "IKeypoint", "a YOLOv7 checkpoint"),
    ("models.common", "MP", "a YOLOv7 checkpoint"),
    ("models.common", "ReOrg", "a YOLOv7 checkpoint"),
    ("models.common", "RepConv", "a YOLOv7 checkpoint"),
    ("models.common", "RepNCSP", "a YOLOv9 checkpoint"),
    ("models.common", "Silence", "a YOLOv9 checkpoint"),
    ("models.common", "SPPCSPC", "a YOLOv7 checkpoint"),
    ("models.yolo", "DualDDetect", "a YOLOv9 checkpoint"),
    ("models.", "", "a YOLOv5 variant with other layers"),
    ("ultralytics.nn.", "RTDETR", "an RT-DETR checkpoint, a transformer without anchors"),
    ("ultralytics.nn.", "YOLOv10", "a YOLOv10 checkpoint"),
    ("ultralytics.nn.", "World", "a YOLO-World checkpoint"),
    ("super_gradients.", "", "a checkpoint of super_gradients (YOLO-NAS)"),
    ("ultralytics.", "", "a checkpoint of the ultralytics package, without anchors (YOLOv5u, "
     "YOLOv8 or later)"),
    ("yolov6.", "", "a YOLOv6 checkpoint"),
    ("yolox.", "", "a YOLOX checkpoint"),
    ("torch.jit", "", "a TorchScript module"),
    ("__torch__", "", "a TorchScript module"),
)  # fmt: skip

#: Module prefix of a global → what is done to the model's weights, and the remedy.
_REWRITTEN = (
    (("torch.ao.", "torch.quantization", "torch.nn.quantized", "torch.nn.qat"),
     "is a model that PyTorch's quantization has changed", "the float model of before that"),
    (("torch.nn.utils.spectral_norm",), "has weights under spectral_norm",
     "plain weights: torch.nn.utils.remove_spectral_norm, then save again"),
    (("torch.nn.utils.weight_norm",), "has weights under weight_norm",
     "plain weights: torch.nn.utils.remove_weight_norm, then save again"),
    (("torch._dynamo", "torch._inductor"), "is a model under torch.compile",
     "the model itself: torch.save(model._orig_mod, FILE)"),
    (("torch._utils",), "has tensors that are sparse, quantized or without content",
     "dense ones: {name: each.to_dense() for name, each in model.state_dict().items()}"),
    (("torch.nn.utils.parametriz",), "has weights that are parametrized",
     "plain weights: torch.nn.utils.parametrize.remove_parametrizations, then save again"),
)  # fmt: skip

_MAX_TENSORS = 8000
_MAX_NAME = 200


def read_torch(path: Path) -> SourceModel:
    """The model in a `.pt` file. No code of the file runs and PyTorch is not needed.

    InputError for a container that PyTorch would not write, a global that is not on the list,
    another family or task, and tensors that disagree with their storages.
    """
    with open(path, "rb") as stream:
        legacy = stream.read(len(MAGIC)) == MAGIC
    archive = (LegacyFile if legacy else TorchArchive)(path, _admission(path))
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
    """Allows the names of a file that are on the list, and refuses the others by name."""

    def admit(reference: Global) -> bool:
        if reference.module.startswith("yolov5."):  # the package of the same repository
            reference = Global(reference.module[len("yolov5.") :], reference.name)
        if reference in _ALLOWED or f"{reference.module}.".startswith(_INERT_MODULES):
            return True
        if _REPOSITORY_FUNCTION.fullmatch(str(reference)):
            return False
        for module, name, what in _UNSUPPORTED:
            if reference.module.startswith(module) and reference.name.startswith(name):
                own = "YOLOv5 segm" in what or "YOLOv5 class" in what
                expected = _OF_DETECTION if own else _OF_YOLOV5
                raise InputError(path, f"is {what} (it names {reference})", expected)
        for modules, what, expected in _REWRITTEN:
            if reference.module.startswith(modules):
                raise InputError(path, f"{what} (it names {reference})", expected)
        raise InputError(
            path, f"asks for the global {reference}, which is not on the allow-list", _AGAIN
        )

    return admit


def _interpret(archive: TorchFile) -> SourceModel:
    content = archive.content
    if isinstance(content, Record) and content.function.name == "UserList":
        content = (mapping(content.state) or {}).get("data")
    if isinstance(content, (list, tuple)):
        content = content[0] if len(content) == 1 else _from_pairs(content)
    model = _model(content)
    if model is not None:
        return _whole_model(archive, model, {})
    top = mapping(content)
    if top is None:
        raise InputError(archive.path, "holds neither a model nor a dictionary", _EXPECTED)
    notes: dict[str, object] = {
        key: top[key]
        for key in ("epoch", "date")
        if isinstance(top.get(key), (int, str)) and top[key] != -1
    }
    notes.update(_training_size(top.get("opt")))

    def hold(place: Mapping[Any, Any]) -> SourceModel | None:
        found = _held(archive, place, notes)
        if found is not None:
            return found
        if place is top and any(archive.is_tensor(each) for each in place.values()):
            return _state_dict(archive, place, {}, place)
        if _has_weights(archive, place):
            return _state_dict(archive, place, notes, top)
        models = [model for each in place.values() if (model := _model(each)) is not None]
        return _whole_model(archive, models[0], notes) if len(models) == 1 else None

    found = find(top, hold, mapping, archive.path)
    if found is not None:
        return found
    raise InputError(
        archive.path, f"holds no model among {', '.join(map(str, list(top)[:8]))[:80]}",
        f"{_EXPECTED} with one of {', '.join(HOLDERS)}",
    )  # fmt: skip


def _from_pairs(content: Sequence[Any]) -> Any:
    """A list of names and tensors, as `list(state_dict.items())` is one, as the dictionary."""
    pairs = [each for each in content if isinstance(each, (tuple, list)) and len(each) == 2]
    named = len(pairs) == len(content) and all(isinstance(name, str) for name, _ in pairs)
    return {name: value for name, value in pairs} if named else content  # noqa: C416 - lists too


def _has_weights(archive: TorchFile, place: Mapping[Any, Any]) -> bool:
    """Whether a dictionary is a state dict, and not one of the tensors of a training."""
    return any(
        isinstance(name, str) and name.endswith(".weight") and archive.is_tensor(each)
        for name, each in place.items()
    )


def _held(
    archive: TorchFile, place: Mapping[Any, Any], notes: Mapping[str, object]
) -> SourceModel | None:
    """The model or state dict under one of the usual keys of a dictionary."""
    for key in HOLDERS:
        model = _model(place.get(key))
        if model is not None:
            return _whole_model(archive, model, {**notes, "weights": key})
        inner = mapping(place.get(key))
        if inner is not None and any(archive.is_tensor(each) for each in inner.values()):
            return _state_dict(archive, inner, {**notes, "weights": key}, place)
    return None


def _training_size(options: Any) -> dict[str, object]:
    """The note `imgsz` from the options that YOLOv5's trainer saves since v7.0."""
    size = (mapping(options) or {}).get("imgsz")
    return {"imgsz": size} if type(size) is int and size in range(32, 8193, 32) else {}


def _model(value: Any) -> Record | None:
    """The value, when it is a pickled YOLOv5 model with its state, wrapped or not."""
    for _ in range(len(_WRAPPERS)):
        if not isinstance(value, Record) or not isinstance(value.state, dict):
            return None
        if value.function.name in _MODELS and value.function.module.endswith("models.yolo"):
            return value
        children = mapping(value.state.get("_modules")) or {}
        if value.function.name == "Sequential" and _are_layers(children):
            # The layers alone, saved as model.model.
            return Record(Global("models.yolo", _MODELS[0]), (), {"_modules": {"model": value}})
        if value.function.name == "ModelEMA":
            value = value.state.get("ema")
        elif value.function.name == "Sequential" and len(children) == 1:
            value = next(iter(children.values()))
        else:
            value = children.get(_WRAPPERS.get(value.function.name))
    return None


def _are_layers(children: Mapping[Any, Any]) -> bool:
    """Whether modules are YOLOv5's layers, each of which knows its place and its sources."""
    return len(children) > 1 and all(
        isinstance(each, Record) and isinstance(each.state, dict) and {"i", "f"} <= set(each.state)
        for each in children.values()
    )


def _whole_model(archive: TorchFile, model: Record, notes: Mapping[str, object]) -> SourceModel:
    tree = ModuleTree(model, archive.path)
    _refuse_kinds(tree, archive.path)
    structure = tree.structure()
    read = _read(archive, tree.tensors())
    for name, neutral in tree.absent().items():
        spread = read.get(f"{name.rpartition('.')[0]}.running_var")
        if spread is not None:
            read[name] = np.full_like(spread, neutral)
    arrays, epsilon = _of_one_epsilon(read, tree.epsilons())
    tensors, anchors = tidy(arrays, archive.path)
    joined = tree.joined()
    apart = {stem: word for stem, word in structure.activations.items() if stem not in joined}
    together = {stem: word for stem, word in structure.activations.items() if stem in joined}
    names, fault = None, None
    try:
        names = checked_names(plain(model.state.get("names")), archive.path)
    except InputError as error:
        fault = error
    return SourceModel(
        path=archive.path,
        form="PyTorch model",
        tensors=tensors,
        names=names,
        names_fault=fault,
        grid_anchors=anchors,
        activation=usual_activation(apart),
        csp_activation=usual_activation(together),
        epsilon=epsilon,
        description=_yaml(model.state.get("yaml") or model.state.get("md")),
        structure=structure,
        notes=notes,
    )


def _of_one_epsilon(
    tensors: Mapping[str, Array], epsilons: Mapping[str, float]
) -> tuple[dict[str, Array], float]:
    """The same network with the epsilon that most of its normalisations have, and that epsilon."""
    found = dict(tensors)
    counted = Counter(epsilons.values())
    usual = counted.most_common(1)[0][0] if counted else BATCH_NORM_EPSILON
    for name, epsilon in epsilons.items():
        gamma, variance = found.get(f"{name}.weight"), found.get(f"{name}.running_var")
        if epsilon == usual or gamma is None or variance is None:
            continue
        if gamma.shape == variance.shape:
            found[f"{name}.weight"] = for_epsilon(gamma, variance, epsilon, usual)
    return found, usual


def _yaml(value: Any) -> dict[str, Any] | None:
    """The description that a model was built from, as plain data; None where there is none."""
    found = mapping(value)
    if found is None or "backbone" not in found or "head" not in found:
        return None
    return {str(key): plain(each) for key, each in found.items() if key not in ("names", "ch")}


def _refuse_kinds(tree: ModuleTree, path: str) -> None:
    """Name the kinds of layers that integers cannot follow, before anything else is said."""
    for _, module in tree.modules:
        kind = module.function.name
        if kind == "ZeroPad2d":
            raise InputError(path, f"is a YOLOv3-tiny (it has a layer {kind})", _OF_YOLOV5)
        if kind in UNSUPPORTED:
            expected = "a model without it; yolo-train fit --cfg MODEL.yaml trains one"
            raise InputError(path, f"has a layer {kind}: {UNSUPPORTED[kind]}", expected)


def _read(archive: TorchFile, records: Mapping[str, Any]) -> dict[str, Array]:
    if len(records) > _MAX_TENSORS:
        raise InputError(archive.path, f"has {len(records)} tensors", f"at most {_MAX_TENSORS}")
    for name in records:
        if len(name) > _MAX_NAME:
            raise InputError(archive.path, f"has a tensor name of {len(name)} characters",
                             f"at most {_MAX_NAME}")  # fmt: skip
    return {name: archive.tensor(value, name) for name, value in records.items()}


def _state_dict(
    archive: TorchFile, values: Mapping[Any, Any], notes: Mapping[str, object],
    beside: Mapping[Any, Any],
) -> SourceModel:  # fmt: skip
    """beside: the dictionary that the state dict lies in, which may hold names or a yaml."""
    records = {
        name: value
        for name, value in values.items()
        if isinstance(name, str) and archive.is_tensor(value)
    }
    tensors, anchors = tidy(_read(archive, records), archive.path)
    text = _description(archive.content)
    form = "PyTorch state dict"
    if text is not None:
        described = understand(text, archive.path)
        return SourceModel(archive.path, form, tensors, **described)
    opt, hyp = mapping(beside.get("opt")) or {}, mapping(beside.get("hyp")) or {}
    yamls = [mapping(place.get("yaml")) or {} for place in (beside, opt, hyp)]
    # Among options, "classes" may be a choice of some: only their "names" count.
    stated = [{"names": place.get("names")} for place in (opt, hyp)]
    places = [beside, mapping(beside.get("meta")) or {}, *stated, *yamls]
    return SourceModel(
        archive.path, form, tensors, grid_anchors=anchors, notes=notes,
        description=next(filter(None, map(_yaml, yamls)), None),
        **names_beside(places, archive.path),
    )  # fmt: skip


def _description(content: Any) -> str | None:
    """The text that our own writer leaves as an attribute of the dictionary."""
    state = content.state if isinstance(content, Record) else None
    text = state.get(KEY) if isinstance(state, dict) else None
    return text if isinstance(text, str) else None
