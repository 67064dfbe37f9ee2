"""What the stages write for each other beside the model folder, and how it is read back.

A file is trusted no further than its conf: whatever is not as its stage wrote it is an InputError
that names the file. See `cache` for the confs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import read_json
from yolo_core.graph import Graph
from yolo_core.mxnet.params import read_params
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.model_folder import Extension
from yolo_mrt import cache
from yolo_mrt.calibrate.float_pass import TensorStatistics
from yolo_mrt.calibrate.scheme import INPUT_ZERO, Scheme
from yolo_mrt.compile.estimate import Estimate
from yolo_mrt.network.net import Layer, Net
from yolo_mrt.network.source import Source
from yolo_mrt.quantize.weights import IntegerConv
from yolo_mrt.settings import STAGES, Settings

#: The file beside the stage files that says what they belong to.
RUN = ".run.json"
#: Endings of everything that the stages write beside the model folder.
STAGE_FILES = (
    RUN,
    *(f".{stage}.conf" for stage in STAGES),
    *(".prepare.json", ".prepare.params"),
    *(".mrt.calibrate.json", ".mrt.calibrate.params", ".mrt.calibrate.ext"),
    *(".mrt.quantize.json", ".mrt.quantize.params", ".mrt.quantize.ext", ".all.quantize.ext"),
    ".evaluate.json",
)


def finished(settings: Settings, stage: str) -> str:
    """The key of a stage that has run, and run upon the present results of those before it."""
    conf = settings.stage_file(f".{stage}.conf")
    key, after = cache.sealed(conf, stage)
    number = STAGES.index(stage)
    if number and finished(settings, STAGES[number - 1]) != after:
        raise InputError(conf, f"is older than the last {STAGES[number - 1]}",
                         f"the stage {stage} to run again")  # fmt: skip
    return key


def prepared(settings: Settings) -> Source:
    """What the prepare stage wrote."""
    finished(settings, "prepare")
    path = settings.stage_file(".prepare.json")
    return _net_from_dict(read_json(path), read_params(settings.stage_file(".prepare.params")),
                          str(path))  # fmt: skip


def net_to_dict(source: Source) -> dict[str, Any]:
    return {
        "architecture": source.architecture.to_dict(),
        "color": source.color,
        "digest": source.digest,
        "heads": list(source.net.heads),
        "layers": [
            {
                "name": layer.name, "op": layer.op, "inputs": list(layer.inputs),
                "activation": layer.activation, "kernel": list(layer.kernel),
                "stride": list(layer.stride), "padding": list(layer.padding),
                "scale": layer.scale, "slope": layer.slope, "groups": layer.groups,
            }
            for layer in source.net.layers
        ],
    }  # fmt: skip


def _net_from_dict(data: Any, arrays: Mapping[str, Array], path: str) -> Source:
    try:
        layers = tuple(
            Layer(
                entry["name"], entry["op"], tuple(entry["inputs"]),
                arrays.get(f"arg:{entry['name']}.weight"), arrays.get(f"arg:{entry['name']}.bias"),
                entry["activation"], tuple(entry["kernel"]), tuple(entry["stride"]),
                tuple(entry["padding"]), int(entry["scale"]), float(entry["slope"]),
                int(entry["groups"]),
            )
            for entry in data["layers"]
        )  # fmt: skip
        architecture = Architecture.from_dict(data["architecture"], path)
        net = Net(layers, tuple(data["heads"]), architecture.anchors_per_level)
        return Source(net, architecture, data["color"],
                      data["digest"])  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(path, f"is damaged ({error!r:.60})", "what prepare wrote") from error


def calibrated(settings: Settings, net: Net) -> Scheme:
    """The scheme that the calibrate stage wrote."""
    finished(settings, "calibrate")
    path = settings.stage_file(".mrt.calibrate.json")
    return Scheme.from_dict(read_json(path), net, str(path))


def statistics_of(settings: Settings) -> dict[str, TensorStatistics]:
    """The statistics that the calibrate stage wrote."""
    path = settings.stage_file(".mrt.calibrate.params")
    arrays = read_params(path)
    found: dict[str, TensorStatistics] = {}
    with _as_written(path, "calibrate"):
        for name in sorted({key.rpartition("|")[0] for key in arrays}):
            found[name] = TensorStatistics(
                arrays[f"{name}|low"], arrays[f"{name}|high"], arrays[f"{name}|tails"],
                arrays[f"{name}|energy"], arrays[f"{name}|total"], int(arrays[f"{name}|count"][0]),
            )  # fmt: skip
    return found


@contextlib.contextmanager
def _as_written(path: Path, stage: str) -> Iterator[None]:
    """What the block does not find in a stage file that somebody made up is an InputError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise InputError(path, f"is damaged ({error!r:.60})", f"what {stage} wrote") from error


def statistics_arrays(statistics: Mapping[str, TensorStatistics]) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name, stats in statistics.items():
        for part in ("low", "high", "tails", "energy", "total"):
            arrays[f"{name}|{part}"] = getattr(stats, part)
        arrays[f"{name}|count"] = np.array([float(stats.count)])
    return arrays


def quantized(settings: Settings) -> dict[str, IntegerConv]:
    """The integer convolutions that the quantize stage wrote."""
    finished(settings, "quantize")
    path = settings.stage_file(".mrt.quantize.json")
    record = read_json(path)
    arrays = read_params(settings.stage_file(".mrt.quantize.params"))
    with _as_written(path, "quantize"):
        return {
            name: IntegerConv(
                arrays[f"{name}.weight"], arrays[f"{name}.bias"],
                arrays[f"{name}.multiplier"], int(entry["shift"]), int(entry["clip_bits"]),
                arrays[f"{name}.step"],
            )
            for name, entry in record.items()
        }  # fmt: skip


def graph_of(settings: Settings) -> tuple[Graph, Extension, Source]:
    """The program of rows that the stages so far amount to."""
    from yolo_mrt.compile.lower import lower

    source = prepared(settings)
    scheme = calibrated(settings, source.net)
    graph = lower(source.net, scheme, quantized(settings), settings.imgsz)
    return graph, extension_of(settings, source, scheme), source


def estimated(settings: Settings) -> Estimate | None:
    """What the evaluate stage says quantization costs; None where it did not run or knows nothing.

    InputError where its file is damaged.
    """
    path = settings.stage_file(".evaluate.json")
    return Estimate.from_dict(read_json(path), str(path)) if path.exists() else None


def extension_of(settings: Settings, source: Source, scheme: Scheme) -> Extension:
    """What the integers of the finished model mean."""
    return Extension(
        architecture=source.architecture,
        imgsz=settings.imgsz,
        input_scale=255.0,
        input_zero_point=INPUT_ZERO,
        input_precision=8,
        output_scales=(2.0**scheme.head_exponent,) * source.architecture.no,
        color=source.color,
        letterbox=settings.letterbox,
    )
