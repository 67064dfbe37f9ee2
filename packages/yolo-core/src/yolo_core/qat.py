"""Where a quantizer shows a trainer its integer grid (quantization-aware training).

The trainer knows no quantizer. It finds one by entry point (group `yolo_core.grids`), gives it
the network it is about to finetune, and puts what it gets into the forward pass: every weight and
every input of a convolution is moved onto the grid that the integer program will have.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any, Protocol

import numpy as np

from yolo_core.architecture import Architecture
from yolo_core.errors import InputError

ENTRY_POINTS = "yolo_core.grids"


class Grid(Protocol):
    """The values that a convolution of the integer program can hold.

    `F` is MXNet's `nd` or `sym` module, as in Gluon's `hybrid_forward`. What is returned must let
    the gradient through unchanged (straight-through) wherever the value lies inside the grid.
    """

    def weight(self, F: Any, name: str, weight: Any) -> Any:
        """The weight [out, in, kernel, kernel] of convolution `name`, on the grid."""
        ...

    def activation(self, F: Any, name: str, x: Any) -> Any:
        """The input [B, in, H, W] of convolution `name`, on the grid."""
        ...


class GridMaker(Protocol):
    """What an entry point of the group names."""

    def __call__(
        self, architecture: Architecture, parameters: Mapping[str, np.ndarray], images: np.ndarray
    ) -> Grid:
        """A grid for a network. Same arguments, same grid.

        parameters: fused, by the names of `architecture.parameter_shapes(fused=True)`. images:
        uint8 [B, height, width, 3] RGB letterboxed, to calibrate on.
        """
        ...


def grid_maker(name: str | None = None) -> GridMaker:
    """The installed grid maker of that name; without a name the first by name.

    InputError when there is none.
    """
    points: Any = metadata.entry_points()
    if hasattr(points, "select"):
        found = points.select(group=ENTRY_POINTS)
    else:  # Python 3.9 returns a mapping of groups
        found = points.get(ENTRY_POINTS, ())
    known = {str(point.name): point for point in found}
    wanted = name or min(known, default="")
    if wanted not in known:
        raise InputError(
            "--qat", f"finds no quantizer's grid {name or ''}".rstrip(),
            f"an installed package with an entry point in {ENTRY_POINTS} (pip install yolo-mrt)",
        )  # fmt: skip
    maker: GridMaker = known[wanted].load()
    return maker


def straight_through(F: Any, x: Any, step: Any, limit: int) -> Any:
    """x on the grid of step * (-limit … limit), rounded half away from zero.

    step: a number, or an array that broadcasts with x. The gradient is that of clipping: 1
    inside the grid's range, 0 outside.
    """
    scaled = F.broadcast_div(x, step) if not isinstance(step, float) else x / step
    inside = F.clip(scaled, -limit, limit)
    moved = inside + F.BlockGrad(F.round(inside) - inside)
    return F.broadcast_mul(moved, step) if not isinstance(step, float) else moved * step
