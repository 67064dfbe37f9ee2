"""Deterministic CVM runtime: the same integers on every machine, and the bundle builder.

import yolo_cvm

model = yolo_cvm.load("model")          # a folder with the files symbol and params
outputs = model.run(x)                  # integers in, one int32 array per head out
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolo_cvm.model import Model, load
    from yolo_cvm.pictures import decode, encode

__version__ = "0.2.0"

__all__ = ["Model", "decode", "encode", "load"]

_PLACES = {"Model": "model", "load": "model", "decode": "pictures", "encode": "pictures"}


def __getattr__(name: str) -> Any:
    """The functions are imported when they are first asked for: importing the package is quick."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
