"""Files as other programs write them, made here: checkpoints of YOLOv5 without PyTorch.

Python's own pickler writes them, over stand-ins for PyTorch's and YOLOv5's classes, so the
opcodes, memos and reductions are those of real files. Nothing here ever unpickles.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.mxnet.params import encode_params
from yolo_core.yolo.architecture import Architecture, Layer

_STORAGES = {"float16": "HalfStorage", "float32": "FloatStorage", "float64": "DoubleStorage",
             "int64": "LongStorage"}  # fmt: skip


def random_checkpoint(
    size: str = "n", nc: int = 3, seed: int = 0, activation: str = "silu", **fields: Any
) -> Checkpoint:
    """Random weights that float16 holds exactly, tame enough for the network to stay finite."""
    architecture = Architecture.named(size, nc, activation=activation)
    random = np.random.default_rng(seed)
    parameters = {}
    for name, shape in architecture.parameter_shapes(fused=False).items():
        values = random.random(shape, np.float32)
        if name.endswith((".gamma", ".running_var")):
            values = values + np.float32(0.5)
        else:
            fan = int(np.prod(shape[1:])) if len(shape) == 4 else 4
            values = (values - np.float32(0.5)) * np.float32(4 / fan**0.5)
        parameters[name] = values.astype(np.float16).astype(np.float32)
    return Checkpoint(architecture, parameters, False, **fields)


def same(left: Checkpoint, right: Checkpoint) -> bool:
    """Same architecture, form and colour, and the same bits in every parameter."""
    return (
        left.architecture == right.architecture
        and (left.fused, left.color) == (right.fused, right.color)
        and list(left.parameters) == list(right.parameters)
        and all(np.array_equal(left.parameters[n], right.parameters[n]) for n in left.parameters)
    )


def adds_its_input(architecture: Architecture, layer: Layer) -> bool:
    """Whether the bottlenecks of a C3 add their input."""
    return architecture.layout[layer.index].arguments[1:] != (False,)


# Stand-ins for the classes that a `.pt` names.


class _Storage:
    def __init__(self, array: Array) -> None:
        self.array = array


class _Tensor:
    def __init__(self, array: Array) -> None:
        self.array = array

    def __reduce__(self) -> tuple[Any, ...]:
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        rebuild = stand_in("torch._utils", "_rebuild_tensor_v2")
        return rebuild, (_Storage(self.array), 0, self.array.shape, strides, False, OrderedDict())


class _Parameter(_Tensor):
    def __reduce__(self) -> tuple[Any, ...]:
        rebuild = stand_in("torch._utils", "_rebuild_parameter")
        return rebuild, (_Tensor(self.array), True, OrderedDict())


_known: dict[tuple[str, str], Any] = {}


def stand_in(module: str, name: str) -> Any:
    """A function for lower-case names, a class for others, that pickles by this name."""
    key = (module, name)
    if key not in _known:
        if name.startswith("_") or name.islower():
            made: Any = types.FunctionType((lambda: None).__code__, {}, name)
            made.__qualname__ = name
        else:
            made = type(name, (), {})
        made.__module__ = module
        _known[key] = made
    return _known[key]


def module(kind: str, children: dict[str, Any] | None = None, **settings: Any) -> Any:
    """An instance of a stand-in, `package.Class`, with child modules and settings."""
    package, _, name = kind.rpartition(".")
    made = stand_in(package, name)()
    tensors = {key: value for key, value in settings.items() if isinstance(value, _Tensor)}
    made.__dict__.update(
        training=False,
        _parameters=OrderedDict(
            (key, value) for key, value in tensors.items() if isinstance(value, _Parameter)
        ),
        _buffers=OrderedDict(
            (key, value) for key, value in tensors.items() if not isinstance(value, _Parameter)
        ),
        _non_persistent_buffers_set=set(),
        _forward_hooks=OrderedDict(),
        _modules=OrderedDict(children or {}),
        **{key: value for key, value in settings.items() if key not in tensors},
    )
    return made


def dump_pickle(value: Any, protocol: int = 2) -> tuple[bytes, list[Array]]:
    """The pickle of a tree of stand-ins, and the storages that it refers to."""
    storages: list[Array] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, found: Any) -> Any:
            if not isinstance(found, _Storage):
                return None
            known = [key for key, array in enumerate(storages) if array is found.array]
            key = known[0] if known else len(storages)
            if not known:
                storages.append(found.array)
            kind = stand_in("torch", _STORAGES[found.array.dtype.name])
            return "storage", kind, str(key), "cpu", found.array.size

    # Stand-ins are made as they are met; each pass gets further, until all have their module.
    while True:
        known, stream = len(_known), io.BytesIO()
        storages.clear()
        try:
            with _importable():
                Pickler(stream, protocol).dump(value)
            return stream.getvalue(), storages
        except (pickle.PicklingError, ImportError):
            if len(_known) == known:
                raise


@contextlib.contextmanager
def _importable() -> Any:
    """The stand-ins in `sys.modules`, where the pickler looks whether a name leads back."""
    modules: dict[str, types.ModuleType] = {}
    for (package, name), made in _known.items():
        parts = package.split(".")
        for end in range(1, len(parts) + 1):
            path = ".".join(parts[:end])
            modules.setdefault(path, types.ModuleType(path))
        setattr(modules[package], name, made)
    with mock.patch.dict(sys.modules, modules):
        yield


def write_archive(
    path: Path,
    data: bytes,
    storages: list[Array],
    extra: dict[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A zip as `torch.save` lays it out."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        for key, array in enumerate(storages):
            archive.writestr(f"archive/data/{key}", array.tobytes())
        for name, content in (extra or {}).items():
            archive.writestr(f"archive/{name}", content)
        archive.writestr("archive/version", b"3\n")
    return path


def write_pt(path: Path, value: Any, **options: Any) -> Path:
    """Pickle a tree of stand-ins into a `.pt`."""
    return write_archive(path, *dump_pickle(value), **options)


def ultralytics_model(
    checkpoint: Checkpoint, dtype: str = "float16", kind: str = "models.yolo.DetectionModel"
) -> Any:
    """The tree of modules that YOLOv5 pickles, with a checkpoint's values."""
    architecture, parameters = checkpoint.architecture, checkpoint.parameters
    convolutions = {conv.name: conv for conv in architecture.convolutions()}
    acts = {"silu": "SiLU", "leaky": "LeakyReLU", "relu": "ReLU"}
    slope: dict[str, Any] = {"negative_slope": 0.1} if architecture.activation == "leaky" else {}
    activation = module(
        f"torch.nn.modules.activation.{acts[architecture.activation]}", inplace=True, **slope
    )

    def tensor(name: str, made: type[_Tensor] = _Parameter) -> _Tensor:
        return made(parameters[name].astype(dtype))

    def convolution(name: str) -> Any:
        conv = convolutions[name]
        bias: dict[str, Any] = (
            {"bias": tensor(f"{name}.bias")} if f"{name}.bias" in parameters else {}
        )
        return module(
            "torch.nn.modules.conv.Conv2d", weight=tensor(f"{name}.weight"), **bias,
            in_channels=conv.in_channels, out_channels=conv.out_channels,
            kernel_size=conv.kernel, stride=(conv.stride, conv.stride),
            padding=conv.padding, dilation=(1, 1), groups=1, padding_mode="zeros",
        )  # fmt: skip

    def block(stem: str) -> Any:
        statistics = module(
            "torch.nn.modules.batchnorm.BatchNorm2d", weight=tensor(f"{stem}.bn.gamma"),
            bias=tensor(f"{stem}.bn.beta"), running_mean=tensor(f"{stem}.bn.running_mean", _Tensor),
            running_var=tensor(f"{stem}.bn.running_var", _Tensor),
            num_batches_tracked=_Tensor(np.array(7, np.int64)), eps=0.001, momentum=0.03,
        )  # fmt: skip
        children = {"conv": convolution(f"{stem}.conv"), "bn": statistics, "act": activation}
        return module("models.common.Conv", children)

    def pool(side: int) -> Any:
        return module("torch.nn.modules.pooling.MaxPool2d", kernel_size=side, stride=1,
                      padding=side // 2, dilation=1)  # fmt: skip

    layers = {}
    for layer in architecture.layers():
        stem = f"model.{layer.index}"
        if layer.kind == "Conv":
            made = block(stem)
        elif layer.kind == "C3":
            chain = {
                str(repeat): module(
                    "models.common.Bottleneck",
                    {cv: block(f"{stem}.m.{repeat}.{cv}") for cv in ("cv1", "cv2")},
                    add=adds_its_input(architecture, layer),
                )
                for repeat in range(layer.repeats)
            }
            children = {cv: block(f"{stem}.{cv}") for cv in ("cv1", "cv2", "cv3")}
            children["m"] = module("torch.nn.modules.container.Sequential", chain)
            made = module("models.common.C3", children)
        elif layer.kind == "SPPF":
            children = {cv: block(f"{stem}.{cv}") for cv in ("cv1", "cv2")}
            made = module("models.common.SPPF", {**children, "m": pool(5)})
        elif layer.kind == "Upsample":
            made = module("torch.nn.modules.upsampling.Upsample", scale_factor=2.0, mode="nearest")
        elif layer.kind == "Concat":
            made = module("models.common.Concat", d=1)
        else:
            heads = {str(level): convolution(f"{stem}.m.{level}") for level in range(3)}
            strides = np.array(architecture.strides).reshape(3, 1, 1)
            made = module(
                "models.yolo.Detect",
                {"m": module("torch.nn.modules.container.ModuleList", heads)},
                anchors=_Tensor((np.array(architecture.anchors) / strides).astype(dtype)),
                nc=architecture.nc, no=architecture.no, nl=3, na=3,
            )  # fmt: skip
        relative = [-1 if source == layer.index - 1 else source for source in layer.sources]
        made.__dict__.update(i=layer.index, f=relative[0] if len(relative) == 1 else relative)
        layers[str(layer.index)] = made
    return module(
        kind,
        {"model": module("torch.nn.modules.container.Sequential", layers)},
        names=dict(enumerate(architecture.names)),
        yaml={"nc": architecture.nc},
        hyp={"lr0": 0.01},
    )


def training_checkpoint(model: Any, ema: Any = None) -> dict[str, Any]:
    """What YOLOv5's trainer saves around a model."""
    return {
        "epoch": 3, "best_fitness": 0.5, "model": model, "ema": ema, "updates": 10,
        "optimizer": None, "opt": {"imgsz": 640, "device": ""}, "date": "2023-01-01T00:00:00",
    }  # fmt: skip


def empty_tensor() -> Any:
    """What a detection head keeps as its grid before it has run."""
    return _Tensor(np.zeros(0, np.float32))


def state_dict(checkpoint: Checkpoint, dtype: str = "float32") -> OrderedDict[str, Any]:
    """An Ultralytics state dict of stand-in tensors, as `torch.save` meets it."""
    words = {"gamma": "weight", "beta": "bias"}
    found = OrderedDict()
    for name, array in checkpoint.parameters.items():
        stem, _, part = name.rpartition(".")
        if stem.endswith(".bn"):
            part = words.get(part, part)
        found[f"{stem}.{part}"] = _Tensor(array.astype(dtype))
    strides = np.array(checkpoint.architecture.strides).reshape(3, 1, 1)
    anchors = np.array(checkpoint.architecture.anchors) / strides
    found["model.24.anchors"] = _Tensor(anchors.astype(dtype))
    return found


def arrays(checkpoint: Checkpoint) -> dict[str, Array]:
    """The same as plain arrays, for NumPy's formats."""
    return {name: tensor.array for name, tensor in state_dict(checkpoint).items()}


# The original MXNet port.


def write_original(target: Path, checkpoint: Checkpoint, epsilon: str = "1e-05") -> Path:
    """`<target>-symbol.json` and `-0000.params` as the original port names and orders them."""
    architecture, values = checkpoint.architecture, checkpoint.parameters
    created = sorted(
        architecture.convolutions(),
        key=lambda conv: [(int(p), "") if p.isdigit() else (-1, p) for p in conv.name.split(".")],
    )
    number = {conv.name: 2 * index + 1 for index, conv in enumerate(created)}
    normal = {conv.name: index for index, conv in enumerate(c for c in created if c.batch_norm)}
    known = {conv.name: conv for conv in created}
    nodes: list[dict[str, Any]] = []
    params: dict[str, Array] = {}

    def node(op: str, name: str, inputs: list[int], **attributes: str) -> int:
        nodes.append({"op": op, "name": name, "attrs": attributes,
                      "inputs": [[each, 0, 0] for each in inputs]})  # fmt: skip
        return len(nodes) - 1

    def variable(prefix: str, name: str, array: Array) -> int:
        params[f"{prefix}:{name}"] = array
        return node("null", name, [])

    def convolve(name: str, x: int) -> int:
        conv, label = known[name], f"conv{number[name]}"
        inputs = [x, variable("arg", f"{label}_weight", values[f"{name}.weight"])]
        if conv.batch_norm is None:
            inputs.append(variable("arg", f"{label}_bias", values[f"{name}.bias"]))
        sides = {
            "kernel": conv.kernel[0], "stride": conv.stride, "pad": conv.padding[0], "dilate": 1,
        }  # fmt: skip
        attributes = {key: f"({side}, {side})" for key, side in sides.items()}
        no_bias = str(conv.batch_norm is not None)
        return node("Convolution", f"{label}_fwd", inputs, **attributes, no_bias=no_bias)

    def block(stem: str, x: int) -> int:
        label = f"batchnorm{normal[f'{stem}.conv']}"
        inputs = [convolve(f"{stem}.conv", x)]
        for part in ("gamma", "beta", "running_mean", "running_var"):
            prefix = "aux" if part.startswith("running") else "arg"
            inputs.append(variable(prefix, f"{label}_{part}", values[f"{stem}.bn.{part}"]))
        y = node("BatchNorm", f"{label}_fwd", inputs, axis="1", eps=epsilon, fix_gamma="False")
        gate = node("Activation", f"{label}_sigmoid", [y], act_type="sigmoid")
        return node("elemwise_mul", f"{label}_mul", [y, gate])

    outputs, heads = {-1: node("null", "data", [])}, []
    for layer in architecture.layers():
        stem, sources = f"model.{layer.index}", [outputs[source] for source in layer.sources]
        x = sources[0]
        if layer.kind == "Conv":
            y = block(stem, x)
        elif layer.kind == "Concat":
            y = node("Concat", stem, sources, dim="1", num_args="2")
        elif layer.kind == "Upsample":
            rows = node("repeat", f"{stem}a", [x], axis="2", repeats="2")
            y = node("repeat", f"{stem}b", [rows], axis="3", repeats="2")
        elif layer.kind == "SPPF":
            stages = [block(f"{stem}.cv1", x)]
            for stage in range(3):
                stages.append(node("Pooling", f"{stem}p{stage}", [stages[-1]], kernel="(5, 5)",
                                   stride="(1, 1)", pad="(2, 2)", pool_type="max"))  # fmt: skip
            y = block(f"{stem}.cv2", node("Concat", f"{stem}c", stages, dim="1", num_args="4"))
        elif layer.kind == "Detect":
            heads = [convolve(f"{stem}.m.{level}", each) for level, each in enumerate(sources)]
            y = x
        else:
            y = block(f"{stem}.cv1", x)
            for repeat in range(layer.repeats):
                name = f"{stem}.m.{repeat}"
                inner = block(f"{name}.cv2", block(f"{name}.cv1", y))
                adds = adds_its_input(architecture, layer)
                y = node("elemwise_add", f"{name}+", [y, inner]) if adds else inner
            joined = [y, block(f"{stem}.cv2", x)]
            y = block(f"{stem}.cv3", node("Concat", f"{stem}c", joined, dim="1", num_args="2"))
        outputs[layer.index] = y
    symbol = {"nodes": nodes, "heads": [[head, 0, 0] for head in heads]}
    target.with_name(f"{target.name}-symbol.json").write_text(json.dumps(symbol))
    target.with_name(f"{target.name}-0000.params").write_bytes(encode_params(params))
    return target
