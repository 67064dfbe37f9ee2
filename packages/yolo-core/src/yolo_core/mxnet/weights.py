"""Weights of any kind as a checkpoint: our own, or a file that an installed package reads.

A package names its reader as an entry point of the group `yolo_core.weights`: a function from the
path of a file to a `Checkpoint`, which raises InputError. yolo-port reads PyTorch, ONNX,
safetensors and NumPy files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.mxnet.checkpoint import Checkpoint, is_checkpoint, read_checkpoint
from yolo_core.plugins import installed
from yolo_core.yolo.predictor import FOREIGN_ENDINGS

ENTRY_POINTS = "yolo_core.weights"


def read_weights(path: PathLike) -> Checkpoint:
    """The checkpoint at a stem, or the weights in a file of another framework.

    InputError where there is neither, or where no installed package reads such files.
    """
    if is_checkpoint(path):
        return read_checkpoint(path)
    expected = (
        f"the stem of one, a training run, or a file {', '.join(FOREIGN_ENDINGS)}, "
        "of which yolo-port convert FILE --no-fuse makes one"
    )
    if not str(path).lower().endswith(FOREIGN_ENDINGS):
        raise InputError(path, "is not a checkpoint", expected)
    if not Path(path).is_file():
        raise InputError(path, "does not exist", expected)
    return _reader(path)(path)


def _reader(path: PathLike) -> Callable[[PathLike], Checkpoint]:
    for point in installed(ENTRY_POINTS):
        reader: Callable[[PathLike], Checkpoint] = point.load()
        return reader
    raise InputError(
        path, "needs yolo-port, which is not installed",
        "pip install yolo-port (from a checkout: pip install packages/yolo-port)",
    )  # fmt: skip
