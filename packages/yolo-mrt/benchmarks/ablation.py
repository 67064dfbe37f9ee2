"""What each means of the quantizer brings: one network, quantized with one more of them at a time.

    python ablation.py CHECKPOINT --data calib/images --images val/images
                       --annotations val/instances.json [--imgsz 640]

Every row is a model folder of its own in runs/ablation. Its loss is that of its integers on the
CVM runtime, told by `yolo-eval` (to be installed with yolo-cvm); what has been scored is not
scored again. The time is that of quantizing alone, from the checkpoint on.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from yolo_core.files import read_json
from yolo_core.graph.costs.gas import gas
from yolo_core.mxnet.checkpoint import checkpoint_stem
from yolo_core.yolo.model_folder import PARAMS, read_model_folder
from yolo_mrt.calibrate.calibration import HEADROOM, importances, make_scheme
from yolo_mrt.calibrate.float_pass import THRESHOLDS, TensorStatistics
from yolo_mrt.calibrate.scheme import Scheme
from yolo_mrt.calibrate.tables import LEVELS, activation_low
from yolo_mrt.compile import deliver
from yolo_mrt.compile.lower import lower
from yolo_mrt.network.net import Net
from yolo_mrt.pictures import calibration_images
from yolo_mrt.planes import code_planes
from yolo_mrt.quantize.quantizer import NORMAL_IMAGES, integer_convs, learn_rounding
from yolo_mrt.settings import Settings
from yolo_mrt.stage_files import extension_of, prepared, statistics_of
from yolo_mrt.stages import run

RUNS = Path("runs/ablation")
NUM_CALIB = 128
FIGURES = ("AP", "AP50", "AP75")


@dataclass(frozen=True)
class Row:
    """One model: what it has beyond the one before, its folder, seconds to quantize."""

    added: str
    model: Path
    seconds: float


def peak_thresholds(statistics: Mapping[str, TensorStatistics]) -> dict[str, float]:
    """Per tensor the largest value that calibration saw."""
    return {name: max(float(s.high.max()), float(THRESHOLDS[0])) for name, s in statistics.items()}


def error_thresholds(net: Net, statistics: Mapping[str, TensorStatistics]) -> dict[str, float]:
    """Per tensor the threshold with the least error of all channels together."""
    layers, weight_of = net.by_name(), importances(net)
    found: dict[str, float] = {}
    for name, stats in statistics.items():
        low = np.minimum(stats.low, 0.0)
        if layers[name].activation:
            top = np.maximum(stats.high, THRESHOLDS[0])
            low = activation_low(layers[name].activation, top, layers[name].slope)
        cost = (stats.clip_cost(LEVELS, low) * weight_of[name]).sum(axis=1)
        found[name] = float(THRESHOLDS[cost.argmin()]) * HEADROOM
    return found


def build(settings: Settings, scheme: Scheme, learned: bool) -> None:
    """The model of a scheme, from the stage files of a calibrated run.

    learned: whether the rounding is learned; else it is to nearest.
    """
    source = prepared(settings)

    def images(label: str) -> Iterator[np.ndarray]:
        return code_planes(settings, source, label, NORMAL_IMAGES)

    net = source.net
    convs = learn_rounding(net, scheme, images) if learned else integer_convs(net, scheme)
    graph = lower(net, scheme, convs, settings.imgsz)
    sample = next(iter(code_planes(settings, source, "sample", 1))).astype(np.int8)
    extension = extension_of(settings, source, scheme)
    deliver.write(settings.out, graph, extension, sample, net.weight_count())


def build_all(settings: Settings) -> list[Row]:
    """The rows in the order in which the means are added."""
    begin = time.monotonic()
    run(settings, ("prepare", "calibrate"))
    calibration = time.monotonic() - begin
    net, statistics = prepared(settings).net, statistics_of(settings)
    peak = make_scheme(net, statistics, {}, peak_thresholds(statistics))
    error = make_scheme(net, statistics, {}, error_thresholds(net, statistics))
    channel = make_scheme(net, statistics, {}, {})
    rounding = f"rounding learned on {NORMAL_IMAGES} images, means kept by the biases"
    rows: list[Row] = []
    for name, added, scheme, learned in (
        ("peak", "one threshold per tensor, its largest value", peak, False),
        ("error", "thresholds weigh rounding against clipping", error, False),
        ("channel", "a threshold per channel", channel, False),
        ("rounding", rounding, channel, True),
    ):
        begin = time.monotonic()
        out = RUNS / f"{name}_cvm"
        build(replace(settings, out=out), scheme, learned)
        rows.append(Row(added, out, calibration + time.monotonic() - begin))
    for effort, added in (
        ("normal", "fine reads (the default)"),
        ("high", "reads tried one by one, rounding from all images (`--effort high`)"),
    ):
        begin = time.monotonic()
        out, work = RUNS / f"{effort}_cvm", RUNS / effort / settings.work.name
        run(replace(settings, effort=effort, work=work, out=out))
        rows.append(Row(added, out, time.monotonic() - begin))
    return rows


def score(model: Path, images: str, annotations: str) -> Path:
    """The run file of a checkpoint or model folder, made unless it is there."""
    target = RUNS / f"{model.name}.json"
    if not target.exists():
        _eval("coco", model, "--images", images, "--annotations", annotations, "--json", target)
    return target


def losses(exact: Path, runs: Sequence[Path]) -> list[dict[str, str]]:
    """Per run: figure → points lost against the exact run, with the 95 % interval."""
    _eval("compare", exact, *runs, "--out", RUNS / "compare")
    found = read_json(RUNS / "compare" / "metrics.json")["comparisons"]
    return [{name: _lost(pair["figures"][name]) for name in FIGURES} for pair in found]


def _lost(interval: Mapping[str, float]) -> str:
    """Changes in fractions, as `compare` tells them, are losses in points here."""
    lost, low, high = (-100 * interval[key] for key in ("delta", "high", "low"))
    return f"{lost:+.2f} ({low:+.2f} to {high:+.2f})"


def _eval(*words: object) -> None:
    subprocess.run(["yolo-eval", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Build, score, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--annotations", required=True)
    parser.add_argument("--imgsz", type=int, default=640)
    options = parser.parse_args()
    stem = checkpoint_stem(options.checkpoint)
    settings = Settings(
        checkpoint=stem,
        images=calibration_images(options.data, NUM_CALIB),
        imgsz=(options.imgsz, options.imgsz),
        work=RUNS / "first" / stem.name,
        out=RUNS / "first_cvm",
    )
    rows = build_all(settings)
    weights = prepared(settings).net.weight_count()
    exact = score(stem, options.images, options.annotations)
    runs = [score(row.model, options.images, options.annotations) for row in rows]
    columns = [f"{figure} lost (95 %)" for figure in FIGURES]
    print("|", " | ".join(["added", *columns, "gas G", "bytes per weight", "time s"]), "|")
    print("|---" + "|---:" * (len(FIGURES) + 3) + "|")
    for row, lost in zip(rows, losses(exact, runs)):
        cost = gas(read_model_folder(row.model).graph) / 1e9
        size = (row.model / PARAMS).stat().st_size / weights
        cells = [row.added, *(lost[figure] for figure in FIGURES)]
        cells += [f"{cost:.3f}", f"{size:.3f}", f"{row.seconds:.0f}"]
        print("|", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
