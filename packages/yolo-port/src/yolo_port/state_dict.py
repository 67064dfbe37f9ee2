"""The names that tensors have in an Ultralytics state dict, and in a checkpoint of ours.

    model.0.conv.weight              the same
    model.0.bn.weight, .bn.bias      model.0.bn.gamma, model.0.bn.beta
    model.0.conv.conv.weight         of a Focus: model.0.conv.weight, the equivalent convolution
    model.2.bn.weight                of a BottleneckCSP: model.2.cv3.bn.gamma, model.2.cv2.bn.gamma
    model.24.anchors                 not a parameter: the anchors, divided by their stride
    *.num_batches_tracked            not used

Readers of bare dictionaries pass through `tidy`, writers of state dicts through
`ultralytics_state_dict`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.yolo.anchors import MAX_ANCHORS, MAX_LEVELS
from yolo_core.yolo.architecture import Architecture

_TO_ULTRALYTICS = {"gamma": "weight", "beta": "bias"}
_FROM_ULTRALYTICS = {"weight": "gamma", "bias": "beta"}
_ANCHORS = re.compile(r"model\.\d+\.anchors")
# What wrappers put before the names: DataParallel, torch.compile, DetectMultiBackend, AutoShape,
# and classes of the user's own around the model.
_WRAPPERS = re.compile(
    r"^(?:(?:module|_orig_mod|model|net|network|detector|ema|ema_model)\.)+(?=model\.\d+\.)"
)
_BARE = re.compile(r"\d{1,4}\.")
# The last two are counters that the profiler thop leaves in every module.
_UNUSED = ("num_batches_tracked", ".anchor_grid", ".stride", ".grid", "n_averaged",
           "total_ops", "total_params")  # fmt: skip
#: End of a tensor's name → what has such a tensor, and the remedy.
_REWRITTEN = (
    ((".weight_u", ".weight._u", ".weight.0._u"), "weights under spectral_norm",
     "plain weights: torch.nn.utils.remove_spectral_norm, then save again"),
    ((".weight_g", ".weight_v", ".parametrizations.weight.original0"), "weights under weight_norm",
     "plain weights: torch.nn.utils.remove_weight_norm, then save again"),
    (("._packed_params", ".zero_point", ".fake_quant_enabled", ".activation_post_process.min_val"),
     "the values of a quantization by PyTorch", "the float model of before that"),
)  # fmt: skip
_PARTS = ("weight", "bias", "running_mean", "running_var")
#: Row and column of the four pixels that Focus turns into channels, in its order.
_FOCUS_ORDER = ((0, 0), (1, 0), (0, 1), (1, 1))


def tidy(tensors: Mapping[str, Array], source: str) -> tuple[dict[str, Array], Array | None]:
    """Parameters without wrapper prefixes, in Ultralytics' names, and the anchors buffer.

    Batch normalisation may be named in PyTorch's or MXNet's words; weights may be kept with a
    pruning mask beside them. InputError for names that meet and for anchors of another shape.
    """
    _refuse_rewritten(tensors, source)
    found: dict[str, Array] = {}
    anchors: Array | None = None
    # The layers alone, saved as model.model.state_dict(), are numbered from the start.
    stem = "model." if all(map(_BARE.match, tensors)) else ""
    for name, array in _unmasked(tensors, source).items():
        short = _WRAPPERS.sub("", f"{stem}{name}")
        if _ANCHORS.fullmatch(short):
            anchors = _checked_anchors(array, source)
            continue
        if short.endswith(_UNUSED):
            continue
        owner, _, part = short.rpartition(".")
        short = f"{owner}.{_TO_ULTRALYTICS.get(part, part)}"
        if short in found:
            raise InputError(source, f"has two tensors for {short}", "one of each")
        found[short] = array
    return found, anchors


def _refuse_rewritten(tensors: Mapping[str, Array], source: str) -> None:
    """InputError for what PyTorch keeps in place of plain weights; it is not undone here."""
    for name in tensors:
        for endings, what, remedy in _REWRITTEN:
            if name.endswith(endings):
                raise InputError(source, f"has {what} ({name[:80]})", remedy)


def _unmasked(tensors: Mapping[str, Array], source: str) -> dict[str, Array]:
    """What torch.nn.utils.prune left unfinished, finished: weight = weight_orig * weight_mask."""
    found = dict(tensors)
    for name in tensors:
        if not name.endswith("_orig"):
            continue
        stem = name[: -len("_orig")]
        mask = found.pop(f"{stem}_mask", None)
        whole = found.pop(name)
        if mask is None or mask.shape != whole.shape:
            raise InputError(source, f"has {name} without its mask", f"{stem}_mask")
        found[stem] = (whole * mask).astype(whole.dtype)
    return found


def _checked_anchors(array: Array, source: str) -> Array:
    sound = (
        array.ndim == 3
        and array.shape[0] <= MAX_LEVELS
        and array.shape[1] <= MAX_ANCHORS
        and array.shape[2] == 2
    )
    if not sound or not np.isfinite(array).all():
        raise InputError(source, f"has anchors of shape {array.shape}",
                         "finite, of shape (levels, anchors, 2)")  # fmt: skip
    return array


@dataclass(frozen=True)
class _Csp:
    """A BottleneckCSP: stem of its parameters, and channels of each of its two branches."""

    stem: str
    channels: int


def _csps(architecture: Architecture) -> list[_Csp]:
    convolutions = {conv.name: conv for conv in architecture.convolutions()}
    found = []
    for layer in architecture.layers():
        if layer.kind == "BottleneckCSP":
            stem = f"model.{layer.index}"
            found.append(_Csp(stem, convolutions[f"{stem}.cv3"].out_channels))
    return found


def _focuses(architecture: Architecture) -> list[str]:
    return [f"model.{each.index}" for each in architecture.layers() if each.kind == "Focus"]


def to_parameters(
    tensors: Mapping[str, Array], architecture: Architecture, epsilon: float, source: str
) -> dict[str, Array]:
    """Ultralytics' names and shapes → those of `Architecture.parameter_shapes`.

    epsilon: of batch normalisation, for what has to be folded: a BottleneckCSP of a fused model.
    """
    words = dict(tensors)
    for stem in _focuses(architecture):
        _fold_focus(words, stem, source)
    csps = _csps(architecture)
    joined = {f"{csp.stem}.bn.running_var" for csp in csps}
    fused = not any(name.endswith(".bn.running_var") and name not in joined for name in words)
    for csp in csps:
        _split_csp(words, csp, fused, epsilon, source)
    found = {_rename(name, _FROM_ULTRALYTICS): array for name, array in words.items()}
    if not fused:
        _absorb_biases(found, architecture, epsilon)
    return found


def _absorb_biases(
    parameters: dict[str, Array], architecture: Architecture, epsilon: float
) -> None:
    """Give convolutions whose normalisation is folded, beside others, one that changes nothing.

    So exporters leave a BottleneckCSP: they cannot fold what normalises joined branches. A bias
    before a normalisation becomes a part of its mean.
    """
    for conv in architecture.convolutions():
        bias = parameters.get(f"{conv.name}.bias")
        if conv.batch_norm is None or bias is None or bias.shape != (conv.out_channels,):
            continue
        del parameters[f"{conv.name}.bias"]
        bias, mean = bias.astype(np.float32), parameters.get(f"{conv.batch_norm}.running_mean")
        if mean is not None and mean.shape == bias.shape:
            parameters[f"{conv.batch_norm}.running_mean"] = mean.astype(np.float32) - bias
            continue
        ones = np.ones_like(bias)
        parts = {"gamma": ones, "beta": bias, "running_mean": 0 * ones,
                 "running_var": (1 - epsilon) * ones}  # fmt: skip
        parameters.update({f"{conv.batch_norm}.{part}": each for part, each in parts.items()})


def _fold_focus(words: dict[str, Array], stem: str, source: str) -> None:
    """The convolution behind a Focus, on quarters of the image, as one on the image itself."""
    for name in [name for name in words if name.startswith(f"{stem}.conv.")]:
        words[f"{stem}.{name[len(stem) + 6 :]}"] = words.pop(name)
    weight = words.get(f"{stem}.conv.weight")
    if weight is None or weight.ndim != 4 or weight.shape[1] % 4:
        raise InputError(source, f"lacks {stem}.conv.conv.weight of its Focus", "[out, 12, k, k]")
    out, inside, rows, columns = weight.shape
    whole = np.zeros((out, inside // 4, rows, 2, columns, 2), weight.dtype)
    for quarter, (row, column) in enumerate(_FOCUS_ORDER):
        first = quarter * (inside // 4)
        whole[:, :, :, row, :, column] = weight[:, first : first + inside // 4]
    words[f"{stem}.conv.weight"] = whole.reshape(out, inside // 4, 2 * rows, 2 * columns)


def _split_csp(
    words: dict[str, Array], csp: _Csp, fused: bool, epsilon: float, source: str
) -> None:
    """The normalisation of two joined branches as one of each."""
    if f"{csp.stem}.bn.running_var" not in words:
        return  # a checkpoint of ours that was fused
    joined = [words.pop(f"{csp.stem}.bn.{part}", None) for part in _PARTS]
    for branch, first in (("cv3", 0), ("cv2", csp.channels)):
        name = f"{csp.stem}.{branch}"
        parts = []
        for array in joined:
            if array is None or array.shape != (2 * csp.channels,):
                raise InputError(source, f"has an incomplete normalisation {csp.stem}.bn",
                                 f"{2 * csp.channels} channels")  # fmt: skip
            parts.append(array[first : first + csp.channels])
        if not fused:
            words.update({f"{name}.bn.{part}": array for part, array in zip(_PARTS, parts)})
            continue
        gamma, beta, mean, variance = (part.astype(np.float64) for part in parts)
        scale = gamma / np.sqrt(variance + epsilon)
        weight = words.get(f"{name}.weight")
        if weight is None or weight.ndim != 4 or len(weight) != csp.channels:
            raise InputError(source, f"lacks {name}.weight", "a complete BottleneckCSP")
        words[f"{name}.weight"] = (weight * scale[:, None, None, None]).astype(np.float32)
        words[f"{name}.bias"] = (beta - mean * scale).astype(np.float32)


def ultralytics_state_dict(checkpoint: Checkpoint) -> dict[str, Array]:
    """Everything that `Model.state_dict()` of YOLOv5 has, for RGB input; fused as the checkpoint.

    float32 parameters, the int64 batch counters where batch normalisation is kept, and the
    `anchors` buffer [levels, anchors, 2], each level divided by its stride.
    """
    architecture = checkpoint.architecture
    words = {
        _rename(name, _TO_ULTRALYTICS): array
        for name, array in to_rgb(checkpoint).parameters.items()
    }
    for csp in _csps(architecture):
        if f"{csp.stem}.cv3.bn.weight" in words:
            for part in _PARTS:
                both = [words.pop(f"{csp.stem}.{branch}.bn.{part}") for branch in ("cv3", "cv2")]
                words[f"{csp.stem}.bn.{part}"] = np.concatenate(both)
    for stem in _focuses(architecture):
        _unfold_focus(words, stem)
    found: dict[str, Array] = {}
    for name, array in words.items():
        found[name] = array
        if name.endswith(".running_var"):
            counter = name[: -len("running_var")] + "num_batches_tracked"
            found[counter] = np.zeros((), np.int64)
    strides = np.array(architecture.strides).reshape(-1, 1, 1)
    detect = architecture.layers()[-1].index
    found[f"model.{detect}.anchors"] = (np.array(architecture.anchors) / strides).astype(np.float32)
    return found


def _unfold_focus(words: dict[str, Array], stem: str) -> None:
    weight = words.pop(f"{stem}.conv.weight")
    out, inside, rows, columns = weight.shape
    apart = weight.reshape(out, inside, rows // 2, 2, columns // 2, 2)
    quarters = [apart[:, :, :, row, :, column] for row, column in _FOCUS_ORDER]
    words[f"{stem}.conv.conv.weight"] = np.ascontiguousarray(np.concatenate(quarters, axis=1))
    for name in [name for name in words if name.startswith((f"{stem}.bn.", f"{stem}.conv.bias"))]:
        rest = name[len(stem) + 1 :]
        words[f"{stem}.conv.{rest}"] = words.pop(name)


def to_rgb(checkpoint: Checkpoint) -> Checkpoint:
    """The same network for RGB input: the first convolution's input channels in RGB order.

    Formats without a place for the colour order are always RGB, as Ultralytics' models are.
    """
    if checkpoint.color == "rgb":
        return checkpoint
    first = f"{checkpoint.architecture.convolutions()[0].name}.weight"
    turned = np.ascontiguousarray(checkpoint.parameters[first][:, ::-1])
    return replace(checkpoint, parameters={**checkpoint.parameters, first: turned}, color="rgb")


def _rename(name: str, words: Mapping[str, str]) -> str:
    stem, _, part = name.rpartition(".")
    return f"{stem}.{words.get(part, part)}" if stem.endswith(".bn") else name
