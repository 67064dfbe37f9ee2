"""What a user says of a source, read from the options of a command."""

from __future__ import annotations

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.yaml_file import read_yaml
from yolo_core.yolo.activations import ACTIVATIONS, from_torch_text
from yolo_port.description import checked_names
from yolo_port.source import Answers


def read_answers(cfg: PathLike | None, names: PathLike | None, activation: str | None) -> Answers:
    """The content of --cfg (a model yaml), --names (a data.yaml) and --activation."""
    word, found, description = None, None, None
    if activation is not None:
        try:
            word = from_torch_text(activation)
        except ValueError as error:
            raise InputError("--activation", f"is {activation!r:.60}",
                             ", ".join(ACTIVATIONS)) from error  # fmt: skip
    if names is not None:
        data = read_yaml(names)
        found = checked_names(data.get("names") if isinstance(data, dict) else None, str(names))
        if not found:
            raise InputError(names, "has no class names", "a data.yaml with the key names")
    if cfg is not None:
        description = read_yaml(cfg)
        if not isinstance(description, dict):
            raise InputError(cfg, "is not a model description", "a YOLOv5 model yaml")
    return Answers(found, word, description)
