"""Where a quantizer shows a trainer its integer grid (quantization-aware training).

The trainer knows no quantizer. It finds one by entry point (group `yolo_core.grids`), gives it
the network it is about to finetune, and gets a grid as plain arrays. `yolo_core.mxnet.network` then
moves every weight and every input of a convolution onto that grid in the forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.plugins import installed
from yolo_core.yolo.architecture import Architecture

ENTRY_POINTS = "yolo_core.grids"


@dataclass(frozen=True)
class ConvolutionGrid:
    """The values that one convolution of the integer program can hold; float32 arrays.

    A weight is a whole number from -weight_limit to weight_limit times weight_step, which
    broadcasts with [out, in, kernel, kernel]. An input is limited to input_low … input_high and a
    whole number times input_step; these three broadcast with [B, in, H, W].
    """

    weight_step: Array
    weight_limit: int
    input_step: Array
    input_low: Array
    input_high: Array


#: Name of every convolution of an architecture → its grid.
Grid = Mapping[str, ConvolutionGrid]


class GridMaker(Protocol):
    """What an entry point of the group names."""

    def __call__(
        self, architecture: Architecture, parameters: Mapping[str, Array], images: Array
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
    known = {str(point.name): point for point in installed(ENTRY_POINTS)}
    wanted = name or min(known, default="")
    if wanted not in known:
        raise InputError(
            "--qat",
            f"finds no quantizer's grid {name or ''}".rstrip(),
            f"an installed package with an entry point in {ENTRY_POINTS} (pip install yolo-mrt)",
        )
    maker: GridMaker = known[wanted].load()
    return maker
