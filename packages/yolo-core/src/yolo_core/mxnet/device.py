"""Which processor MXNet works on: "cpu", "cpu:1", "gpu:0", and lists of them; a bare number is a
GPU, as in YOLOv5.
"""

from __future__ import annotations

import re
from typing import Any

from yolo_core.errors import InputError
from yolo_core.mxnet.importing import mxnet

_DEVICE = re.compile(r"(cpu|gpu)(?::(\d{1,3}))?")


def context(device: str) -> Any:
    """The MXNet context of one device. InputError for a GPU that is not there."""
    match = _DEVICE.fullmatch(f"gpu:{device}" if device.isdigit() else device)
    if not match:
        raise InputError("device", f"is {device!r}", "cpu or gpu:0")
    kind, index = match.group(1), int(match.group(2) or 0)
    mx = mxnet()
    if kind == "cpu":
        return mx.cpu(index)
    found = mx.context.num_gpus()
    if index >= found:
        raise InputError("device", f"is {device!r}", f"one of the {found} GPUs that MXNet sees")
    return mx.gpu(index)


def contexts(devices: str) -> list[Any]:
    """The MXNet contexts of "cpu", "gpu:0", "gpu:0,1", "0,1" or "cpu:0,cpu:1"."""
    kind, found = "gpu", []
    for item in devices.split(","):
        item = item.strip()
        kind = item.partition(":")[0] if not item.isdigit() else kind
        found.append(context(f"{kind}:{item}" if item.isdigit() else item))
    if len(set(found)) != len(found):
        raise InputError("device", f"is {devices!r}", "each device once")
    return found
