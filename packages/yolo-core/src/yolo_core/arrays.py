"""The type of a NumPy array in signatures; each docstring says the shape and the dtype."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
