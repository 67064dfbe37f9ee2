"""COCO figures of float and integer detectors, and what quantization cost.

`score` measures a model on labelled pictures, `compare` says what changed between runs. Both are
imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolo_eval.api import compare, score

__all__ = ["compare", "score"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from yolo_eval import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
