"""A CVM model folder: `symbol`, `params`, and `ext`, which says what the integers mean.

`symbol` and `params` are the graph (see `yolo_core.graph`). `ext` is one line of JSON with the
original tool's keys

    inputs_ext    {"data": {"scale": s, "target_bit": p}}: integer = round(value * s), p bits; ours
                  adds `zero_point`, which that rule lacks, and says so in `rule`
    oscales       one number per head: value = integer / scale
    input_shapes  [[-1, 3, height, width]]

and one more, `detection`, with what it takes to get boxes: the architecture (classes, anchors,
strides), `color` (channel order, "rgb" or "bgr"), `letterbox` (how images are fitted),
`input_zero_point` (added to the input integers) and `output_scales` (one per column of the
rows; value = integer / scale). A model whose graph decides has `boxes` there too (see
`decision`), and the rows are a tensor inside its graph.
"""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_folder, atomic_write, read_bytes, read_json, read_start
from yolo_core.graph import Graph, Limits, bind, load_program
from yolo_core.graph.files import params, symbol
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.boxes import plausible
from yolo_core.yolo.decision import COLUMNS, Decision
from yolo_core.yolo.decision_graph import Rows, check_decision, decide
from yolo_core.yolo.letterbox import MODES

SYMBOL, PARAMS, EXT = "symbol", "params", "ext"
SYMBOL_LIMIT, PARAMS_LIMIT = Limits().symbol_bytes, 1 << 30
COLORS = ("rgb", "bgr")
_INPUT = "data"
#: Says in `ext` what the original's rule, integer = round(value * scale), cannot express.
INPUT_RULE = (
    "integer = round(value * scale) + zero_point, value from 0 to 1; a host that only multiplies "
    "and rounds adds zero_point / scale to the value first, which gives the same integers"
)


@dataclass(frozen=True)
class Extension:
    """What the integers of a detector mean.

    input_scale: codes per 1.0 (a pixel of 255). input_zero_point: code of black.
    input_precision: bits of the input. output_scales: real = integer / scale, per column.
    imgsz: (height, width). color: channel order of the input planes. boxes: how the graph decides,
    None where it puts out rows of logits.
    """

    architecture: Architecture
    imgsz: tuple[int, int]
    input_scale: float
    input_zero_point: int
    input_precision: int
    output_scales: tuple[float, ...]
    color: str = "rgb"
    letterbox: str = "letterbox"
    boxes: Decision | None = None

    def rows(self) -> Rows:
        """What the rows of the graph are. InputError where they cannot be decided on."""
        if len(set(self.output_scales)) != 1:
            raise InputError("output_scales", "differ from column to column", "one scale of all")
        return Rows(self.architecture, self.imgsz, self.output_scales[0])

    def quantize_input(self, batch: Array) -> Array:
        """uint8 [B, height, width, 3] RGB → int32 [B, 3, height, width].

        round-half-away(pixel / 255 * scale) + zero point, limited to ±(2^(p-1) - 1): a table of
        256 entries, so no arithmetic of the image's size is left to go wrong.
        """
        limit = (1 << (self.input_precision - 1)) - 1
        exact = np.arange(256, dtype=np.float64) / 255.0 * self.input_scale
        codes = np.floor(exact + 0.5).astype(np.int64) + self.input_zero_point
        channels = batch if self.color == "rgb" else batch[..., ::-1]
        planes = channels.transpose(0, 3, 1, 2)
        if (np.diff(codes) != 1).any() or abs(codes[0]) > 1 << 30:
            return np.take(np.clip(codes, -limit, limit).astype(np.int32), planes)
        # An addition instead of the table, in a quarter of the time.
        result: Array = np.empty(planes.shape, np.int32)
        np.copyto(result, planes)
        result += np.int32(codes[0])
        return np.clip(result, -limit, limit, out=result)

    def dequantize(self, output: Array) -> Array:
        """int32 [..., 5 + nc] → float64 logits."""
        result: Array = output.astype(np.float64) / np.array(self.output_scales)
        return result

    def plausible(self, rows: Array, conf: float) -> Array:
        """Indices of the rows int32 [N, 5 + nc] whose objectness may be above `conf`.

        InputError where these are not the rows of the architecture.
        """
        expected = (self.architecture.rows(*self.imgsz), self.architecture.no)
        if rows.shape != expected:
            raise InputError("model output", f"has shape {rows.shape}", f"{expected}")
        return plausible(rows[:, 4].astype(np.float64) / self.output_scales[4], conf)

    def to_json(self) -> str:
        """One line, the same for the same content."""
        record: dict[str, Any] = {
            "inputs_ext": {
                _INPUT: {
                    "scale": self.input_scale,
                    "target_bit": self.input_precision,
                    "zero_point": self.input_zero_point,
                    "rule": INPUT_RULE,
                }
            },
            "oscales": [min(self.output_scales)],
            "input_shapes": [[-1, 3, *self.imgsz]],
            "detection": {
                "architecture": self.architecture.to_dict(),
                "color": self.color,
                "letterbox": self.letterbox,
                "input_zero_point": self.input_zero_point,
                "output_scales": list(self.output_scales),
            },
        }
        if self.boxes is not None:
            record["detection"]["boxes"] = self.boxes.to_dict()
        return json.dumps(record, sort_keys=True) + "\n"

    @classmethod
    def from_dict(cls, data: Any, source: str) -> Extension:
        """From the content of an `ext` file. source: its path, for the error.

        InputError where it says nothing about detection, as for other networks than detectors and
        in the files of the original tool, or says it wrongly.
        """
        if not isinstance(data, dict) or "detection" not in data:
            raise InputError(
                source, "has no key `detection`, so that nothing says how to get boxes",
                "the ext of a detector, as yolo-mrt writes it",
            )  # fmt: skip
        try:
            detection = data["detection"]
            inputs = data["inputs_ext"][_INPUT]
            (shape,) = data["input_shapes"]
            extension = cls(
                architecture=Architecture.from_dict(detection["architecture"], source),
                imgsz=(int(shape[2]), int(shape[3])),
                input_scale=float(inputs["scale"]),
                input_zero_point=int(detection["input_zero_point"]),
                input_precision=int(inputs["target_bit"]),
                output_scales=tuple(float(scale) for scale in detection["output_scales"]),
                color=str(detection["color"]),
                letterbox=str(detection["letterbox"]),
                boxes=(
                    Decision.from_dict(detection["boxes"], source)
                    if detection.get("boxes") is not None
                    else None
                ),
            )
        except KeyError as error:
            raise InputError(
                source, f"has no key {error.args[0]!r:.60}", "the key `detection`, complete"
            ) from error
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise InputError(
                source, "has a value of the wrong kind", "the key `detection`, complete"
            ) from error
        scales = (extension.input_scale, *extension.output_scales)
        if (
            not all(math.isfinite(scale) and scale > 0 for scale in scales)
            or len(extension.output_scales) != extension.architecture.no
            or not 1 <= extension.input_precision <= 32
            or abs(extension.input_zero_point) > 1 << 31
            or extension.color not in COLORS
            or extension.letterbox not in MODES
        ):
            raise InputError(source, "has a value out of range in `detection`", "usable scales")
        return extension


@dataclass(frozen=True)
class ModelFolder:
    """A model that was read and checked, and the bytes it was read from."""

    path: Path
    graph: Graph
    symbol: bytes
    params: bytes

    def extension(self) -> Extension:
        """What the integers mean. InputError when the folder does not say or says it wrong."""
        path = self.path / EXT
        extension = Extension.from_dict(read_json(path), str(path))
        check_extension(extension, self.graph, str(path))
        return extension


def check_extension(extension: Extension, graph: Graph, source: str) -> None:
    """Refuse an extension that describes another graph. source: its path, for the error."""
    architecture, (height, width) = extension.architecture, extension.imgsz
    batch = graph.input_shape[0]
    expected_in = (batch, 3, height, width)
    expected_out: tuple[int, ...] = (batch, architecture.rows(height, width), architecture.no)
    if extension.boxes is not None:
        expected_out = (1, extension.boxes.max_det, COLUMNS)
    if graph.input_shape != expected_in or graph.head_shapes != (expected_out,):
        raise InputError(
            source,
            f"describes input {expected_in} and output {expected_out}",
            f"what the graph has: {graph.input_shape} and {graph.head_shapes}",
        )
    if graph.input_precision != extension.input_precision:
        raise InputError(
            source,
            f"says target_bit {extension.input_precision}",
            f"the graph's {graph.input_precision}",
        )
    if extension.boxes is not None:
        check_decision(graph, extension.rows(), extension.boxes, source)


def deciding(graph: Graph, extension: Extension, decision: Decision) -> tuple[Graph, Extension]:
    """A model of rows as one whose graph decides. InputError where it does so already."""
    if extension.boxes is not None:
        raise InputError("the model", "decides already", "a model whose output is rows")
    if graph.input_shape[0] != 1:
        raise InputError("the model", f"takes {graph.input_shape[0]} images at once", "1")
    decided = decide(graph, extension.rows(), decision)
    return decided, replace(extension, boxes=decision)


def is_model_folder(path: PathLike) -> bool:
    """Whether `symbol` and `params` lie there."""
    return all(os.path.isfile(os.path.join(path, name)) for name in (SYMBOL, PARAMS))


def model_sources(path: PathLike) -> list[Path]:
    """Every file that may be part of the model at `path`, for `outputs.check_outputs`.

    path: a model folder, a bundle, a checkpoint's stem or one of its files. Files that do not
    exist may be among them.
    """
    from yolo_core.mxnet.checkpoint import checkpoint_stem  # here, since it brings a YAML reader

    path = Path(path)
    names = (SYMBOL, PARAMS, EXT)
    inside = [path / name for name in names]
    if os.path.isdir(path):
        inside += [found for name in names for found in path.glob(f"*/{name}")]
        inside += [found for name in names for found in path.glob(f"*/data/{name}")]
    endings = ("-symbol.json", "-0000.params", ".yaml", ".json", ".params")
    stem = checkpoint_stem(path)
    return [path, *inside, *(Path(f"{stem}{ending}") for ending in endings)]


def refuse_checkpoint(path: PathLike) -> None:
    """InputError with the command that makes an integer model, where a float checkpoint is named
    in the place of one."""
    from yolo_core.mxnet.checkpoint import is_checkpoint  # here, since it brings a YAML reader

    if is_checkpoint(path):
        place = shlex.quote(str(path))
        out = shlex.quote(f"qout/{Path(path).name}_cvm")
        made = f"yolo-mrt quantize {place} --data PICTURES --out {out} makes one"
        raise InputError(path, "is a float checkpoint", f"an integer model: {made}")


def read_model_folder(path: PathLike) -> ModelFolder:
    """Load and check a model. Raises InputError naming the file, the node and the rule."""
    path = Path(path)
    if not is_model_folder(path):
        refuse_checkpoint(path)
    if not os.path.isdir(path):
        cause = "is a file" if os.path.exists(path) else "does not exist"
        raise InputError(path, cause, "a folder")
    symbol_bytes = read_bytes(path / SYMBOL, SYMBOL_LIMIT)
    program = load_program(symbol_bytes)
    # The program tells how long its parameters can be; nothing longer is kept.
    params_bytes, size, _ = read_start(path / PARAMS, params.size_limit(program), PARAMS_LIMIT)
    if size > len(params_bytes):
        raise params.stale_bytes(params.records_end(params_bytes), size).at(str(path))
    return ModelFolder(path, bind(program, params_bytes), symbol_bytes, params_bytes)


def write_model_folder(
    path: PathLike, graph: Graph, extension: Extension, more: Mapping[str, bytes] | None = None
) -> None:
    """Write the three files, and more by their names, as a whole; same content, same bytes."""
    contents: dict[str, Any] = {
        SYMBOL: symbol.encode(graph),
        PARAMS: params.encode(graph),
        EXT: extension.to_json(),
        **(more or {}),
    }
    with atomic_folder(path, cache=True) as folder:
        for name, content in contents.items():
            atomic_write(folder / name, content)
