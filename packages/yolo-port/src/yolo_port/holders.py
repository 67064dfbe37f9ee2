"""Where in the dictionaries of a file a model lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Generic, Optional, TypeVar

from yolo_core.errors import InputError

#: Keys of a checkpoint that may hold the model, the averaged weights first.
HOLDERS = (
    "ema", "ema_state_dict", "model_ema", "ema_model", "model", "state_dict", "model_state_dict",
    "net", "network", "module", "params", "weights",
)  # fmt: skip
#: Keys under which another dictionary of these may lie, in the order in which they are tried.
_OUTER = (*HOLDERS, "checkpoint", "ckpt")
#: Keys that hold tensors of the training and no model.
_SIDE = ("optimizer", "optimizers", "optimizer_states", "optimizer_state_dict", "optim",
         "scheduler", "lr_scheduler", "lr_schedulers", "scaler", "hyp", "opt", "callbacks",
         "loops")  # fmt: skip
_MAX_DEPTH, _MAX_PLACES = 5, 200

T = TypeVar("T")
MappingOf = Callable[[Any], Optional[Mapping[Any, Any]]]


def find(
    place: Mapping[Any, Any],
    hold: Callable[[Mapping[Any, Any]], T | None],
    mapping: MappingOf,
    path: str,
) -> T | None:
    """What `hold` finds in a dictionary, or else in those inside of it, the usual keys first.

    mapping: a value as a dictionary, None for what is none. InputError where several places under
    keys that nobody knows hold something.
    """
    return _Search(hold, mapping, path).at(place, _MAX_DEPTH)


class _Search(Generic[T]):
    def __init__(
        self, hold: Callable[[Mapping[Any, Any]], T | None], mapping: MappingOf, path: str
    ) -> None:
        self._hold, self._mapping, self._path = hold, mapping, path
        self._seen: set[int] = set()  # a pickle may hold a dictionary inside of itself

    def at(self, place: Mapping[Any, Any], depth: int) -> T | None:
        if depth == 0 or id(place) in self._seen or len(self._seen) > _MAX_PLACES:
            return None
        self._seen.add(id(place))
        found = self._hold(place)
        if found is not None:
            return found
        inner = {
            key: each
            for key, value in place.items()
            if key not in _SIDE and (each := self._mapping(value)) is not None
        }
        for key in _OUTER:
            found = self.at(inner[key], depth - 1) if key in inner else None
            if found is not None:
                return found
        others = [(key, self.at(each, depth - 1)) for key, each in inner.items()
                  if key not in _OUTER]  # fmt: skip
        several = [(key, found) for key, found in others if found is not None]
        if len(several) > 1:
            names = ", ".join(str(key)[:40] for key, _ in several[:8])
            raise InputError(self._path, f"holds several models: {names}",
                             "one, saved alone or under the key model")  # fmt: skip
        return several[0][1] if several else None
