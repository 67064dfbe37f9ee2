"""What installed packages offer to others through entry points, found without importing them."""

from __future__ import annotations

from importlib import metadata
from typing import Any


def installed(group: str) -> list[Any]:
    """The entry points of a group (`importlib.metadata.EntryPoint`), by name."""
    points: Any = metadata.entry_points()
    if hasattr(points, "select"):
        found = points.select(group=group)
    else:  # Python 3.9 returns a mapping of groups
        found = points.get(group, ())
    return sorted(found, key=lambda point: str(point.name))
