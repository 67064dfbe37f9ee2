"""The tree of PyTorch modules in a pickled YOLOv5 model: names, wiring, activation, epsilon.

A module is a `Record` whose state carries `_modules`, `_parameters`, `_buffers` and the module's
own settings. Tensors alone do not tell a strided convolution from a plain one, so the settings
are read here and compared with the architecture later.
"""

from __future__ import annotations

from typing import Any

from yolo_core.errors import InputError
from yolo_core.yolo.architecture import LEAKY_SLOPE
from yolo_port.pickle_machine import Record
from yolo_port.source import Structure

_EXPECTED = "the modules of YOLOv5 v6.0 to v7.0"
_MAX_DEPTH = 12
_MAX_MODULES = 8000
_MAX_SOURCES = 8
_ACTIVATIONS = {"SiLU": "silu", "LeakyReLU": "leaky", "ReLU": "relu"}
_KINDS = {"SPP": "SPPF"}  # three parallel pools give what three chained ones give


def mapping(value: Any) -> dict[Any, Any] | None:
    """A dictionary of the pickle, plain or ordered, as a plain one; None for anything else."""
    if isinstance(value, dict):
        return value
    if isinstance(value, Record) and value.function.name in ("OrderedDict", "defaultdict"):
        return value.pairs
    return None


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

    def activation(self) -> str:
        """The one activation that the model uses."""
        kinds = {kind for kind in _ACTIVATIONS if self._settings(kind)}
        if len(kinds) != 1:
            raise InputError(self.path, f"uses {len(kinds)} kinds of activation", "one")
        for name, state in self._settings("LeakyReLU"):
            if state.get("negative_slope") != LEAKY_SLOPE:
                raise InputError(self.path, f"has another slope in {name}", f"{LEAKY_SLOPE}")
        return _ACTIVATIONS[kinds.pop()]

    def epsilon(self, default: float) -> float:
        """The one epsilon of all batch normalisations; `default` where there are none."""
        settings = self._settings("BatchNorm2d")
        if not settings:
            return default
        found = [state.get("eps") for _, state in settings]
        values = {each for each in found if isinstance(each, float)}
        sound = all(isinstance(each, float) and 0 < each < 1 for each in found)
        if len(values) != 1 or not sound:
            raise InputError(
                self.path, "has batch normalisations of different epsilon", "one value"
            )
        return values.pop()

    def structure(self) -> Structure:
        """Layers, convolutions and shortcuts as the modules' settings have them."""
        self._check_fixed_settings()
        layers = []
        for index, (name, module) in enumerate(self._layers()):
            state = self._state(module)
            sources = state.get("f")
            sources = sources if isinstance(sources, list) else [sources]
            sound = len(sources) <= _MAX_SOURCES and all(type(each) is int for each in sources)
            if state.get("i") != index or not sound:
                raise InputError(self.path, f"has no valid place for layer {name}", _EXPECTED)
            kind = module.function.name
            layers.append(
                (
                    _KINDS.get(kind, kind),
                    tuple(index + each if each < 0 else each for each in sources),
                )
            )
        convolutions = {}
        for name, state in self._settings("Conv2d"):
            convolutions[name] = (
                self._side(state.get("stride"), name),
                self._side(state.get("padding"), name),
            )
        shortcuts = {name: state.get("add") is True for name, state in self._settings("Bottleneck")}
        return Structure(tuple(layers), convolutions, shortcuts)

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
        """What is the same in every YOLOv5: pools, upsampling, joining, plain convolutions."""
        wanted: dict[str, dict[str, tuple[Any, ...]]] = {
            "Conv2d": {"dilation": ((1, 1),), "groups": (1,), "padding_mode": ("zeros",)},
            "Upsample": {"scale_factor": (2.0, 2), "mode": ("nearest",)},
            "Concat": {"d": (1,)},
            "Detect": {"nl": (3,), "na": (3,)},
        }
        for kind, settings in wanted.items():
            for name, state in self._settings(kind):
                for key, allowed in settings.items():
                    value = state.get(key)
                    if key == "nl" and value == 4:
                        raise InputError(self.path, "is a P6 model (four detection levels)",
                                         "three levels")  # fmt: skip
                    if value not in allowed:
                        raise InputError(self.path, f"has another {key} in {name}", f"{allowed[0]}")
        for name, state in self._settings("MaxPool2d"):
            # SPPF has one pool of 5; SPP, before v6.0's default, pools of 5, 9 and 13.
            size = 5 + 4 * int(name[-1]) if name[-2:] in (".0", ".1", ".2") else 5
            if (state.get("kernel_size"), state.get("stride"), state.get("padding")) != (
                size, 1, size // 2,
            ):  # fmt: skip
                raise InputError(self.path, f"has another pool in {name}", f"{size} wide, stride 1")
