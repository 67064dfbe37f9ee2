"""Quantizing from a program, by the names of the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_mrt.command import carry_out, settings_of
from yolo_mrt.compile.boxes import BoxesOptions
from yolo_mrt.settings import EFFORTS, LETTERBOX_MODES, STAGES


def _silent(line: str) -> None:
    """Hear what is told, and do nothing."""


def quantize(
    checkpoint: PathLike,
    data: PathLike,
    out: PathLike,
    *,
    num_calib: int = 128,
    imgsz: int | Sequence[int] | None = None,
    effort: str = "normal",
    letterbox: str = "letterbox",
    work: PathLike | None = None,
    scheme: PathLike | None = None,
    refine: Sequence[str] = (),
    boxes: BoxesOptions | None = None,
    strict: bool = False,
    tell: Callable[[str], None] = _silent,
) -> Path:
    """Quantize a checkpoint and write a CVM model folder, whose path is returned.

    checkpoint: its stem, or the folder of a training run. data: calibration images, a folder, a
    .txt list or a data.yaml. out: the model folder. imgsz: the side, or (height, width); None for
    the size of the training, else 640. effort: "normal" or "high". letterbox: "letterbox" or
    "squash". work: folder of the stage files, `<out>.stages` where None. scheme: a scheme file to
    take all scales from. refine: tensors that are read with finer steps. boxes: how the graph
    decides by itself; None lets it put out rows. strict: InputError for an image that cannot be
    read, which is otherwise left out and told. tell: hears every warning and every stage.
    InputError for what cannot be read or would replace what is not ours.
    """
    for name, value, known in (("effort", effort, EFFORTS), ("letterbox", letterbox,
                                                             LETTERBOX_MODES)):  # fmt: skip
        if value not in known:
            raise InputError(name, f"is {value!r:.60}", " or ".join(known))
    if boxes is not None:
        boxes.check()
    sides = () if imgsz is None else (imgsz,) if isinstance(imgsz, int) else tuple(imgsz)
    settings = settings_of(
        Path(checkpoint), data, Path(out), num_calib, sides, effort, letterbox,
        None if work is None else Path(work), None if scheme is None else Path(scheme), refine,
        boxes, strict, tell,
    )  # fmt: skip
    carry_out(settings, STAGES, [data], tell)
    return settings.out
