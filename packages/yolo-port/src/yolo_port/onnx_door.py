"""The only door to the optional ONNX libraries, which only those who use ONNX files need."""

from __future__ import annotations

import importlib
from types import ModuleType

from yolo_core.errors import InputError


def onnx() -> ModuleType:
    """The onnx module with the parts that are used. InputError with the remedy when absent."""
    try:
        for part in ("onnx.checker", "onnx.helper", "onnx.numpy_helper"):
            importlib.import_module(part)
        return importlib.import_module("onnx")
    except ImportError as error:
        raise InputError(
            "onnx", f"cannot be imported ({error})", 'pip install "yolo-port[onnx]"'
        ) from error


def onnxruntime() -> ModuleType | None:
    """The onnxruntime module, None where it is not installed: it serves checks alone."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError:
        return None
