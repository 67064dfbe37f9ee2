"""One module per source format, and `read`, which tells them apart by content, not by name."""

from __future__ import annotations

from pathlib import Path

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.mxnet.checkpoint import Checkpoint, checkpoint_files, is_checkpoint, read_checkpoint
from yolo_port.matching import match
from yolo_port.pickle_machine import SCAN_LIMIT
from yolo_port.readers.numpy_file import read_npy, read_npz
from yolo_port.readers.onnx_file import read_onnx
from yolo_port.readers.original_port import SYMBOL_ENDING, original_files, read_original
from yolo_port.readers.safetensors_file import is_safetensors, read_safetensors
from yolo_port.readers.torch_legacy import MAGIC
from yolo_port.readers.torch_model import check_globals, read_torch
from yolo_port.source import Answers, SourceModel

_EXPECTED = "a .pt, .safetensors, .npy, .npz or .onnx file, or an MXNet checkpoint"
_ZIP = b"PK\x03\x04"
_NPY = b"\x93NUMPY"
# The name of a zip's first entry begins at byte 30; NumPy's end in .npy.
_ZIP_NAME_LENGTH, _ZIP_NAME = slice(26, 28), 30
# The first opcode of a pickle.
_PICKLE = b"\x80"
_TORCH_ENDINGS = (".pt", ".pth")
_TAR_PLACE, _TFLITE_PLACE = slice(257, 262), slice(4, 8)
_MXNET_PARAMS = b"\x12\x01\0\0\0\0\0\0"
# The first field of an ONNX file is its format version, a small number.
_ONNX = b"\x08"
_SOURCE = "the .pt that it was exported from, or an ONNX export"
#: Beginning of a file in small letters → what it is instead of a model, and the remedy.
_OTHER_FILES = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file that it stands for",
     "the file itself: git lfs pull"),
    (b"<!doctype html", "is a web page, not a model", "the file behind it: download it again"),
    (b"<html", "is a web page, not a model", "the file behind it: download it again"),
    (b"\x1f\x8b", "is packed with gzip", "the unpacked file: gunzip"),
    (b"bzh", "is packed with bzip2", "the unpacked file: bunzip2"),
    (b"\xfd7zxz", "is packed with xz", "the unpacked file: unxz"),
    (b"7z\xbc\xaf'\x1c", "is a 7-Zip archive", "the file inside, unpacked"),
    (b"rar!", "is a RAR archive", "the file inside, unpacked"),
    (b"\x89hdf", "is an HDF5 file, as Keras writes it", _SOURCE),
    (b"<?xml", "is an XML file, as OpenVINO writes it", _SOURCE),
    (b"7767517", "is a network of ncnn", _SOURCE),
    (b"ftrt", "is an engine of TensorRT", _SOURCE),
    (b"[net]", "is a configuration of Darknet", "a YOLOv5 model"),
)  # fmt: skip


def load(path: PathLike, answers: Answers | None = None) -> Checkpoint:
    """The YOLOv5 checkpoint in a file of any supported format, or at a checkpoint's stem.

    As stored: fused only if the source is. answers: what the user says where the file is silent.
    InputError names the file and what is wrong with it.
    """
    return read_checkpoint(path) if is_checkpoint(path) else match(read(path), answers)


def read(path: PathLike) -> SourceModel:
    """The content of a file in any foreign format, in Ultralytics' words."""
    path = Path(path)
    original = original_files(path)
    if original is not None:
        return read_original(*original)
    if path.is_dir():
        inside = sorted(each.name for pattern in ("*.pt", "weights/*.pt", "*.onnx")
                        for each in path.glob(pattern))  # fmt: skip
        which = f"one file: {', '.join(inside[:4])}" if inside else _EXPECTED
        raise InputError(path, "is a folder", which)
    if not path.is_file():
        cause = "is not a regular file" if path.exists() else "does not exist"
        raise InputError(path, cause, _EXPECTED)
    try:
        with open(path, "rb") as stream:
            head = stream.read(SCAN_LIMIT)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})") from error
    _refuse_other_files(path, head)
    if head.startswith(_ZIP):
        length = int.from_bytes(head[_ZIP_NAME_LENGTH], "little")
        numpy = head[_ZIP_NAME : _ZIP_NAME + length].endswith(b".npy")
        return read_npz(path) if numpy else read_torch(path)
    if head.startswith(MAGIC):
        return read_torch(path)
    if head.startswith(_NPY):
        return read_npy(path)
    if path.name.endswith(SYMBOL_ENDING):
        params = path.name[: -len(SYMBOL_ENDING)] + "-0000.params"
        raise InputError(path, "has no parameters beside it", f"{params}, or of another epoch")
    if head.startswith(_MXNET_PARAMS):
        raise InputError(path, "has neither its symbol nor its .yaml beside it", "all files of it")
    if is_safetensors(head, path.stat().st_size):
        return read_safetensors(path)
    if head.startswith(_ONNX):
        return read_onnx(path)
    if head.startswith(_PICKLE) or path.suffix in _TORCH_ENDINGS:
        check_globals(path, head)
    if head.startswith(_PICKLE):
        raise InputError(path, "is a pickle that torch.save did not write", _EXPECTED)
    raise InputError(path, "is in no format that is known here", _EXPECTED)


def _refuse_other_files(path: Path, head: bytes) -> None:
    """InputError for what often lies in a model's place, by what it is."""
    if not head:
        raise InputError(path, "is empty", f"{_EXPECTED}: copy or download it again")
    if head[_TAR_PLACE] == b"ustar":
        raise InputError(path, "is a tar archive", "the file inside: tar -xf")
    if head[_TFLITE_PLACE] == b"TFL3":
        raise InputError(path, "is a TensorFlow Lite model", _SOURCE)
    if path.suffix in (".yaml", ".yml"):
        raise InputError(path, "is a description, not weights", f"{_EXPECTED}; a model's "
                         "description goes to --cfg")  # fmt: skip
    start = head[:200].lstrip().lower()
    for beginning, what, remedy in _OTHER_FILES:
        if start.startswith(beginning):
            raise InputError(path, what, remedy)


def source_file(path: PathLike) -> Path:
    """The file whose digest stands for a source: itself, or the parameters of a checkpoint."""
    path = Path(path)
    if is_checkpoint(path):
        return checkpoint_files(path)[1]
    original = original_files(path)
    return path if original is None else original[1]
