"""Quantize a YOLOv5 checkpoint to an integer-only CVM model by the MRT method.

import yolo_mrt

yolo_mrt.quantize("weights/yolov5n", "calib/images", "qout/yolov5n_cvm")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolo_mrt.api import quantize
    from yolo_mrt.compile.boxes import BoxesOptions

__version__ = "0.2.0"

__all__ = ["BoxesOptions", "quantize"]

#: Public name → the module it is in, which is imported when the name is first asked for.
_MODULES = {"BoxesOptions": "yolo_mrt.compile.boxes", "quantize": "yolo_mrt.api"}

# The package of the stage `quantize` puts itself under its name here when it is first imported.
# That happens now, and the name is freed for the function; imports from the package still work.
importlib.import_module("yolo_mrt.quantize")
globals().pop("quantize", None)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
