"""The only import of the optional ONNX libraries, which only those who use ONNX files need."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

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


def parse(data: bytes, source: str) -> Any:
    """The ModelProto in an ONNX file's bytes. InputError when they are damaged."""
    library = onnx()
    protobuf = importlib.import_module("google.protobuf.message")
    try:
        return library.load_model_from_string(data)
    except (protobuf.DecodeError, ValueError) as error:
        raise InputError(source, f"is not a complete ONNX file ({error})", "an export") from error


def onnxruntime() -> ModuleType | None:
    """The onnxruntime module, None where it is not installed: it serves checks alone."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError:
        return None
