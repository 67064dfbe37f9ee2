"""One module per source format, and `load`, which tells them apart by content, not by name."""

from __future__ import annotations

from pathlib import Path

from yolo_core.checkpoint import Checkpoint, checkpoint_files, is_checkpoint, read_checkpoint
from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_port.matching import match
from yolo_port.readers.torch_model import read_torch

_EXPECTED = "a .pt, .safetensors, .npy, .npz or .onnx file, or an MXNet checkpoint"
_ZIP = b"PK\x03\x04"
# The first thing in a file of torch.save before PyTorch 1.6: a pickled magic number.
_LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


def load(path: PathLike) -> Checkpoint:
    """The YOLOv5 checkpoint in a file of any supported format, or at a checkpoint's stem.

    As stored: fused only if the source is. InputError names the file and what is wrong with it.
    """
    path = Path(path)
    if is_checkpoint(path):
        return read_checkpoint(path)
    if not path.is_file():
        cause = "is not a regular file" if path.exists() else "does not exist"
        raise InputError(path, cause, _EXPECTED)
    try:
        with open(path, "rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})") from error
    if head.startswith(_ZIP):
        return match(read_torch(path))
    if head.startswith(_LEGACY_TORCH):
        raise InputError(path, "is a PyTorch file in the form of before 1.6",
                         "one saved again by PyTorch 1.6 or later")  # fmt: skip
    raise InputError(path, "is in no format that is known here", _EXPECTED)


def source_file(path: PathLike) -> Path:
    """The file whose digest stands for a source: itself, or the parameters of a checkpoint."""
    path = Path(path)
    return checkpoint_files(path)[1] if is_checkpoint(path) else path
