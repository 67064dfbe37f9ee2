"""The constants of an ONNX graph: stored in it, in a file beside it, or made from others."""

from __future__ import annotations

import math
from collections.abc import ItemsView, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_port.onnx_library import onnx
from yolo_port.source import is_shape

#: ONNX's codes of attribute types, and the field that holds the value.
FIELDS = {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints"}
#: Most bytes that are read from the data file beside a graph.
_EXTERNAL_LIMIT = 1 << 30
_EXPECTED = "an ONNX export of YOLOv5"


class Constants:
    """What a graph stores, by name; arrays are made when they are asked for."""

    def __init__(self, path: Path, initializers: Iterable[Any]) -> None:
        self._path = str(path)
        self._folder = path.parent
        self._onnx = onnx()
        self._tensors = {tensor.name: tensor for tensor in initializers}
        self._arrays: dict[str, Array] = {}
        self._external = _EXTERNAL_LIMIT

    def __contains__(self, name: str) -> bool:
        """Whether the graph stores a tensor of that name."""
        return name in self._tensors

    def tensors(self) -> ItemsView[str, Any]:
        """Name and TensorProto of all that is stored."""
        return self._tensors.items()

    def enter(self, node: Any) -> None:
        """Take in what a Constant node holds."""
        for attribute in node.attribute:
            if attribute.name == "value":
                self._tensors[node.output[0]] = attribute.t
            elif attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
                value = getattr(attribute, FIELDS.get(attribute.type, "f"))
                self._arrays[node.output[0]] = np.array(
                    list(value) if attribute.name.endswith("s") else value
                )

    def fold(self, node: Any) -> None:
        """Small arithmetic of constants, as exporters leave it unfolded around a Resize."""
        if node.op_type not in ("Concat", "Cast", "Unsqueeze", "Identity", "Reshape", "Gather",
                                "Slice", "Squeeze") or not node.output:  # fmt: skip
            return
        arrays = [self.known(name) for name in node.input if name]
        if any(array is None or array.size > 64 for array in arrays) or not arrays:
            return
        flat = [np.atleast_1d(array).ravel() for array in arrays if array is not None]
        if node.op_type == "Concat":
            self._arrays[node.output[0]] = np.concatenate(flat)
        elif node.op_type in ("Cast", "Unsqueeze", "Identity", "Reshape", "Squeeze"):
            self._arrays[node.output[0]] = flat[0]

    def known(self, name: str) -> Array | None:
        """The array of a constant, None for what is none."""
        if name in self._arrays:
            return self._arrays[name]
        return self.array(name, name) if name in self._tensors else None

    def array(self, name: str, what: str) -> Array:
        """The array of a constant. what: to call it in the InputError for one that is not there."""
        if name in self._arrays:
            return self._arrays[name]
        tensor = self._tensors.get(name)
        if tensor is None:
            raise InputError(self._path, f"has no stored {what[:80]}", _EXPECTED)
        try:
            if tensor.data_location == self._onnx.TensorProto.EXTERNAL:
                return self._external_array(tensor, what)
            return np.array(self._onnx.numpy_helper.to_array(tensor))
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(self._path, f"has a damaged {what[:80]} ({error!s:.60})",
                             _EXPECTED) from error  # fmt: skip

    def _external_array(self, tensor: Any, what: str) -> Array:
        """A tensor in a file beside the graph; the file must lie in the same folder."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name = entries.get("location", "")
        if not name or name in (".", "..") or "/" in name or "\\" in name:
            raise InputError(self._path, f"keeps {what[:80]} in {name[:80]!r}, which leads away",
                             "a file beside it")  # fmt: skip
        data = self._folder / name
        if not data.is_file() or data.is_symlink():
            raise InputError(self._path, f"keeps its weights in {name[:80]}, which is not there",
                             "both files in one folder")  # fmt: skip
        dtype = self._onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        shape = tuple(tensor.dims)
        if not is_shape(shape):
            raise InputError(self._path, f"has {what[:80]} of shape {shape!s:.60}", _EXPECTED)
        size = math.prod(shape) * dtype.itemsize
        start, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        self._external -= size
        if length != size or start < 0 or start + size > data.stat().st_size:
            raise InputError(self._path, f"has {what[:80]} outside of {name[:80]}",
                             f"{size} bytes")  # fmt: skip
        if self._external < 0:
            raise InputError(
                self._path, "has too much in its data file", f"{_EXTERNAL_LIMIT} bytes"
            )
        with open(data, "rb") as stream:
            stream.seek(start)
            return np.frombuffer(stream.read(size), dtype.newbyteorder("<")).reshape(shape)
