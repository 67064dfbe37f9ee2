"""Which processor MXNet works on: "cpu", "cpu:1", "gpu:0", and lists of them; a bare number is a
GPU, as in YOLOv5.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from yolo_core.errors import InputError, ShortageError
from yolo_core.mxnet.importing import mxnet

#: What MXNet, oneDNN, CUDA and cuDNN say when there is no memory left.
_NO_MEMORY = ("Failed to allocate", "could not create a memory object", "out of memory",
              "bad_alloc", "ALLOC_FAILED")  # fmt: skip
#: Errors of work under way that are waited for.
_AT_MOST = 100
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
        seen = f"gpu:0 to gpu:{found - 1}" if found else "cpu, since MXNet sees no GPU"
        raise InputError("device", f"is {device!r}", seen)
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


@contextmanager
def memory_for(what: str, expected: str) -> Iterator[None]:
    """ShortageError that names `what` and what was expected where the block runs out of memory."""
    try:
        yield
    except MemoryError as error:
        reason = str(error).partition(" for an array")[0]
        raise ShortageError(_shortage(what, expected, reason)) from error
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        raise ShortageError(_shortage(what, expected, str(error.strerror))) from error
    except mxnet().MXNetError as error:
        reason = str(error).strip().rpartition("\n")[2]
        if not any(words in reason for words in _NO_MEMORY):
            raise
        _let_the_rest_fail()
        raise ShortageError(_shortage(what, expected, reason)) from error


def _let_the_rest_fail() -> None:
    """Hear the other errors of work under way, which MXNet would print when the process ends."""
    mx = mxnet()
    for _ in range(_AT_MOST):
        try:
            mx.nd.waitall()
        except mx.MXNetError:
            continue
        return


def _shortage(what: str, expected: str, reason: str) -> str:
    told = f" ({reason})" if reason else ""
    return f"{what}: there is too little memory{told}; expected {expected}"
