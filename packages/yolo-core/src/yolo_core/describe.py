"""Architectures and checkpoints in words, for people at a terminal."""

from __future__ import annotations

import math

import numpy as np

from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.words import shown
from yolo_core.yolo.architecture import Architecture


def describe_architecture(architecture: Architecture, imgsz: tuple[int, int]) -> str:
    """A table with a line per layer, then the totals."""
    lines = [
        f"{'layer':>5}  {'from':<10} {'kind':<9} {'channels':>12} {'repeats':>7} {'parameters':>11}"
    ]
    shapes = architecture.parameter_shapes(fused=False)
    for layer in architecture.layers():
        count = sum(
            math.prod(shape)
            for name, shape in shapes.items()
            if name.startswith(f"model.{layer.index}.") and ".running_" not in name
        )
        out = layer.out_channels or architecture.no * architecture.anchors_per_level
        channels = f"{'+'.join(map(str, layer.in_channels))}→{out}"
        sources = ",".join(map(str, layer.sources))
        lines.append(
            f"{layer.index:>5}  {sources:<10} {layer.kind:<9} {channels:>12} {layer.repeats:>7}"
            f" {count:>11,}"
        )
    height, width = imgsz
    lines.append(
        f"{architecture.model_name}: {architecture.nc} classes, "
        f"{architecture.parameter_count():,} parameters, "
        f"{len(architecture.convolutions())} convolutions, "
        f"{architecture.macs(height, width) / 1e9:.2f} GMAC and "
        f"{architecture.rows(height, width):,} rows at {width}x{height}"
    )
    return "\n".join(lines)


def describe_checkpoint(checkpoint: Checkpoint) -> str:
    """A few lines: the network, its classes, colour order, and the notes of its writer."""
    architecture = checkpoint.architecture
    values = sum(array.size for array in checkpoint.parameters.values())
    largest = max(float(np.abs(array).max()) for array in checkpoint.parameters.values())
    lines = [
        f"{architecture.model_name}, {architecture.activation}, "
        + ("batch normalisation folded" if checkpoint.fused else "batch normalisation kept"),
        f"{architecture.nc} classes: {', '.join(map(shown, architecture.names))}",
        f"{values:,} values in {len(checkpoint.parameters)} tensors, largest {largest:g}",
        f"input: {checkpoint.color.upper()}, 0 to 1",
    ]
    lines += [f"{shown(key)}: {shown(value)}" for key, value in checkpoint.meta.items()]
    return "\n".join(lines)
