"""What a file holds, in the words a person asks in."""

from __future__ import annotations

import os
from pathlib import Path

from yolo_core.files import PathLike, sha256_file
from yolo_core.mxnet.checkpoint import is_checkpoint, read_checkpoint
from yolo_core.words import shown
from yolo_port.matching import ASSUMED, assumptions, match
from yolo_port.readers import read, source_file

_STATISTICS = (".running_mean", ".running_var")


def inspect(path: PathLike) -> dict[str, str]:
    """Label → text, in reading order. InputError when the file holds no supported model."""
    path = Path(path)
    file = source_file(path)
    if is_checkpoint(path):
        checkpoint = read_checkpoint(path)
        form, stored, epsilon = "MXNet checkpoint", "float32", ""
    else:
        model = read(path)
        checkpoint = match(model)
        form = model.form
        stored = ", ".join(sorted({array.dtype.name for array in model.tensors.values()}))
        epsilon = f" (epsilon {model.usable_epsilon:g})"
    architecture = checkpoint.architecture
    count = sum(
        array.size
        for name, array in checkpoint.parameters.items()
        if not name.endswith(_STATISTICS)
    )
    names = ", ".join(architecture.names[:5]) + (", …" if architecture.nc > 5 else "")
    anchors = " | ".join(
        " ".join(f"{width:g},{height:g}" for width, height in level)
        for level in architecture.anchors
    )
    found = {
        "file": f"{file.name}, {os.path.getsize(file):,} bytes",
        "sha256": sha256_file(file),
        "form": form,
        "model": f"{architecture.model_name}, {len(architecture.convolutions())} convolutions, "
        f"{count:,} parameters",
        "stored": f"{stored}, "
        + ("fused" if checkpoint.fused else f"batch normalisation kept{epsilon}"),
        "input": f"{checkpoint.color.upper()}, 0 to 1",
        "classes": f"{architecture.nc}: {names}",
        "anchors": anchors,
        "activation": architecture.activation,
    }
    assumed = assumptions(checkpoint)
    if assumed:
        found["assumed"] = "; ".join(assumed)
    found.update(
        {f"note {key}": str(value) for key, value in checkpoint.meta.items() if key != ASSUMED}
    )
    return {shown(label): shown(text) for label, text in found.items()}
