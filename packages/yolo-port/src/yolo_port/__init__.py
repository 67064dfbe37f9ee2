"""Bring YOLOv5 weights in from PyTorch, safetensors, NumPy and ONNX files, and out again.

import yolo_port

yolo_port.convert("yolov5n.pt", "weights/")
assert yolo_port.verify("yolov5n.pt", "weights/yolov5n").passed
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolo_port.conversion import convert
    from yolo_port.inspection import inspect
    from yolo_port.readers import load
    from yolo_port.verification import verify

__version__ = "0.2.0"

__all__ = ["convert", "inspect", "load", "verify"]

#: Public function → the module it is in, which is imported when the function is first asked for.
_MODULES = {
    "convert": "yolo_port.conversion",
    "inspect": "yolo_port.inspection",
    "load": "yolo_port.readers",
    "verify": "yolo_port.verification",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
