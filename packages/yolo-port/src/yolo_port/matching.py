"""From a source's tensors to a checkpoint: find which YOLOv5 it is, and hold it to every shape.

The architecture comes from the file's own description, or from what the user says, or, for bare
tensors, from the layout whose tensors these are. Everything must then be exactly what the
architecture says. What neither file nor user says is taken as YOLOv5 has it, and is written down
in the checkpoint's notes under `assumed`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.mxnet.fusing import fuse
from yolo_core.yolo.anchors import COCO_ANCHORS, Anchors
from yolo_core.yolo.architecture import BATCH_NORM_EPSILON, STRIDES, Architecture
from yolo_core.yolo.layout import Row, check_channels
from yolo_core.yolo.plan import LayoutError
from yolo_port.graph import written_out
from yolo_port.layouts import fitted, seen
from yolo_port.release_1 import as_release_2
from yolo_port.source import Answers, SourceModel, Structure, for_epsilon
from yolo_port.state_dict import to_parameters

#: The note of a checkpoint that lists what was taken for granted.
ASSUMED = "assumed"
_HEAD = re.compile(r"model\.\d+\.m\.(\d+)\.weight")
_EXPECTED = "a YOLOv5 detection model, or its description: --cfg MODEL.yaml"
_OTHER = "a YOLOv5 detection model: yolov5n.pt to yolov5x.pt, or one trained by yolo-train fit"
#: Beginning of a tensor's name → what has such a tensor, for models that are known and unsupported.
_UNSUPPORTED = tuple(
    (re.compile(pattern), what)
    for pattern, what in (
        (r"model\.\d+\.proto\.", "a YOLOv5 segmentation model"),
        (r"model\.\d+\.linear\.", "a YOLOv5 classification model"),
        (r"(backbone\.stem|neck\.neck\d|heads\.head\d)\.(conv\.branch_|cls_|reg_|\w+\.branch_)",
         "a YOLO-NAS"),
        (r"(model\.\d+\.|decoder\.)(decoder\.|enc_score_head|dec_bbox_head)", "an RT-DETR"),
        (r"(backbone|neck|detect)\.(stem|ERBlock_\d|Rep_|cls_convs)", "a YOLOv6"),
        (r"model\.\d+\.(i[am]\.\d|rbr_\w+|\w+\.rbr_\w+)\.", "a YOLOv7"),
        (r"model\.24\.dfl\.", "a YOLOv5u of the ultralytics package, which has no anchors"),
        (r"model\.\d+\.dfl\.", "a YOLOv8 or later"),
        (r"backbone\.backbone\.", "a YOLOX"),
        (r"module_list\.", "a Darknet module list, as pruning tools rewrite YOLOv3 and YOLOv5"),
        (r"(model\.\d+\.)?m\.\d+\.tr\.|model\.\d+\.m\.tr\.", "a YOLOv5 with transformer layers "
         "(C3TR), whose attention has no integer form"),
    )
)  # fmt: skip
#: Pools of an SPP that does not say.
_POOLS = (5, 9, 13)
_YOLOV3 = re.compile(r"model\.28\.m\.\d+\.weight")
_YOLOV3_TINY = re.compile(r"model\.20\.m\.[01]\.weight")


def match(model: SourceModel, answers: Answers | None = None) -> Checkpoint:
    """The checkpoint that a source model is; float32, fused only if the source already is.

    answers: what the user says. InputError, naming the tensor, for tensors that fit no layout,
    missing or surplus ones, other shapes, values that are not finite, and layers wired in another
    way than the description says.
    """
    answers = answers or Answers()
    model = _with_affine_parts(as_release_2(model))
    if model.names_fault is not None and answers.names is None:
        raise model.names_fault
    if answers.names is None and not all(name.isprintable() for name in model.names or ()):
        raise InputError(model.path, "has class names with control characters", "printable text")
    if not json.dumps(model.notes, ensure_ascii=False, default=str).isprintable():
        raise InputError(model.path, "has notes that are not Unicode text", "printable text")
    architecture, assumed = _architecture(model, answers)
    parameters = to_parameters(model.tensors, architecture, model.usable_epsilon, model.path)
    fused = not any(".bn." in name for name in parameters)
    shapes = architecture.parameter_shapes(fused)
    for name in parameters:
        if name not in shapes:
            cause = f"has {name}, which {architecture.model_name} does not have"
            raise InputError(model.path, cause, _EXPECTED)
    found: dict[str, Array] = {}
    for name, shape in shapes.items():
        if name not in parameters:
            raise InputError(model.path, f"lacks {name} of {architecture.model_name}", _EXPECTED)
        found[name] = _checked(parameters[name], name, shape, model.path)
    if model.structure is not None:
        _check_structure(model.structure, architecture, model.path)
        others = _other_activations(model.structure, architecture)
        if others:
            described = written_out(architecture, found, others, model.path)
            architecture, tensors = described.architecture, described.tensors
            found = {name: tensors[name] for name in architecture.parameter_shapes(fused)}
    if not fused and model.usable_epsilon != BATCH_NORM_EPSILON:
        found = _with_our_epsilon(found, model.usable_epsilon)
    notes = dict(model.notes)
    if assumed:
        notes[ASSUMED] = list(assumed)
    return Checkpoint(architecture, found, fused, model.color, notes)


def fused(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with batch normalisation folded into its convolutions."""
    if checkpoint.fused:
        return checkpoint
    return replace(
        checkpoint, parameters=fuse(checkpoint.parameters, checkpoint.architecture), fused=True
    )


def assumptions(checkpoint: Checkpoint) -> tuple[str, ...]:
    """What was taken for granted when a checkpoint was read, in words."""
    found = checkpoint.meta.get(ASSUMED, ())
    return tuple(map(str, found)) if isinstance(found, (list, tuple)) else (str(found),)


def _architecture(model: SourceModel, answers: Answers) -> tuple[Architecture, tuple[str, ...]]:
    """The architecture, and what had to be assumed for it."""
    assumed = list(model.assumed)
    if model.architecture is not None:
        found = _with_answers(model.architecture, answers, model.path)
    else:
        found = _from_tensors(model, answers, assumed)
    activation = answers.activation or model.activation
    if activation is None:
        assumed.append(f"activation {found.activation} (--activation says another)")
    if model.epsilon is None and any(name.endswith(".running_var") for name in model.tensors):
        assumed.append(f"epsilon {BATCH_NORM_EPSILON:g} of batch normalisation")
    if answers.names is None and model.names is None:
        assumed.append(f"class names {_shown(found.names)} (--names DATA.yaml says others)")
    return found, tuple(assumed)


def _shown(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _with_answers(found: Architecture, answers: Answers, path: str) -> Architecture:
    if answers.names is not None:
        if len(answers.names) != found.nc:
            raise InputError("--names", f"has {len(answers.names)} class names",
                             f"{found.nc}, the classes of {path}")  # fmt: skip
        found = replace(found, names=answers.names)
    if answers.activation is not None and answers.activation != found.activation:
        raise InputError("--activation", f"is {answers.activation}",
                         f"{found.activation}, as {path} says")  # fmt: skip
    return found


def _from_tensors(model: SourceModel, answers: Answers, assumed: list[str]) -> Architecture:
    """The architecture of a state dict, with or without a description beside it."""
    _refuse_others(model)
    anchors_per_level, count = _head_shape(model)
    names = answers.names or model.names
    if names is not None and len(names) != count:
        source, wanted = "--names", f"{count}, the classes of {model.path}"
        if answers.names is None:
            source, wanted = model.path, f"{count}, as many as it has classes, or --names DATA.yaml"
        raise InputError(source, f"has {len(names)} class names", wanted)
    activation = answers.activation or model.activation
    description = dict(answers.description or model.description or {})
    if description:
        description.update(nc=count, names=None)
        if activation is not None:
            description["activation"] = activation
        if model.csp_activation is not None:
            description["csp_activation"] = model.csp_activation
        source = model.path if answers.description is None else "--cfg"
        if model.grid_anchors is not None:
            description["anchors"] = anchors_per_level
        found = Architecture.from_description(description, source, names)
        if _fits(found, model):
            return _with_anchors(found, model, assumed)
    candidates = list(fitted(model.tensors))
    if not candidates:
        if description:
            return _with_anchors(found, model, assumed)  # whose tensor is named by its shape
        raise InputError(
            model.path,
            f"has tensors of no layout that is known by its tensors alone ({seen(model.tensors)})",
            "--cfg MODEL.yaml, the model yaml of its training; opt.yaml of that run names it",
        )
    explicit = {
        "nc": count, "names": names, "depth_multiple": 1.0, "width_multiple": 1.0,
        "channel_multiple": 1, "anchors": anchors_per_level, "activation": activation,
        "csp_activation": model.csp_activation,
    }  # fmt: skip
    explicit.update(_activations_before_6(candidates[0], explicit, assumed))
    architectures = (
        Architecture.from_description(
            {**explicit, "backbone": lists[:1], "head": lists[1:]}, model.path, names
        )
        for lists in ([row.to_list() for row in rows] for rows in candidates)
    )
    first = next(architectures)
    if not _fits(first, model, exactly=True):
        first = next((each for each in architectures if _fits(each, model, exactly=True)), first)
    return _with_anchors(first, model, assumed)


def _activations_before_6(
    rows: Sequence[Row], described: Mapping[str, Any], assumed: list[str]
) -> dict[str, str]:
    """What releases 1 to 5 have where a BottleneckCSP layout of them does not say."""
    kinds = {row.kind for row in rows}
    found: dict[str, str] = {}
    if not {"Focus", "BottleneckCSP"} <= kinds:
        return found
    if described["activation"] is None:
        found["activation"] = "hardswish"
        assumed.append("release 3 (of releases 1 and 2: --activation leaky)")
    if described["csp_activation"] is None:
        found["csp_activation"] = "leaky"
        assumed.append("activation leaky where branches join, as before release 6")
    return found


def _refuse_others(model: SourceModel) -> None:
    for name in model.tensors:
        for pattern, what in _UNSUPPORTED:
            if pattern.match(name):
                raise InputError(model.path, f"is {what} (it has {name[:80]})", _OTHER)
    split = any(name.startswith(("model.2.cv3.", "model.2.m.")) for name in model.tensors)
    for pattern, what in ((_YOLOV3, "a YOLOv3"), (_YOLOV3_TINY, "a YOLOv3-tiny")):
        for name in model.tensors:
            if pattern.fullmatch(name) and not split:
                raise InputError(model.path, f"is {what} (it has {name})", _OTHER)
    if not any(re.match(r"model\.\d+\.", name) for name in model.tensors):
        first = next(iter(model.tensors), "no tensor")
        raise InputError(model.path, f"is no YOLOv5: its first tensor is {first[:80]}", _EXPECTED)
    weight = model.tensors.get("model.0.conv.weight")
    if weight is not None and weight.ndim == 4:
        try:
            check_channels(weight.shape[1])
        except LayoutError as error:
            raise InputError(model.path, error.cause, error.expected) from error


def _head_shape(model: SourceModel) -> tuple[int, int]:
    """Anchors per level and number of classes, from the detection convolutions."""
    last = max(
        (int(name.split(".")[1]) for name in model.tensors if _HEAD.fullmatch(name)), default=-1
    )
    heads = [
        array.shape[0]
        for name, array in model.tensors.items()
        if _HEAD.fullmatch(name) and name.startswith(f"model.{last}.") and array.ndim == 4
    ]
    anchors = 3 if model.grid_anchors is None else model.grid_anchors.shape[1]
    if model.grid_anchors is None and model.anchors is not None:
        anchors = len(model.anchors[0])
    numbers, rest = divmod(heads[0], anchors) if len(set(heads)) == 1 else (0, 0)
    if rest or numbers < 6:
        raise InputError(
            model.path,
            f"has {sorted(set(heads)) or 'no'} detection channels",
            f"{anchors} x (5 + classes) of them",
        )
    return anchors, numbers - 5


def _fits(found: Architecture, model: SourceModel, exactly: bool = False) -> bool:
    """Whether every convolution of an architecture has a weight of its channels here.

    exactly: and of its whole shape, where it is not folded from another one.
    """
    for conv in found.convolutions():
        names = (conv.name, conv.name.replace(".conv", ".conv.conv", 1))
        array = next(
            (model.tensors[f"{n}.weight"] for n in names if f"{n}.weight" in model.tensors), None
        )
        if array is None or array.shape[0] != conv.out_channels:
            return False
        if exactly and names[0] + ".weight" in model.tensors and array.shape != conv.weight_shape:
            return False
    return True


def _with_anchors(found: Architecture, model: SourceModel, assumed: list[str]) -> Architecture:
    """The architecture with the anchors of the file, in pixels."""
    anchors: Anchors | None = model.anchors
    if anchors is None and model.grid_anchors is not None:
        if len(model.grid_anchors) != found.levels:
            raise InputError(model.path, f"has anchors of {len(model.grid_anchors)} levels",
                             f"{found.levels}")  # fmt: skip
        strides = np.array(found.strides, np.float64).reshape(-1, 1, 1)
        pixels = model.grid_anchors.astype(np.float64) * strides
        anchors = tuple(tuple((float(w), float(h)) for w, h in level) for level in pixels)
    if anchors is None:
        if model.description is None:
            anchors = _usual_anchors(found)
            of = "no dataset" if anchors == found.anchors else "COCO"
            assumed.append(f"anchors of {of}")
        else:
            return found
    try:
        return replace(found, anchors=anchors)
    except InputError as error:
        raise InputError(model.path, error.cause, error.expected) from error


def _usual_anchors(found: Architecture) -> Anchors:
    if found.anchors_per_level == 3 and found.strides in (STRIDES, STRIDES[:2]):
        return COCO_ANCHORS[: found.levels]
    if found.anchors_per_level == 3 and found.strides == (8, 16, 32, 64):
        return Architecture.named("n6").anchors
    return found.anchors


def _checked(array: Array, name: str, shape: tuple[int, ...], path: str) -> Array:
    if array.shape != shape:
        raise InputError(path, f"has {name} of shape {array.shape}",
                         f"{shape} (a pruned model comes as ONNX, or with --cfg)")  # fmt: skip
    if array.dtype.kind != "f":
        raise InputError(path, f"has {name} as {array.dtype}", "floating point")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        raise InputError(path, f"has a value in {name} that is not finite", "finite numbers")
    if name.endswith(".running_var") and (array < 0).any():
        raise InputError(path, f"has a negative variance in {name}", "0 or more")
    return array


def _with_affine_parts(model: SourceModel) -> SourceModel:
    """A state dict some of whose normalisations have no scale or offset, with neutral ones.

    PyTorch's `affine=False` leaves both out. Where the other part is there, one tensor that is
    missing alone is a damage of the file, and several are parameters that were set to None.
    """
    end = ".running_var"
    stems = [name[: -len(end)] for name in model.tensors if name.endswith(end)]
    absent = {
        part: [s for s in stems if model.tensors.keys().isdisjoint((f"{s}.{part}", f"{s}.{ours}"))]
        for part, ours in (("weight", "gamma"), ("bias", "beta"))
    }
    both = set(absent["weight"]) & set(absent["bias"])
    tensors, assumed = dict(model.tensors), list(model.assumed)
    for (part, lacking), neutral in zip(absent.items(), (1, 0)):
        if not both.issuperset(lacking) and len(lacking) == 1:
            continue
        for stem in lacking:
            tensors[f"{stem}.{part}"] = np.full_like(tensors[f"{stem}{end}"], neutral)
        if lacking:
            of = "every batch normalisation" if len(lacking) == len(stems) else _listed(lacking)
            assumed.append(f"{part} {neutral} of {of}, which the file lacks")
    return replace(model, tensors=tensors, assumed=tuple(assumed))


def _listed(stems: Sequence[str]) -> str:
    """Normalisations by their names, the first ones where there are many."""
    named = ", ".join(stem[:60] for stem in stems[:3])
    return f"{len(stems)} batch normalisations ({named}{', …' if len(stems) > 3 else ''})"


def _with_our_epsilon(parameters: Mapping[str, Array], epsilon: float) -> dict[str, Array]:
    """The same network for BN epsilon 1e-3: gamma takes up the change of the denominator."""
    changed = dict(parameters)
    for name, gamma in parameters.items():
        if name.endswith(".gamma"):
            variance = parameters[name[: -len("gamma")] + "running_var"]
            changed[name] = for_epsilon(gamma, variance, epsilon, BATCH_NORM_EPSILON)
    return changed


def usual_activation(activations: Mapping[str, str]) -> str | None:
    """The activation that most convolutions have, those without one aside."""
    counted = Counter(word for word in activations.values() if word != "identity")
    return counted.most_common(1)[0][0] if counted else None


def _check_structure(structure: Structure, architecture: Architecture, path: str) -> None:
    layers = architecture.layers()
    for layer, (their_kind, sources) in zip(layers, structure.layers):
        # Pools side by side give what pools one behind the other give.
        same = their_kind == layer.kind or {their_kind, layer.kind} == {"SPP", "SPPF"}
        if not same or sources != layer.sources:
            raise InputError(path, f"has layer {layer.index} as {their_kind} of layers {sources}",
                             f"{layer.kind} of layers {layer.sources}")  # fmt: skip
    if len(layers) != len(structure.layers):
        raise InputError(path, f"has {len(structure.layers)} layers", f"{len(layers)}")
    focuses = {f"model.{layer.index}.conv" for layer in layers if layer.kind == "Focus"}
    for conv in architecture.convolutions():
        own = (conv.stride, conv.padding, conv.groups)
        theirs = structure.convolutions.get(conv.name, own)
        apart = structure.convolutions.get(f"{conv.name}.conv")
        if conv.name in focuses and apart is not None:
            (rows, columns) = apart[1]
            theirs = (2 * apart[0], (2 * rows, 2 * columns), apart[2])
        if theirs != own:
            raise InputError(path, f"has stride, padding and groups {theirs} in {conv.name}",
                             f"{own}")  # fmt: skip
    _check_sums(structure, architecture, path)


def _other_activations(structure: Structure, architecture: Architecture) -> dict[str, str]:
    """Convolution → its activation, for those that have not the one of the architecture."""
    layers = architecture.layers()
    focuses = {f"model.{layer.index}.conv" for layer in layers if layer.kind == "Focus"}
    found = {}
    for conv in architecture.convolutions():
        # The bare branches of a BottleneckCSP are activated by the block.
        stem = conv.name if conv.name in focuses else conv.name.rpartition(".")[0]
        own = conv.activation or "identity"
        word = structure.activations.get(stem, own)
        if word != own:
            found[conv.name] = word
    return found


def _check_sums(structure: Structure, architecture: Architecture, path: str) -> None:
    """Which bottlenecks add their input, and which pools there are."""
    steps = architecture.steps()
    adding = set()
    for step in steps:
        if step.operation == "add":
            last = steps[step.inputs[-1]].convolution
            if last is not None:
                adding.add(last.name.rpartition(".cv2")[0])
    for stem, adds in structure.shortcuts.items():
        if adds != (stem in adding):
            raise InputError(path, f"has another shortcut in {stem}", str(stem in adding))
    for layer, row in zip(architecture.layers(), architecture.layout):
        found = structure.pools.get(f"model.{layer.index}")
        if found is None:
            continue
        if _pyramid(found) != _pyramid(row.arguments[1] if len(row.arguments) > 1 else _POOLS):
            raise InputError(path, f"has pools of {found} in layer {layer.index}",
                             f"those of {row.kind} {row.arguments}")  # fmt: skip


def _pyramid(kernels: object) -> tuple[int, ...]:
    """The pools of an SPP that an SPPF of one kernel amounts to; an SPP's own as they are."""
    sides = kernels if isinstance(kernels, tuple) else (kernels,)
    if len(sides) == 1:
        side = int(sides[0])
        return (side, 2 * side - 1, 3 * side - 2)
    return sides
