"""Architectures, checkpoints and datasets in words, for people at a terminal."""

from __future__ import annotations

import math

import numpy as np

from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.dataset import DataConfig, label_path, read_labels


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
        channels = (
            f"{'+'.join(map(str, layer.in_channels))}→{layer.out_channels or architecture.no * 3}"
        )
        sources = ",".join(map(str, layer.sources))
        lines.append(
            f"{layer.index:>5}  {sources:<10} {layer.kind:<9} {channels:>12} {layer.repeats:>7}"
            f" {count:>11,}"
        )
    total = sum(math.prod(shape) for name, shape in shapes.items() if ".running_" not in name)
    height, width = imgsz
    lines.append(
        f"{architecture.model_name}: {architecture.nc} classes, {total:,} parameters, "
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
        f"{architecture.nc} classes: {', '.join(architecture.names)}",
        f"{values:,} values in {len(checkpoint.parameters)} tensors, largest {largest:g}",
        f"input: {checkpoint.color.upper()}, 0 to 1",
    ]
    lines += [f"{key}: {value}" for key, value in checkpoint.meta.items()]
    return "\n".join(lines)


def describe_dataset(data: DataConfig) -> str:
    """Images, boxes and boxes per class of each split. InputError at the first unusable label."""
    lines: list[str] = []
    for split in ("train", "val", "test"):
        if not getattr(data, split):
            continue
        images = data.images(split)
        counts = np.zeros(len(data.names), np.int64)
        unlabelled = 0
        for image in images:
            path = label_path(image)
            if not path.exists():
                unlabelled += 1
                continue
            labels = read_labels(path, len(data.names))
            counts += np.bincount(labels[:, 0].astype(np.int64), minlength=len(data.names))
        per_class = ", ".join(f"{name} {count}" for name, count in zip(data.names, counts))
        lines.append(f"{split}: {len(images)} images ({unlabelled} without a label file), "
                     f"{counts.sum()} boxes: {per_class}")  # fmt: skip
    return "\n".join(lines)
