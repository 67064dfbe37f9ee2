"""Own operators of the training, compiled when the package was installed: see native/.

Batch normalisation and SiLU are one operator here, which reads a tensor as often as it must and
not once for every step of the formula; what the loss needs of the heads is another, complete IoU a
third. Where the library cannot be used the network is made of
MXNet's own operators, and `absence` is the reason to tell. The environment variable
YOLO_TRAIN_OPERATORS names the instruction set (avx512, avx2, portable; all give the same bits), or
is `mxnet` for MXNet's own operators.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolo_core.errors import InputError
from yolo_core.mxnet.importing import mxnet

mx = mxnet()
_BatchNorm: Any = mx.gluon.nn.BatchNorm

#: The environment variable that chooses an instruction set, and its word for none.
VARIABLE, NONE = "YOLO_TRAIN_OPERATORS", "mxnet"
INSTRUCTION_SETS = ("avx512", "avx2", "portable")


class BatchNormSilu(_BatchNorm):  # type: ignore[misc]
    """Batch normalisation of a training and SiLU after it: [N, C, ...] float32 → the same.

    The parameters are those of batch normalisation. Each forward pass uses the batch's own
    statistics and moves the running ones, so it is for learning only.
    """

    def hybrid_forward(
        self, F: Any, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any
    ) -> Any:
        # MXNet 1.9.1 does not tell an operator of a library that a gradient is to be added to what
        # is there; its own operator in between does the adding. And it turns an input that lies in
        # oneDNN's layout into plain rows for every pass; a reshape to the same shape does it once.
        return F.yolo_batch_norm_silu(
            F.reshape(x, shape=(-2,)),
            F.reshape(gamma, shape=(-1,)),
            F.reshape(beta, shape=(-1,)),
            running_mean,
            running_var,
            eps=self._kwargs["eps"],
            momentum=self._kwargs["momentum"],
        )[0]


def path() -> Path:
    """Where the library lies if it was compiled."""
    return Path(__file__).with_name("_operators.so")


def absence() -> str:
    """Why MXNet's own operators are used, as the predicate of a sentence; empty with ours."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted == NONE:
        return f"is told to by {VARIABLE}={NONE}"
    if wanted and wanted not in INSTRUCTION_SETS:
        expected = f"one of {', '.join((*INSTRUCTION_SETS, NONE))}"
        raise InputError(VARIABLE, f"is {wanted!r}", expected)
    reason = _load()
    if not reason and not library().yolo_use(wanted.encode()):
        raise InputError(VARIABLE, f"is {wanted}", "an instruction set of this machine")
    return reason


def batch_norm_silu(devices: Sequence[Any]) -> Any | None:
    """`BatchNormSilu`, or None where it cannot be used on these MXNet contexts."""
    return BatchNormSilu if usable(devices) else None


def usable(devices: Sequence[Any]) -> bool:
    """Whether the library works on the arrays of these MXNet contexts."""
    return _all_cpus(devices) and not absence()


def notice(devices: Sequence[Any]) -> str:
    """The line that tells why a training on these MXNet contexts does without our operators."""
    reason = absence() if _all_cpus(devices) else ""
    if not reason:
        return ""
    return f"yolo-train {reason}: MXNet's own operators are used, which are slower."


def _all_cpus(devices: Sequence[Any]) -> bool:
    return all(device.device_type == "cpu" for device in devices)


@functools.lru_cache(maxsize=1)
def library() -> Any:
    """The compiled library. Only where `absence` is empty."""
    library = ctypes.CDLL(str(path()))
    library.yolo_use.restype, library.yolo_use.argtypes = ctypes.c_char_p, [ctypes.c_char_p]
    for name in ("yolo_square_sums", "yolo_update"):
        function = getattr(library, name)
        function.restype, function.argtypes = None, [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    return library


@functools.lru_cache(maxsize=1)
def _load() -> str:
    """Give MXNet the operators. Returns why that failed, empty where it did not."""
    if not path().exists():
        return "was installed without a C++ compiler"
    try:
        # First without MXNet, whose complaint about such a file is many lines long.
        library()
        mx.library.load(str(path()), verbose=False)
    except (OSError, AttributeError, mx.MXNetError) as error:
        cause = str(error).strip().splitlines()[-1]
        return f"has compiled operators that do not load ({cause})"
    return ""
