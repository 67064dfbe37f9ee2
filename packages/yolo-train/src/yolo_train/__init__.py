"""Train YOLOv5 in MXNet: CPU, GPUs, several machines.

import yolo_train

yolo_train.write_shapes("datasets/shapes", images=1000, imgsz=128, seed=0)
folder = yolo_train.fit(data="datasets/shapes/data.yaml", imgsz=128, epochs=18)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolo_train.options import FitOptions
    from yolo_train.run_folder import RunFolder
    from yolo_train.shapes import write_shapes
    from yolo_train.trainer import fit, resume

__version__ = "0.2.0"

__all__ = ["FitOptions", "RunFolder", "fit", "resume", "write_shapes"]

#: Public name → the module it is in, which is imported when the name is first asked for.
_MODULES = {
    "FitOptions": "yolo_train.options",
    "RunFolder": "yolo_train.run_folder",
    "fit": "yolo_train.trainer",
    "resume": "yolo_train.trainer",
    "write_shapes": "yolo_train.shapes",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
