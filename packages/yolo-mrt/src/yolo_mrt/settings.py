"""What a run of the quantizer is asked to do, whichever way it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yolo_core.errors import InputError
from yolo_mrt.compile.boxes import BoxesOptions

STAGES = ("prepare", "calibrate", "quantize", "evaluate", "compile")
EFFORTS = ("normal", "high")
#: Images on which effort "high" tries every read.
SENSITIVITY_IMAGES = 32
LETTERBOX_MODES = ("letterbox", "squash")


@dataclass(frozen=True)
class Settings:
    """One run.

    checkpoint: stem of the float network. images: for calibration, in order, already thinned to
    the number asked for. imgsz: (height, width). work: stem of the stage files
    (`<work>.prepare.json` and so on). out: the model folder. effort: "normal" or "high".
    letterbox: how images are fitted. thresholds: tensor → threshold instead of the calibrated one.
    deviations: where given, every other tensor's threshold is its mean and so many standard
    deviations, or its largest value (see `calibration.spread_thresholds`).
    head_bits: of the outputs. judged: images that are not calibrated on, for the evaluate stage and
    the report. evaluate_images: at most so many the evaluate stage runs. scheme: a scheme file to
    use instead of calibrating. boxes: how the graph is to decide, None where it puts out rows.
    refine: tensors that are read with finer steps.
    """

    checkpoint: Path
    images: tuple[Path, ...]
    imgsz: tuple[int, int]
    work: Path
    out: Path
    effort: str = "normal"
    letterbox: str = "letterbox"
    thresholds: Mapping[str, float] = field(default_factory=dict)
    deviations: float | None = None
    head_bits: int = 16
    judged: tuple[Path, ...] = ()
    evaluate_images: int = 16
    scheme: Path | None = None
    boxes: BoxesOptions | None = None
    refine: tuple[str, ...] = ()

    def stage_file(self, ending: str) -> Path:
        """The stage file with this ending, as `.prepare.json`."""
        return self.work.with_name(self.work.name + ending)


def parse_thresholds(pairs: object, source: str) -> dict[str, float]:
    """[[name, value], …] as a mapping; InputError for anything else."""
    found: dict[str, float] = {}
    if not isinstance(pairs, (list, tuple)):
        raise InputError(source, f"is {pairs!r:.60}", "a list of [name, value]")
    for pair in pairs:
        good = isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)
        number = pair[1] if good else None
        if (
            isinstance(number, bool)
            or not isinstance(number, (int, float))
            or not (2.0**-10 <= number <= 2.0**20)
        ):
            raise InputError(source, f"has {pair!r:.60}", "[name, positive value]")
        found[pair[0]] = float(number)
    return found
