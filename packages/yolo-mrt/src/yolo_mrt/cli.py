"""The command line: it parses, calls one function, prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from yolo_core.command import (
    DIFFERS,
    Group,
    budget_options,
    memory_option,
    seconds_option,
)
from yolo_core.console import next_steps

_DATA = "Calibration images: a folder, a .txt list, or a data.yaml (its training part)."


def _boxes_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--conf, --iou, --max-det, --top-k, --agnostic, --labels."""
    for option in (
        click.option("--labels", type=click.Choice(["best", "multi"]),
                     help="Classes that a box may count for. Default: best."),
        click.option("--agnostic", is_flag=True, default=None,
                     help="Boxes of different classes suppress each other too."),
        click.option("--top-k", type=int, metavar="N",
                     help="Candidates that enter suppression, at most 4096. Default: 1000."),
        click.option("--max-det", type=int, metavar="K",
                     help="Boxes put out, at most 1000. Default: 100."),
        click.option("--iou", metavar="PERCENT",
                     help="Overlap that suppresses, a whole percent. Default: 45."),
        click.option("--conf", type=float, metavar="SCORE",
                     help="Smallest score, from 0 to below 1. Default: 0.25."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group(cls=Group)
@click.version_option(package_name="yolo-mrt")
def main() -> None:
    """Quantize YOLOv5 checkpoints to integer-only CVM models."""


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="[CHECKPOINT] [--section.key VALUE]…")
@click.option("--data", help=_DATA)
@click.option("--num-calib", default=128, show_default=True, help="Calibration images to use.")
@click.option(
    "--imgsz",
    type=int,
    multiple=True,
    help="Side, or height then width (twice). Default: as trained, else 640.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Model folder to write.")
@click.option("--effort", type=click.Choice(["normal", "high"]), default="normal",
              show_default=True, help="high takes minutes and loses less.")  # fmt: skip
@click.option("--letterbox", type=click.Choice(["letterbox", "squash"]), default="letterbox",
              show_default=True, help="How images are fitted; squash stretches them.")  # fmt: skip
@click.option("--work", type=click.Path(path_type=Path),
              help="Folder for the stage files. Default: OUT.stages.")  # fmt: skip
@click.option("--scheme", type=click.Path(path_type=Path),
              help="Take all scales from this .mrt.calibrate.json.")  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path),
              help="Read everything from a qconf YAML file instead.")  # fmt: skip
@click.option("--refine", multiple=True, metavar="NODE",
              help="Read this tensor with finer steps (see report); may be repeated.")  # fmt: skip
@click.option("--stage", "stages", multiple=True, help="Run only this stage; may be repeated.")
@click.option("--boxes", is_flag=True,
              help="The graph decides by itself: its output is the final boxes.")  # fmt: skip
@_boxes_options
@click.option("--target-loss", type=click.FloatRange(0, 100, min_open=True), metavar="POINTS",
              help="Spend effort until the estimated loss of AP is at most this; exit code 1 where "
              "it is not.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Stop when an image cannot be read.")
@memory_option
@seconds_option
def quantize(
    words: tuple[str, ...], data: str | None, num_calib: int,
    imgsz: tuple[int, ...], out: Path | None, effort: str, letterbox: str, work: Path | None,
    scheme: Path | None, config: Path | None, refine: tuple[str, ...], stages: tuple[str, ...],
    boxes: bool, target_loss: float | None, strict: bool, **deciding: Any,
) -> None:  # fmt: skip
    """Quantize CHECKPOINT and write a CVM model folder (symbol, params, ext, data.npy).

    The model puts out rows of logits, or with --boxes the final boxes, which alone a contract can
    receive. Both come from one calibration: with the same --work only the last stage runs again.

    With --config everything comes from a file (`yolo-mrt config` prints one), and
    `--section.key VALUE` replaces a key of it.
    """
    from yolo_mrt.command import boxes_options, from_config, from_options, split_words

    checkpoint, changes = split_words(words, quantize.params)
    decided = boxes_options(boxes, deciding)
    if config is not None:
        if checkpoint or data or imgsz or out or work or scheme or target_loss:
            raise click.UsageError(
                "--config says it all; only --effort, --refine, --stage, --boxes and "
                "--section.key VALUE go with it"
            )
        from_config(config, effort, refine, stages, decided, changes)
        return
    if changes:
        raise click.UsageError("--section.key VALUE replaces a key of a file; --config names it")
    if not (checkpoint and data and out):
        raise click.UsageError("CHECKPOINT, --data and --out are needed (or --config)")
    if target_loss and (stages or scheme):
        raise click.UsageError("--target-loss runs every stage, with scales of its own choice")
    met = from_options(
        Path(checkpoint), data, num_calib, imgsz, out, effort, letterbox, work, scheme, refine,
        stages, decided, strict, target_loss,
    )  # fmt: skip
    if not met:
        click.get_current_context().exit(DIFFERS)


@main.command()
@click.option("--size", type=click.Choice(list("nsmlx")), default="n", show_default=True,
              help="Size of YOLOv5 that the file is for.")  # fmt: skip
def config(size: str) -> None:
    """Print a configuration for `quantize --config`, to be written into a file and edited."""
    from yolo_mrt.config import shipped_config

    click.echo(shipped_config(size), nl=False)


@main.command()
@budget_options
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="Model folder to write.")  # fmt: skip
@_boxes_options
def boxes(model: Path, out: Path, **deciding: Any) -> None:
    """Let the graph of MODEL, a folder whose output is rows, decide by itself.

    Neither checkpoint nor stage files are needed; the network's integers stay as they are.
    """
    from yolo_mrt.command import boxes_options
    from yolo_mrt.compile.boxes import convert

    options = boxes_options(True, deciding)
    assert options is not None
    click.echo(convert(model, out, options))
    next_steps(
        ("yolo-cvm", "detect", out, "PICTURE", "--out", "results"),
        ("yolo-cvm", "contract", out, "--out", "contract"),
        ("yolo-cvm", "bundle", out, "--out", "bundle"),
    )


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--work", type=click.Path(path_type=Path),
              help="Folder of the stage files. Default: FOLDER.stages.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path),
              help="HTML page to write. Default: FOLDER.report.html.")  # fmt: skip
@click.option("--images", default=16, show_default=True, help="Images to judge every node by.")
@click.option("--nodes", is_flag=True, help="Print every node, not only the ten worst.")
@memory_option
@seconds_option
def report(folder: Path, work: Path | None, out: Path | None, images: int, nodes: bool) -> None:
    """Show how much accuracy each tensor of the model in FOLDER costs, the worst first."""
    from yolo_mrt.command import report_of

    report_of(folder, work, out, images, nodes)
