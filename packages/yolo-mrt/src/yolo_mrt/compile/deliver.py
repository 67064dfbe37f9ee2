"""Writing the result: the model folder, and the small text files of the original's stages."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Graph
from yolo_core.graph.costs.gas import gas
from yolo_core.graph.proof.bounds import certify
from yolo_core.yolo.model_folder import EXT, PARAMS, SYMBOL, Extension, write_model_folder
from yolo_mrt.calibrate.float_pass import TensorStatistics
from yolo_mrt.calibrate.scheme import Scheme
from yolo_mrt.network.net import Net

SAMPLE = "data.npy"
FILES = (SYMBOL, PARAMS, EXT, SAMPLE)


def write(
    out: Path, graph: Graph, extension: Extension, sample: bytes | None, weights: int | None = None
) -> str:
    """Write symbol, params, ext and, where there is one, data.npy as a whole; one line about them.

    The program must be proven free of overflow first (`certify` refuses it otherwise).
    sample: the file's bytes. weights: of the float network, None where it is not known.
    """
    certify(graph)
    write_model_folder(out, graph, extension, {} if sample is None else {SAMPLE: sample})
    stored = (out / PARAMS).stat().st_size
    size = f"{stored:,} bytes" if weights is None else f"{stored / weights:.3f} bytes per weight"
    return f"{len(graph.nodes)} nodes, {gas(graph) / 1e9:.3f} G gas, {size}"


def sample_file(sample: Array) -> bytes:
    """The bytes of `data.npy`."""
    buffer = io.BytesIO()
    np.save(buffer, sample, allow_pickle=False)
    return buffer.getvalue()


def calibration_ext(net: Net, scheme: Scheme, statistics: Mapping[str, TensorStatistics]) -> str:
    """The four lines of a `.mrt.*.ext` (spec 6.1): output names, thresholds, precisions, scales."""
    layers = net.by_name()
    thresholds: dict[str, float] = {}
    scales: dict[str, float] = {}
    for name in statistics:
        codes = scheme.own_codes(layers[name], False)
        top = (127 - codes.zero) * codes.scale
        thresholds[name] = float(top.max())
        scales[name] = float(1 / codes.scale.max())
    precisions = {name: {"out_key": 8} for name in statistics}
    precisions.update({name: {"out_key": scheme.head_bits} for name in net.heads})
    lines = (list(net.heads), thresholds, precisions, scales)
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)


def all_quantize_ext(extension: Extension) -> str:
    """The two lines of `.all.quantize.ext` (spec 6.1): output scales, inputs_ext."""
    record = json.loads(extension.to_json())
    return json.dumps(record["oscales"]) + "\n" + json.dumps(record["inputs_ext"]) + "\n"
