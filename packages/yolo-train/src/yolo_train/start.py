"""Where a training starts: architecture and parameters, random or from a checkpoint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click
import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import parse_json
from yolo_core.mxnet import weights
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.mxnet.fusing import fuse
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.letterbox import Letterbox, read_image
from yolo_core.yolo.qat import Grid, grid_maker
from yolo_core.yolo.samples import Sample
from yolo_train.anchors import suited_anchors
from yolo_train.hyp import Hyp
from yolo_train.options import FitOptions
from yolo_train.transfer import transfer

#: Objects per picture of 640 pixels, and share of a class, that the first biases assume.
_OBJECTS, _CLASS_SHARE = 8, 0.6
_NOMINAL_IMGSZ = 640
_FIRST_WEIGHT = "model.0.conv.weight"
#: Training images that a quantizer's grid is calibrated on.
_GRID_IMAGES = 32


@dataclass(frozen=True)
class Start:
    """parameters: fused ones when `fused`, by the names of the architecture. grid: of the
    quantizer that the training simulates, if any.
    """

    architecture: Architecture
    parameters: Mapping[str, Array]
    fused: bool = False
    grid: Grid | None = None


def read_weights(options: FitOptions) -> Checkpoint | None:
    """The checkpoint or file of --weights, with its input in RGB order.

    InputError where it cannot be trained.
    """
    if options.weights is None:
        return None
    checkpoint = read_trained(options.weights)
    if checkpoint.fused and not options.qat:
        expected = "a checkpoint not fused (yolo-port convert FILE --no-fuse makes one)"
        raise InputError(options.weights, "has its batch normalisation folded", expected)
    return checkpoint


def read_trained(path: str) -> Checkpoint:
    """A checkpoint, or a file that an installed package reads, with its input in RGB order."""
    checkpoint = weights.read_weights(path)
    return dataclasses.replace(checkpoint, parameters=_in_rgb(checkpoint), color="rgb")


def origins(
    options: FitOptions, teacher: Checkpoint | None, checkpoint: Checkpoint | None
) -> dict[str, str]:
    """Digests of what a resumed run reads again of its start, by option; "" for what it does not.

    teacher, checkpoint: of --teacher and --weights, from which a quantizer's grid is made.
    """
    grids = checkpoint if options.qat else None
    return {"teacher": _digest(teacher), "weights": _digest(grids)}


def check_origins(
    now: Mapping[str, str], state: Mapping[str, Array], options: FitOptions, source: str
) -> None:
    """InputError where a run that is resumed began from other files than are there now.

    now: see `origins`. state: that of the run in `source`; KeyError where it is of another kind.
    """
    for name, found in now.items():
        if found and str(state[name]) != found:
            place = str(getattr(options, name))
            raise InputError(place, f"has changed since {source} began", f"the same --{name}")


def _digest(checkpoint: Checkpoint | None) -> str:
    """SHA-256 over the names and values of the parameters, whatever file they came from."""
    if checkpoint is None:
        return ""
    state = hashlib.sha256()
    for name, value in sorted(checkpoint.parameters.items()):
        state.update(f"{name} {value.dtype} {value.shape}\n".encode())
        state.update(np.ascontiguousarray(value).tobytes())
    return state.hexdigest()


def planned_architecture(
    options: FitOptions, hyp: Hyp, names: Sequence[str], checkpoint: Checkpoint | None
) -> Architecture:
    """The network that will be trained, before its anchors are fitted to the data.

    checkpoint: what `read_weights` found. InputError for options that describe no network.
    """
    found = _planned(options, names, checkpoint)
    count = round(hyp.anchors)
    if options.qat or count in (0, found.anchors_per_level):
        return found
    anchors = tuple(
        tuple((2.0 * stride * (place + 1),) * 2 for place in range(count))
        for stride in found.strides
    )
    return dataclasses.replace(found, anchors=anchors)


def _planned(
    options: FitOptions, names: Sequence[str], checkpoint: Checkpoint | None
) -> Architecture:
    if checkpoint is None:
        return Architecture.of(options.cfg or options.model or "yolov5n", names=names)
    source = checkpoint.architecture
    if options.qat:
        if source.nc != len(names):
            cause = f"has {source.nc} classes and the data {len(names)}"
            raise InputError(str(options.weights), cause, "as many")
        return source
    if options.cfg is not None:
        return Architecture.of(options.cfg, names=names)
    if options.model is None:
        return dataclasses.replace(source, names=tuple(names))
    architecture = Architecture.of(options.model, names=names)
    same = len(architecture.anchors) == len(source.anchors)
    return dataclasses.replace(
        architecture,
        anchors=source.anchors if same else architecture.anchors,
        activation=source.activation,
    )


def new_start(
    options: FitOptions, hyp: Hyp, architecture: Architecture, samples: Sequence[Sample],
    checkpoint: Checkpoint | None,
) -> Start:  # fmt: skip
    """The start of a new run. architecture: as planned. checkpoint: what `read_weights` found."""
    if options.qat:
        return _quantized_start(options, samples, checkpoint)
    architecture = _with_anchors(architecture, options, hyp, samples)
    if checkpoint is None:
        return Start(architecture, random_parameters(architecture, options.seed))
    taken = transfer(random_parameters(architecture, options.seed), architecture, checkpoint)
    click.echo(f"{options.weights}: {taken.summary()}", err=True)
    return Start(architecture, taken.parameters)


def continued_start(
    options: FitOptions,
    architecture: Architecture,
    samples: Sequence[Sample],
    checkpoint: Checkpoint | None,
) -> Start:
    """The same start again for a run that continues; its parameters are in the state."""
    if options.qat:
        return _quantized_start(options, samples, checkpoint)
    return Start(architecture, random_parameters(architecture, options.seed))


def continued_architecture(state: Mapping[str, Array]) -> Architecture:
    """The network of a run's state."""
    record = state.get("architecture")
    if record is None or record.dtype.kind != "U":
        raise InputError("--resume", "finds a state without architecture", "one of this trainer")
    return architecture_from_text(str(record))


def architecture_to_text(architecture: Architecture) -> str:
    """An architecture as one line for the state file."""
    return json.dumps(architecture.to_dict())


def architecture_from_text(text: str) -> Architecture:
    """What `architecture_to_text` wrote. InputError when it is something else."""
    return Architecture.from_dict(parse_json(text, "--resume"), "--resume")


def _quantized_start(
    options: FitOptions, samples: Sequence[Sample], checkpoint: Checkpoint | None
) -> Start:
    """A finished network with its batch normalisation folded, on a quantizer's grid."""
    assert checkpoint is not None, "FitOptions wants --weights with --qat"
    architecture = checkpoint.architecture
    parameters = dict(checkpoint.parameters)
    if not checkpoint.fused:
        parameters = fuse(parameters, architecture)
    letterbox = Letterbox(options.imgsz, options.imgsz)
    chosen = samples[:: max(len(samples) // _GRID_IMAGES, 1)][:_GRID_IMAGES]
    images = np.stack([letterbox.apply(read_image(sample.image))[0] for sample in chosen])
    return Start(architecture, parameters, True, grid_maker()(architecture, parameters, images))


def _with_anchors(
    architecture: Architecture, options: FitOptions, hyp: Hyp, samples: Sequence[Sample]
) -> Architecture:
    if not options.autoanchor:
        return architecture
    anchors, before, after = suited_anchors(
        samples, options.imgsz, architecture.anchors, hyp.anchor_t, options.seed
    )
    changed = anchors != architecture.anchors
    told = f"{before:.4f}, with new anchors {after:.4f}" if changed else f"{before:.4f}"
    click.echo(f"autoanchor: best possible recall {told}", err=True)
    return dataclasses.replace(architecture, anchors=anchors)


def random_parameters(architecture: Architecture, seed: int) -> dict[str, Array]:
    """Unfused float32 parameters; each depends on the seed and its name alone.

    Weights are uniform within ±1/sqrt(fan in). The detection biases say at first that objects
    are rare and classes equally likely.
    """
    parameters: dict[str, Array] = {}
    for name, shape in architecture.parameter_shapes(fused=False).items():
        if name.endswith(".weight"):
            word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
            bound = 1 / math.sqrt(int(np.prod(shape[1:])))
            value = np.random.default_rng([seed, word]).uniform(-bound, bound, shape)
        elif name.endswith((".gamma", ".running_var")):
            value = np.ones(shape)
        else:
            value = np.zeros(shape)
        parameters[name] = value.astype(np.float32)
    detect = [conv for conv in architecture.convolutions() if conv.batch_norm is None]
    for conv, stride in zip(detect, architecture.strides):
        bias = parameters[f"{conv.name}.bias"].reshape(
            architecture.anchors_per_level, architecture.no
        )
        bias[:, 4] = math.log(_OBJECTS / (_NOMINAL_IMGSZ / stride) ** 2)
        bias[:, 5:] = math.log(_CLASS_SHARE / (architecture.nc - 0.99999))
    return parameters


def _in_rgb(checkpoint: Checkpoint) -> Mapping[str, Array]:
    """The parameters for input in RGB order: the first convolution is turned round for BGR."""
    if checkpoint.color == "rgb":
        return checkpoint.parameters
    first = np.ascontiguousarray(checkpoint.parameters[_FIRST_WEIGHT][:, ::-1])
    return {**checkpoint.parameters, _FIRST_WEIGHT: first}
