"""The tree of PyTorch modules in a pickled YOLOv5 model: names, wiring, activation, epsilon.

A module is a `Record` whose state carries `_modules`, `_parameters`, `_buffers` and the module's
own settings. Tensors alone do not tell a strided convolution from a plain one, so the settings
are read here and compared with the architecture later.
"""

from __future__ import annotations

from typing import Any

from yolo_core.errors import InputError
from yolo_core.yolo.activations import TORCH_ACTIVATIONS, leaky
from yolo_core.yolo.layout import kind_named
from yolo_core.yolo.plan import LayoutError
from yolo_port.pickle_machine import Record, mapping
from yolo_port.source import Structure

_EXPECTED = "the modules of YOLOv5"
#: Class of YOLOv5's repository → word, where PyTorch's has another name.
_ACTIVATIONS = {
    **TORCH_ACTIVATIONS, "Swish": "silu", "MemoryEfficientSwish": "silu",
    "MemoryEfficientMish": "mish",
}  # fmt: skip
#: What `release_1` knows, and no later layout has as a layer.
_HEAD_OF_RELEASE_1 = "Conv2d"
_MAX_DEPTH = 12
_MAX_MODULES = 8000
_MAX_SOURCES = 16


class ModuleTree:
    """All modules below one, by name, in PyTorch's order."""

    def __init__(self, root: Record, path: str) -> None:
        self.path = path
        self.modules: list[tuple[str, Record]] = []
        self._collect("", root)

    def _collect(self, name: str, module: Record) -> None:
        self.modules.append((name, module))
        # Modules may be shared, and shared again below: the count bounds what that unfolds to.
        if len(self.modules) > _MAX_MODULES or name.count(".") > _MAX_DEPTH:
            raise InputError(self.path, "has too many modules or nests them too deep", _EXPECTED)
        for key, child in (mapping(self._state(module).get("_modules")) or {}).items():
            if isinstance(key, str) and isinstance(child, Record):
                self._collect(f"{name}.{key}" if name else key, child)

    @staticmethod
    def _state(module: Record) -> dict[Any, Any]:
        return module.state if isinstance(module.state, dict) else {}

    def tensors(self) -> dict[str, Any]:
        """Name → record of every parameter and buffer."""
        found = {}
        for stem, module in self.modules:
            for kind in ("_parameters", "_buffers"):
                for name, value in (mapping(self._state(module).get(kind)) or {}).items():
                    if value is not None and isinstance(name, str):
                        found[f"{stem}.{name}" if stem else name] = value
        return found

    def _settings(self, kind: str) -> list[tuple[str, dict[Any, Any]]]:
        """Name and state of every module of a class."""
        return [
            (name, self._state(module))
            for name, module in self.modules
            if module.function.name == kind
        ]

    def activations(self) -> dict[str, str]:
        """Stem of every convolution block, and of every block with one of its own → activation."""
        found = {}
        for name, module in self.modules:
            act = (mapping(self._state(module).get("_modules")) or {}).get("act")
            if isinstance(act, Record):
                found[name] = self._activation(act, name)
        return found

    def _activation(self, act: Record, name: str) -> str:
        word = _ACTIVATIONS.get(act.function.name)
        if word is None:
            raise InputError(self.path, f"has the activation {act.function.name} in {name}",
                             ", ".join(TORCH_ACTIVATIONS))  # fmt: skip
        if word != "leaky":
            return word
        slope = self._state(act).get("negative_slope")
        try:
            return leaky(float(slope) if isinstance(slope, (int, float)) else 0.0)
        except ValueError as error:
            raise InputError(self.path, f"has the slope {slope!r:.20} in {name}",
                             "0 to 1") from error  # fmt: skip

    def joined(self) -> set[str]:
        """Stems of the blocks that activate joined branches."""
        return {name for name, _ in self._settings("BottleneckCSP")}

    def _normalisations(self) -> list[tuple[str, dict[Any, Any]]]:
        return [*self._settings("BatchNorm2d"), *self._settings("SyncBatchNorm")]

    def absent(self) -> dict[str, float]:
        """Parameter that a normalisation does without (`affine=False`) → what it amounts to."""
        found = {}
        for name, state in self._normalisations():
            parameters = mapping(state.get("_parameters")) or {}
            for part, neutral in (("weight", 1.0), ("bias", 0.0)):
                if part in parameters and parameters[part] is None:
                    found[f"{name}.{part}"] = neutral
        return found

    def epsilons(self) -> dict[str, float]:
        """Name of each batch normalisation → its epsilon."""
        found = {}
        for name, state in self._normalisations():
            epsilon = state.get("eps")
            if not isinstance(epsilon, float) or not 0 < epsilon < 1:
                raise InputError(self.path, f"has epsilon {epsilon!r:.20} in {name}", "0 to 1")
            found[name] = epsilon
        return found

    def structure(self) -> Structure:
        """Layers, convolutions, shortcuts and pools as the modules' settings have them."""
        self._check_fixed_settings()
        layers = []
        for index, (name, module) in enumerate(self._layers()):
            state = self._state(module)
            sources = state.get("f")
            sources = sources if isinstance(sources, list) else [sources]
            sound = len(sources) <= _MAX_SOURCES and all(type(each) is int for each in sources)
            if state.get("i") != index or not sound:
                raise InputError(self.path, f"has no valid place for layer {name}", _EXPECTED)
            layers.append(
                (
                    self._kind(module),
                    tuple(index + each if each < 0 else each for each in sources),
                )
            )
        convolutions = {}
        for name, state in self._settings("Conv2d"):
            padding, groups = state.get("padding"), state.get("groups")
            pair = isinstance(padding, tuple) and len(padding) == 2
            if not pair or type(groups) is not int:
                raise InputError(self.path, f"has no valid padding or groups in {name}", _EXPECTED)
            pads = tuple(side if type(side) is int else -1 for side in padding or ())
            stride = self._side(state.get("stride"), name)
            convolutions[name] = (stride, (pads[0], pads[1]), groups)
        shortcuts = {name: state.get("add") is True for name, state in self._settings("Bottleneck")}
        return Structure(tuple(layers), convolutions, shortcuts, self.activations(), self._pools())

    def _kind(self, module: Record) -> str:
        """The kind of a layer; of several in a row, that of each."""
        kind = module.function.name
        if kind == "Sequential":
            kind = str(self._state(module).get("type", kind)).rpartition(".")[2]
        if kind == _HEAD_OF_RELEASE_1:
            return kind
        try:
            return kind_named(kind)
        except LayoutError as error:
            raise InputError(self.path, error.cause, error.expected) from error

    def _pools(self) -> dict[str, tuple[int, ...]]:
        """Layer → kernels of its pools, for the layers that are pyramids of pools."""
        found: dict[str, tuple[int, ...]] = {}
        for kind in ("SPP", "SPPF"):
            for stem, _ in self._settings(kind):
                sides = []
                for name, state in self._settings("MaxPool2d"):
                    if name.startswith(f"{stem}."):
                        side = state.get("kernel_size")
                        plain = (state.get("stride"), state.get("padding"))
                        if type(side) is not int or plain != (1, side // 2):
                            raise InputError(self.path, f"has another pool in {name}",
                                             "stride 1, the same size out")  # fmt: skip
                        sides.append(side)
                found[stem] = tuple(sides)
        return found

    def _side(self, pair: Any, name: str) -> int:
        """The one number of a stride or padding that is the same in both directions."""
        sides = (
            isinstance(pair, tuple) and len(pair) == 2 and all(type(side) is int for side in pair)
        )
        if not sides or pair[0] != pair[1]:
            raise InputError(self.path, f"has an uneven stride or padding in {name}", _EXPECTED)
        result: int = pair[0]
        return result

    def _layers(self) -> list[tuple[str, Record]]:
        return [
            (name, module)
            for name, module in self.modules
            if name.startswith("model.") and name.count(".") == 1
        ]

    def _check_fixed_settings(self) -> None:
        """What is the same in every YOLOv5: upsampling, joining, plain convolutions."""
        wanted: dict[str, dict[str, tuple[Any, ...]]] = {
            "Conv2d": {"dilation": ((1, 1),), "padding_mode": ("zeros",)},
            "Upsample": {"scale_factor": (2.0, 2), "mode": ("nearest",)},
            "Concat": {"d": (1,)},
        }
        for kind, settings in wanted.items():
            for name, state in self._settings(kind):
                for key, allowed in settings.items():
                    value = state.get(key)
                    if value not in allowed:
                        raise InputError(self.path, f"has another {key} in {name}", f"{allowed[0]}")
