"""What `detect` can be asked for, whichever command asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yolo_core.errors import InputError

if TYPE_CHECKING:  # command lines import this module, and start without NumPy
    from yolo_core.yolo.boxes import NmsSettings
    from yolo_core.yolo.predictor import Predictor


@dataclass(frozen=True)
class DetectOptions:
    """What `detect` is asked for; the fields are the options of the command line.

    conf, iou, max_det: None takes what the model decides by itself, but no lower score than 0.25,
    else what a person wants to see. classes: names or numbers of the classes wanted; empty is all
    of them. line_width: of drawn frames in pixels, None grows with the picture.
    """

    conf: float | None = None
    iou: float | None = None
    max_det: int | None = None
    classes: tuple[str, ...] = ()
    agnostic_nms: bool = False
    save_txt: bool = False
    save_conf: bool = False
    save_crop: bool = False
    line_width: int | None = None
    hide_labels: bool = False

    def settings(self, predictor: Predictor) -> NmsSettings:
        """How boxes are chosen. InputError for what the model's own graph decides otherwise."""
        from yolo_core.yolo.predictor import display_settings

        agnostic = True if self.agnostic_nms else None
        return display_settings(predictor, self.conf, self.iou, self.max_det, agnostic)

    def class_numbers(self, names: Sequence[str]) -> tuple[int, ...] | None:
        """Numbers of the classes wanted, None for all. InputError for one that the model lacks."""
        if not self.classes:
            return None
        return tuple(sorted({_class_number(word, names) for word in self.classes}))


def _class_number(word: str, names: Sequence[str]) -> int:
    if word.isascii() and word.isdigit() and len(word) < 9 and int(word) < len(names):
        return int(word)
    if word in names:
        return list(names).index(word)
    listed = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
    expected = f"0 to {len(names) - 1}, or one of {listed}"
    raise InputError("--classes", f"names {word!r:.60}, which the model does not have", expected)
