"""What every stage of integer YOLOv5 shares, from the architecture to the integer graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from yolo_core.detecting.model import Model

__all__ = ["Model"]


def __getattr__(name: str) -> Any:
    """`Model` is imported when it is first asked for: importing the package is quick."""
    if name != "Model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from yolo_core.detecting import model

    return model.Model
