"""The options of `detect` in YOLOv5's words, and what it prints; every command that detects takes
both from here.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Callable

import click

from yolo_core.detecting.options import DetectOptions
from yolo_core.errors import InputError
from yolo_core.words import shown
from yolo_core.yolo.dataset import DETECTIONS

if TYPE_CHECKING:
    from yolo_core.detecting.run import Detection, Found


class _Classes(click.Option):
    """`--classes 0 2 3` as YOLOv5 takes it: the numbers that follow belong to the option."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        for name in self.opts:
            option = parser._long_opt[name]
            process = option.process

            def take(value: str, state: Any, process: Any = process) -> None:
                words = [value]
                while state.rargs and state.rargs[0].isdigit():
                    words.append(state.rargs.pop(0))
                process(",".join(words), state)

            option.process = take


def _split(context: click.Context, option: click.Parameter, value: Sequence[str]) -> Any:
    words = [word.strip() for text in value for word in text.split(",")]
    return tuple(word for word in words if word)


_OPTIONS = (
    click.option("--conf", "--conf-thres", "conf", type=click.FloatRange(0, 1),
                 help="Smallest score. Default: 0.25, or the model's own if it is higher."),
    click.option("--iou", "--iou-thres", "iou", type=click.FloatRange(0, 1),
                 help="Overlap that suppresses. Default: the model's own, or 0.45."),
    click.option("--max-det", type=click.IntRange(1, 10000),
                 help="Boxes per picture. Default: the model's own, or 300."),
    click.option("--classes", cls=_Classes, multiple=True, callback=_split,
                 metavar="CLASS...", help="Only these: --classes 0 2, or person,car."),
    click.option("--agnostic-nms", is_flag=True,
                 help="Boxes of different classes suppress each other too."),
    click.option("--save-txt", is_flag=True, help="Write labels of each picture with boxes."),
    click.option("--save-conf", is_flag=True,
                 help="The score as the sixth word of the rows of --save-txt."),
    click.option("--save-crop", is_flag=True, help="Write each box as a picture, by class."),
    click.option("--line-width", "--line-thickness", "line_width", type=click.IntRange(1, 100),
                 help="Of the frames, in pixels. Default: by the picture's size."),
    click.option("--hide-labels", is_flag=True, help="Draw frames without names and scores."),
)  # fmt: skip


def detect_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command receives them as `wishes`, a `DetectOptions`."""
    names = [field.name for field in fields(DetectOptions)]

    @functools.wraps(command)
    def wrapped(**words: Any) -> Any:
        wishes = DetectOptions(**{name: words.pop(name) for name in names})
        return command(wishes=wishes, **words)

    result: Callable[..., Any] = wrapped
    for option in reversed(_OPTIONS):
        result = option(result)
    return result


def _what_is_kept(detection: Detection) -> str:
    """What an interrupted detection leaves, in a sentence."""
    done = f"{detection.done} of {len(detection.sources)} sources were done"
    if detection.out is None:
        return f"{done}."
    return (
        f"{done}, and their pictures are kept in {shown(detection.out)}. A video that is not "
        f"complete is dropped, {DETECTIONS} is not written, and the same command begins with the "
        "first source."
    )


def tell(detection: Detection, line_of: Callable[[Found], str] | None) -> None:
    """Run a detection and print it as it comes; at the end where the results are, and how fast.

    line_of: a picture or frame in words; None prints nothing but what is left out. InputError at
    the end where sources were left out.
    """
    began = time.monotonic()
    try:
        for item in detection.run():
            if isinstance(item, InputError):
                if len(detection.sources) > 1:
                    click.echo(f"left out: {item}", err=True)
            elif line_of is not None:
                click.echo(line_of(item))
    except KeyboardInterrupt:
        click.echo(_what_is_kept(detection), err=True)
        raise
    seconds = time.monotonic() - began
    if line_of is not None and detection.found:
        count = len(detection.found)
        where = "" if detection.out is None else f", results in {shown(detection.out)}"
        what = "1 picture" if count == 1 else f"{count} pictures"
        click.echo(f"{what} in {seconds:.1f} s, {count / max(seconds, 1e-9):.1f} a second{where}")
    hint = detection.unshown() if line_of is not None and detection.wishes.conf is None else None
    if hint:
        click.echo(hint, err=True)
    fault = detection.fault()
    if fault is not None:
        raise fault
