"""The five stages, in order: prepare, calibrate, quantize, evaluate, compile.

Each reads the files of the ones before, writes its own (names of spec 6.1) and is skipped when
nothing that it depends on has changed. `run` is all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import atomic_files, atomic_write, read_json, sha256_file
from yolo_core.mxnet.params import encode_params
from yolo_core.progress import progress
from yolo_core.yolo.boxes import detections, rows_of
from yolo_core.yolo.letterbox import Letterbox, read_image
from yolo_mrt import cache, costs
from yolo_mrt.calibrate.calibration import make_scheme, spread_thresholds
from yolo_mrt.calibrate.float_pass import TensorStatistics, measure
from yolo_mrt.calibrate.scheme import Scheme
from yolo_mrt.calibrate.views import ENOUGH, views_each
from yolo_mrt.compile import deliver
from yolo_mrt.compile.boxes import told, with_boxes
from yolo_mrt.compile.comparison import CONFIDENT, compare
from yolo_mrt.network.source import Source, check_weights, read_source
from yolo_mrt.pictures import Likeness, spread
from yolo_mrt.planes import code_planes, float_planes
from yolo_mrt.quantize.effort import measured_reads, refined_reads
from yolo_mrt.quantize.quantizer import learn_rounding, moment_images
from yolo_mrt.settings import SENSITIVITY_IMAGES, STAGES, Settings
from yolo_mrt.stage_files import (
    calibrated,
    extension_of,
    finished,
    graph_of,
    net_to_dict,
    prepared,
    statistics_arrays,
    statistics_of,
)

#: Share of the calibration images that the float network should see something on. It is confident
#: of an object on 121 of 128 training pictures of COCO (yolov5n).
_SEEING = 0.25
Say = Callable[[str], None]


def run(settings: Settings, stages: Sequence[str] = STAGES, say: Say = lambda text: None) -> None:
    """Run these stages in their order; those whose result is still good are skipped."""
    for stage in STAGES:
        if stage in stages:
            _RUNNERS[stage](settings, say)


def _prepare(settings: Settings, say: Say) -> None:
    source = read_source(settings.checkpoint)
    say(costs.check_quantizing(source.net, settings))
    key = cache.key_of("prepare", {"source": source.digest, "imgsz": list(settings.imgsz)})
    conf = settings.stage_file(".prepare.conf")
    if cache.is_current(conf, key):
        say(f"prepare: unchanged ({conf.name})")
        return
    check_weights(source.net, str(settings.checkpoint))
    files = {
        "json": settings.stage_file(".prepare.json"),
        "params": settings.stage_file(".prepare.params"),
    }
    arrays: dict[str, Array] = {}
    for layer in source.net.convolutions():
        arrays[f"arg:{layer.name}.weight"] = layer.weights
        arrays[f"arg:{layer.name}.bias"] = layer.biases
    contents: dict[Path, str | bytes] = {
        files["json"]: json.dumps(net_to_dict(source), indent=1) + "\n",
        files["params"]: encode_params(arrays),
    }
    atomic_files(contents, cache=True)
    notes = {"input_shape": [-1, 3, *settings.imgsz], "split_keys": [], "source": source.digest}
    cache.seal(conf, key, "", files.values(), notes)
    say(f"prepare: {len(source.net.layers)} layers, {source.net.weight_count()} weights")


def _calibrate(settings: Settings, say: Say) -> None:
    source = prepared(settings)
    after = finished(settings, "prepare")
    inputs = {
        "prepare": after,
        "images": [sha256_file(image) for image in settings.images],
        "letterbox": settings.letterbox,
        "thresholds": dict(settings.thresholds),
        "deviations": settings.deviations,
        "head_bits": settings.head_bits,
        "effort": settings.effort,
        "refine": list(settings.refine),
        "scheme": sha256_file(settings.scheme) if settings.scheme else None,
    }
    key = cache.key_of("calibrate", inputs)
    conf = settings.stage_file(".calibrate.conf")
    if cache.is_current(conf, key):
        say(f"calibrate: unchanged ({conf.name})")
        return
    net = source.net
    unknown = set(settings.thresholds) - {layer.name for layer in net.layers}
    if unknown:
        raise InputError("thresholds", f"name {sorted(unknown)[0]!r}", "a tensor of the network")
    refined_reads(net, net.extents(*settings.imgsz), settings.refine)  # refused before any work
    different, statistics, seeing = _measured(settings, source)
    if settings.scheme:
        scheme = Scheme.from_dict(read_json(settings.scheme), net, str(settings.scheme))
    else:
        scheme = _scheme(settings, source, statistics, different)
    files = {
        "json": settings.stage_file(".mrt.calibrate.json"),
        "params": settings.stage_file(".mrt.calibrate.params"),
        "ext": settings.stage_file(".mrt.calibrate.ext"),
    }
    contents: dict[Path, str | bytes] = {
        files["json"]: json.dumps(scheme.to_dict()) + "\n",
        files["params"]: encode_params(statistics_arrays(statistics)),
        files["ext"]: deliver.calibration_ext(net, scheme, statistics),
    }
    atomic_files(contents, cache=True)
    cache.seal(conf, key, after, files.values(), {"images": len(settings.images)})
    seen = told_images(len(settings.images), views_each(different))
    say(f"calibrate: {len(scheme.menu)} tables, {seen}")
    if seeing < _SEEING * len(settings.images):
        shown = told_images(len(settings.images), 1)
        say(
            f"calibrate: warning: the float network is confident of an object on {seeing} of "
            f"{shown}; where these are not such as the model will see, it will lose boxes"
        )


def told_images(number: int, each: int) -> str:
    """How many images there are, and in how many ways each of too few is seen."""
    count = "1 image" if number == 1 else f"{number} images"
    return count if each == 1 else f"{count}, each seen in {each} ways"


def _measured(settings: Settings, source: Source) -> tuple[int, dict[str, TensorStatistics], int]:
    """How many different pictures there are, the statistics of all of them, and on how many the
    float network is confident of an object."""
    likeness = Likeness()
    for image in settings.images:
        if likeness.different == ENOUGH:
            break
        likeness.is_new(read_image(image))
    each = views_each(likeness.different)
    planes = float_planes(settings, source, "calibrate", each=each)
    seeing: list[bool] = []

    def look(heads: tuple[Array, ...]) -> None:
        numbers = rows_of(heads, source.architecture.no)[0]
        found = detections(numbers, source.architecture, settings.imgsz, CONFIDENT)
        seeing.append(len(found) > 0)

    statistics = measure(source.net, planes, source.net.extents(*settings.imgsz), look)
    for name, found in statistics.items():
        if not np.isfinite([found.low, found.high]).all():
            raise InputError(settings.checkpoint, f"overflows at {name} on the calibration images",
                             "finite numbers at every tensor")  # fmt: skip
    # The first view of each picture is the picture itself.
    return likeness.different, statistics, sum(seeing[::each])


def _scheme(
    settings: Settings,
    source: Source,
    statistics: Mapping[str, TensorStatistics],
    different: int,
) -> Scheme:
    net = source.net
    thresholds = dict(settings.thresholds)
    if settings.deviations is not None:
        thresholds = {**spread_thresholds(statistics, settings.deviations), **thresholds}
    fine = refined_reads(net, net.extents(*settings.imgsz), settings.refine)
    scheme = make_scheme(net, statistics, fine, thresholds, different)
    if settings.effort == "high":
        planes = float_planes(settings, source, "sensitivity", SENSITIVITY_IMAGES)
        fine = measured_reads(source, scheme, planes, settings.imgsz, fine)
        scheme = make_scheme(net, statistics, fine, thresholds, different)
    # The outputs' range stays ±32, beyond which a sigmoid says nothing new.
    return replace(scheme, head_bits=settings.head_bits, head_exponent=settings.head_bits - 6)


def _quantize(settings: Settings, say: Say) -> None:
    source = prepared(settings)
    after = finished(settings, "calibrate")
    inputs = {
        "calibrate": after,
        "scheme": sha256_file(settings.stage_file(".mrt.calibrate.json")),
        "images": [sha256_file(image) for image in settings.images],
    }
    key = cache.key_of("quantize", inputs)
    conf = settings.stage_file(".quantize.conf")
    if cache.is_current(conf, key):
        say(f"quantize: unchanged ({conf.name})")
        return
    scheme = calibrated(settings, source.net)
    count, each = moment_images(settings.effort, len(settings.images))
    convs = learn_rounding(
        source.net, scheme, lambda label: code_planes(settings, source, label, count, each)
    )
    files = {
        "json": settings.stage_file(".mrt.quantize.json"),
        "params": settings.stage_file(".mrt.quantize.params"),
        "ext": settings.stage_file(".mrt.quantize.ext"),
        "all": settings.stage_file(".all.quantize.ext"),
    }
    extension = extension_of(settings, source, scheme)
    record = {name: {"shift": c.shift, "clip_bits": c.clip_bits} for name, c in convs.items()}
    arrays: dict[str, Array] = {}
    for name, conv in convs.items():
        arrays[f"{name}.weight"] = conv.weight
        arrays[f"{name}.bias"] = conv.bias.astype(np.int64)
        arrays[f"{name}.multiplier"] = conv.multiplier.astype(np.int64)
        arrays[f"{name}.step"] = conv.step
    contents: dict[Path, str | bytes] = {
        files["json"]: json.dumps(record, indent=1) + "\n",
        files["params"]: encode_params(arrays),
        files["ext"]: deliver.calibration_ext(source.net, scheme, statistics_of(settings)),
        files["all"]: deliver.all_quantize_ext(extension),
    }
    atomic_files(contents, cache=True)
    cache.seal(conf, key, after, files.values(), {"input_shape": [-1, 3, *settings.imgsz]})
    say(f"quantize: {len(convs)} convolutions, rounding learned on {told_images(count, each)}")


def _evaluate(settings: Settings, say: Say) -> None:
    if settings.evaluate_images == 0:
        say("evaluate: skipped, no images asked for")
        return
    after = finished(settings, "quantize")
    own = not settings.judged
    images = spread(settings.images if own else settings.judged, settings.evaluate_images)
    digests = [sha256_file(image) for image in images]
    inputs = {"quantize": after, "images": digests, "own": own, "told": "estimate by rows"}
    key = cache.key_of("evaluate", inputs)
    conf = settings.stage_file(".evaluate.conf")
    if cache.is_current(conf, key):
        say(f"evaluate: unchanged ({conf.name})")
        return
    graph, extension, source = graph_of(settings)
    fit = Letterbox(*settings.imgsz, mode=settings.letterbox)
    shown = progress(images, "evaluate", unit="images")
    fitted = (fit.apply(read_image(image))[0] for image in shown)
    result = compare(graph, extension, source, fitted, str(settings.checkpoint))
    path = settings.stage_file(".evaluate.json")
    record: dict[str, Any] = {**result.to_dict(), "calibrated_on": own}
    if result.estimate is not None:
        # The form in which `yolo-cvm bundle --metrics` takes figures for the model card.
        record["model"] = {"name": settings.checkpoint.name, "kind": "integer"}
        record["metrics"] = result.estimate.metrics()
    atomic_write(path, json.dumps(record, indent=1) + "\n", cache=True)
    cache.seal(conf, key, after, (path,))
    for line in result.told(own):
        say(f"evaluate: {line}")


def _compile(settings: Settings, say: Say) -> None:
    after = finished(settings, "quantize")
    inputs: dict[str, Any] = {"quantize": after, "out": str(settings.out.resolve())}
    if settings.boxes is not None:
        inputs["boxes"] = asdict(settings.boxes)
    key = cache.key_of("compile", inputs)
    conf = settings.stage_file(".compile.conf")
    if cache.is_current(conf, key):
        say(f"compile: unchanged ({conf.name})")
        return
    graph, extension, source = graph_of(settings)
    if settings.boxes is not None:
        graph, extension = with_boxes(graph, extension, settings.boxes)
    (planes,) = code_planes(settings, source, "compile", 1)
    sample = deliver.sample_file(planes.astype(np.int8))
    summary = deliver.write(settings.out, graph, extension, sample, source.net.weight_count())
    cache.seal(conf, key, after, (settings.out / name for name in deliver.FILES))
    say(f"compile: {settings.out}: {summary}")
    if settings.boxes is not None and extension.boxes is not None:
        say(f"compile: {told(extension.boxes, settings.boxes)}")


_RUNNERS: dict[str, Callable[[Settings, Say], None]] = {
    "prepare": _prepare,
    "calibrate": _calibrate,
    "quantize": _quantize,
    "evaluate": _evaluate,
    "compile": _compile,
}
