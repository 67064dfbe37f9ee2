"""What quantizing and judging take of this machine, estimated before the work begins.

Pictures, which may be large, are not counted. On yolov5n the memory is 1.1 times what a process
takes at 640 pixels and 1.5 times at 64. The time is an order of magnitude.
"""

from __future__ import annotations

import time

import numpy as np

from yolo_core.budget import granted
from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.mxnet.importing import mxnet
from yolo_mrt.calibrate.beside import WAITING
from yolo_mrt.calibrate.views import ENOUGH, views_each
from yolo_mrt.network.net import Layer, Net
from yolo_mrt.quantize.quantizer import MOMENT_BYTES, moment_images
from yolo_mrt.settings import SENSITIVITY_IMAGES, Settings

#: Python, NumPy, OpenCV and MXNet before they have seen a network, in bytes.
_LIBRARIES = 270 << 20
#: Bytes that are held for each weight: float32 for MXNet and for us, codes, integers, files.
_PER_WEIGHT = 40
#: Tensors of the size of a layer's result that its activation needs beside the live ones.
_BESIDE = 3
#: Most convolutions of the trial, side and channels of one, and how much slower than these a whole
#: network is with its activations and our sums.
_TRIALS, _TRIAL_SIDE, _TRIAL_CHANNELS, _SLOWER = 30, 40, 64, 4.0
#: Seconds after which no other convolution is tried. A few are not enough where other programs
#: run: threads that wait for each other made the best of three twenty times too slow.
_TRIAL_SECONDS = 0.5
#: Seconds for everything that does not grow with the images.
_START = 5.0
#: Passes of one image through the network that a tensor costs when it is judged.
_JUDGED = 0.5


def macs(net: Net, imgsz: tuple[int, int]) -> int:
    """Multiply-accumulates of one image."""
    extents = net.extents(*imgsz)
    return sum(
        layer.weights.size * extents[layer.name][0] * extents[layer.name][1]
        for layer in net.convolutions()
    )


def passes(settings: Settings, reads: int) -> int:
    """Images that go through the network in all stages together. reads: of its convolutions."""
    images = len(settings.images)
    each = views_each(min(images, ENOUGH))
    learned, ways = moment_images(settings.effort, images)
    found = images * each + learned * ways + 2 * settings.evaluate_images
    if settings.effort == "high":  # every read is tried
        found += round(min(images, SENSITIVITY_IMAGES) * _JUDGED * reads)
    return found


def memory(net: Net, imgsz: tuple[int, int], keep: bool) -> int:
    """Bytes at the peak. keep: whether all tensors of an image are kept, as for the report."""
    sizes = _sizes(net, imgsz)
    largest = max(sizes.values())
    held = sum(sizes.values()) if keep else _live(net, sizes)
    weights = net.weight_count() * _PER_WEIGHT
    return _LIBRARIES + weights + held + (_BESIDE + 2 * WAITING) * largest + _moments(net)


def _sizes(net: Net, imgsz: tuple[int, int]) -> dict[str, int]:
    """Bytes of every tensor in float32."""
    extents, channels = net.extents(*imgsz), net.channels()
    return {name: 4 * channels[name] * rows * columns for name, (rows, columns) in extents.items()}


def _live(net: Net, sizes: dict[str, int]) -> int:
    """Bytes of the tensors that are needed at once."""
    last = net.last_use()
    now = most = 0
    for index, layer in enumerate(net.layers):
        now += sizes[layer.name]
        most = max(most, now)
        now -= sum(sizes[name] for name in dict.fromkeys(layer.inputs) if last[name] == index)
    return most


def _moments(net: Net) -> int:
    """Bytes of the moments that are held, and of the factors of the largest."""
    squares = [_columns(layer) ** 2 * 8 for layer in net.convolutions() if layer.groups == 1]
    largest = max(squares, default=0)
    return min(sum(squares), max(MOMENT_BYTES, largest)) + 2 * largest


def _columns(layer: Layer) -> int:
    return int(np.prod(layer.weights.shape[1:]))


def check_quantizing(net: Net, settings: Settings) -> str:
    """What quantizing needs, in one line. InputError where the user grants less memory."""
    needed = memory(net, settings.imgsz, keep=settings.effort == "high")
    _check(needed, settings.checkpoint)
    return _told(needed, macs(net, settings.imgsz) * passes(settings, len(net.convolutions())))


def check_judging(net: Net, settings: Settings, images: int, subjects: int) -> str:
    """What judging so many tensors on so many images needs, as `check_quantizing` has it."""
    needed = memory(net, settings.imgsz, keep=True)
    _check(needed, settings.out)
    return _told(needed, macs(net, settings.imgsz) * images * (1 + _JUDGED * subjects))


def _check(needed: int, source: PathLike) -> None:
    most = granted().memory
    if most is not None and needed > most:
        expected = f"at most {most:,} (--max-memory)"
        raise InputError(source, f"needs about {needed:,} bytes", expected)


def _told(needed: int, work: float) -> str:
    """The estimate in one line. work: multiply-accumulates of everything."""
    seconds = _START + work * _SLOWER / _speed()
    length = f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
    return f"This needs about {needed / 1e6:,.0f} MB and {length} on this machine."


def _speed() -> float:
    """Multiply-accumulates a second of a usual convolution in MXNet, on this machine now."""
    mx = mxnet()
    side, channels = _TRIAL_SIDE, _TRIAL_CHANNELS
    x = mx.nd.ones((1, channels, side, side))
    weight, bias = mx.nd.ones((channels, channels, 3, 3)), mx.nd.zeros((channels,))
    best, end = float("inf"), time.monotonic() + _TRIAL_SECONDS
    for _ in range(_TRIALS):
        begin = time.monotonic()
        if begin > end:
            break
        mx.nd.Convolution(
            x, weight, bias, kernel=(3, 3), pad=(1, 1), num_filter=channels
        ).wait_to_read()
        best = min(best, time.monotonic() - begin)
    return float(weight.size * side * side / max(best, 1e-6))
