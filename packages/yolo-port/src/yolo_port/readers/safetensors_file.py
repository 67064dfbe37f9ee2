"""A `.safetensors` file: the library checks the container, `matching` the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from yolo_core.errors import InputError
from yolo_port.description import KEY, understand
from yolo_port.source import SourceModel
from yolo_port.state_dict import tidy

_MAX_TENSORS = 4000


def is_safetensors(head: bytes, length: int) -> bool:
    """Whether a file begins with the length of a JSON header that fits into it."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= length - 8


def read_safetensors(path: Path) -> SourceModel:
    """The tensors of a file. InputError for a damaged file or element types NumPy has not."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            if len(names) > _MAX_TENSORS:
                raise InputError(path, f"has {len(names)} tensors", f"at most {_MAX_TENSORS}")
            arrays: dict[str, np.ndarray] = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, TypeError, OSError) as error:
        raise InputError(path, f"is not a readable safetensors file ({error})") from error
    tensors, anchors = tidy(arrays, str(path))
    described = understand(metadata[KEY], str(path)) if KEY in metadata else {"anchors": anchors}
    return SourceModel(str(path), "safetensors", tensors, **described)
