"""The command line of yolo-train: parse, call one function, print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from yolo_core.command import Command, Group
from yolo_core.console import answer, next_steps
from yolo_train.hyp import Hyp
from yolo_train.options import FitOptions


@click.group(cls=Group)
@click.version_option(package_name="yolo-train")
def main() -> None:
    """Train YOLOv5 in MXNet."""


@main.command()
@click.option("--out", required=True, type=click.Path(), help="Folder of the dataset.")
@click.option("--images", default=1000, show_default=True, help="Pictures; a fifth validates.")
@click.option("--imgsz", default=128, show_default=True, help="Side of a picture in pixels.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same bytes.")
def shapes(out: str, images: int, imgsz: int, seed: int) -> None:
    """Make a labelled dataset of coloured shapes on cluttered backgrounds."""
    from yolo_train.shapes import write_shapes

    data = write_shapes(out, images, imgsz, seed)
    answer({"data": str(data)})
    click.echo(data)
    next_steps(("yolo-train", "fit", "--data", data, "--imgsz", imgsz, "--epochs", 18))


def _bytes(_context: Any, _parameter: Any, value: str) -> int:
    """A size such as 500M or 2G, in bytes."""
    units = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number, unit = (value[:-1], value[-1].upper()) if value[-1:].isalpha() else (value, "")
    if unit not in units or not number.isdigit():
        raise click.BadParameter(f"{value!r} is not a size such as 500M or 2G")
    return int(number) * units[unit]


#: Options of YOLOv5's train.py that `fit` does not have, and why; docs/yolov5-options.md has all.
ABSENT = {
    "--local_rank": "`yolo-train launch` starts the processes by itself",
    "--nosave": "the checkpoint is what an interrupted run resumes from",
    "--noval": "validation chooses the best checkpoint and tells when to stop",
    "--resume_evolve": "the same command with --evolve continues",
    "--sync-bn": "each device normalizes its share of the batch, as YOLOv5 does without it",
    "--quad": "batches of four joined images of the same memory; --multi-scale shows larger ones",
    "--bucket": "nothing is loaded from or sent to the network",
}


class _FitCommand(Command):
    """`fit`, which answers options of YOLOv5 that it does not have: hyper-parameters with the words
    that set them, the others with the reason.
    """

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        words = list(args)
        try:
            return super().parse_args(context, args)
        except click.NoSuchOption as error:
            answer = _told_instead(error.option_name, words)
            if answer is None:
                raise
            told = f"No such option: {error.option_name}. It is {answer}"
            raise click.UsageError(told, context) from error


def _told_instead(option: str, words: Sequence[str]) -> str | None:
    """What to tell about an option that `fit` does not have; None for one of nobody's."""
    if option in ABSENT:
        return f"left out: {ABSENT[option]}."
    values = Hyp().to_dict()
    name = option.lstrip("-").replace("-", "_")
    name = "lr0" if name in ("lr", "learning_rate") else name
    if name not in values:
        return None
    return f"written: -o {name}={_given(option, words) or format(values[name], 'g')}"


def _given(option: str, words: Sequence[str]) -> str | None:
    """The number that follows an option, or stands behind its equals sign."""
    for word, after in zip(words, [*words[1:], ""]):
        name, _, value = word.partition("=")
        given = value or after
        if name == option and given.lstrip(".")[:1].isalnum():
            return given
    return None


@main.command(cls=_FitCommand)
@click.option("--data", type=click.Path(), help="data.yaml; with --teacher a folder too.")
@click.option("--model", help="yolov5n … x, n6 … x6; without it that of --weights, or yolov5n.")
@click.option("--cfg", type=click.Path(), help="Model yaml of YOLOv5 instead of --model.")
@click.option(
    "--weights", type=click.Path(),
    help="Start from this checkpoint, or with yolo-port from a file: .pt, .onnx, .safetensors.",
)  # fmt: skip
@click.option("--qat", is_flag=True, help="Finetune on the grid of an installed quantizer.")
@click.option(
    "--teacher", type=click.Path(),
    help="With --qat: the float checkpoint whose outputs are learnt, on pictures without labels.",
)  # fmt: skip
@click.option("--epochs", default=100, show_default=True)
@click.option("--batch-size", "--batch", default=16, show_default=True, help="Over all devices.")
@click.option(
    "--nominal-batch", default=0, help="Images per update. Default: 64, or a batch by the recipe."
)
@click.option(
    "--imgsz",
    "--img",
    "--img-size",
    "imgsz",
    default=640,
    show_default=True,
    help="Pixels, a multiple of the largest stride.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, gpu:0, 0,1 …")
@click.option("--workers", default=2, show_default=True, help="Processes that load data.")
@click.option("--seed", default=0, show_default=True)
@click.option("--project", default="runs/train", show_default=True, type=click.Path())
@click.option("--name", default="exp", show_default=True, help="Folder under --project.")
@click.option("--exist-ok", is_flag=True, help="Replace an earlier run of this name.")
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    help="Continue a run (its folder or weights/last), or the last; with --epochs to another end.",
)
@click.option("--freeze", default=0, show_default=True, help="Keep the first N layers.")
@click.option("--freeze-bn", is_flag=True, help="Keep the statistics of batch normalisation.")
@click.option(
    "--hyp",
    default="auto",
    show_default=True,
    type=click.Path(),
    help="YAML file of hyper-parameters, or scratch-low, few, small, finetune, distil; auto "
    "chooses by the updates that there will be.",
)
@click.option("-o", "set", multiple=True, metavar="KEY=VALUE", help="One hyper-parameter.")
@click.option(
    "--optimizer",
    default="auto",
    show_default=True,
    help="sgd, adam or adamw; auto is what the recipe is meant for.",
)
@click.option("--cos-lr", is_flag=True, help="Cosine instead of linear decay.")
@click.option("--patience", default=100, show_default=True, help="Epochs without gain; 0 never.")
@click.option(
    "--cache",
    default="1G",
    show_default=True,
    callback=_bytes,
    help="Memory for decoded images: 500M, 2G, 0 …",
)
@click.option("--strict", is_flag=True, help="Stop when a file of the dataset is at fault.")
@click.option("--amp", is_flag=True, help="Mixed precision: convolve in float16 (GPU).")
@click.option("--multi-scale", is_flag=True, help="Vary the input from half to 1.5 times.")
@click.option("--image-weights", is_flag=True, help="Prefer images of classes that score low.")
@click.option("--rect", is_flag=True, help="Batches of like shapes, without mosaic or much grey.")
@click.option(
    "--evolve",
    type=click.IntRange(1),
    is_flag=False,
    flag_value=300,
    help="Evolve the hyper-parameters over N trainings; the same command continues.",
)
@click.option("--single-cls", is_flag=True, help='Count every box as one class, "item".')
@click.option(
    "--save-period",
    default=0,
    show_default=True,
    help="Keep weights/epochN every so many epochs; 0 never.",
)
@click.option("--autoanchor/--no-autoanchor", " /--noautoanchor", default=True, show_default=True)
@click.option("--plots/--no-plots", " /--noplots", default=True, show_default=True)
@click.pass_context
def fit(
    context: click.Context, /, resume: str | None, data: str | None, evolve: int | None,
    **options: Any,
) -> None:  # fmt: skip
    """Train a network, or continue to.

    \b
    yolo-train fit --data my.yaml --weights weights/yolov5n --epochs 50
    yolo-train fit --resume runs/train/exp --epochs 100
    """
    from yolo_train.batches import share_cores

    share_cores()
    from yolo_train import trainer
    from yolo_train.run_folder import RunFolder

    if resume is not None:
        for name in (*options, "data", "evolve"):
            given = context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
            if given and name not in ("project", "epochs"):
                raise click.UsageError(f"--resume takes no other options (got {name})")
        project = options["project"]
        folder = RunFolder.open(resume) if resume else RunFolder.latest(project)
        asked = context.get_parameter_source("epochs") == click.core.ParameterSource.COMMANDLINE
        trainer.resume(folder, options["epochs"] if asked else None)
        return
    if data is None:
        raise click.UsageError("Missing option '--data'.")
    chosen = FitOptions(data=data, **options)
    if evolve is None:
        trainer.fit(chosen)
        return
    from yolo_train.evolve import evolve as train_generations

    train_generations(chosen, evolve)


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--workers", default=2, show_default=True, help="Processes that train together.")
@click.option("--servers", default=1, show_default=True, help="Processes that add up gradients.")
@click.option("--hosts", default="", help="Machines of the workers, reached by ssh: a,b,c.")
@click.option("--address", default="", help="This machine as the hosts see it.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def launch(workers: int, servers: int, hosts: str, address: str, words: tuple[str, ...]) -> None:
    """Train with several processes or machines: yolo-train launch --workers 2 -- fit …"""
    from yolo_train.launch import launch

    launch(words, workers, servers, hosts.split(",") if hosts else (), address)
