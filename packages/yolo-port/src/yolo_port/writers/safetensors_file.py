"""A checkpoint as a `.safetensors` file: an Ultralytics state dict, described in its metadata."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import save

from yolo_core.files import atomic_write
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_port.description import KEY, describe
from yolo_port.state_dict import ultralytics_state_dict


def write_safetensors(stem: Path, checkpoint: Checkpoint) -> list[Path]:
    """Write `<stem>.safetensors`. Same checkpoint, same bytes."""
    path = stem.with_name(f"{stem.name}.safetensors")
    # One key alone: the library writes several in an order that changes from run to run.
    atomic_write(path, save(ultralytics_state_dict(checkpoint), {KEY: describe(checkpoint)}))
    return [path]
