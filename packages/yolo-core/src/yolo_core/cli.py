"""The `yolo-core` command: look at what every stage shares. It holds no logic."""

from __future__ import annotations

from dataclasses import asdict

import click

from yolo_core import __version__
from yolo_core.command import Group
from yolo_core.console import answer, next_steps


@click.group(cls=Group)
@click.version_option(__version__)
def main() -> None:
    """Look at architectures, checkpoints and datasets of integer YOLOv5."""


@main.command()
@click.argument("model", metavar="MODEL")
@click.option("--nc", type=click.IntRange(1, 4096), help="Classes. Default: 80, or the yaml's.")
@click.option("--imgsz", default=640, show_default=True, help="Side of the square input, pixels.")
def architecture(model: str, nc: int | None, imgsz: int) -> None:
    """The layers of MODEL: channels, parameters, multiply-accumulates.

    MODEL is yolov5n, s, m, l or x, one of these with a 6 for four levels, or a model yaml.

    Example: yolo-core architecture yolov5n --nc 3
    """
    from yolo_core.describe import describe_architecture
    from yolo_core.yolo.architecture import Architecture
    from yolo_core.yolo.letterbox import rounded_imgsz

    found = Architecture.of(model, nc=nc)
    size = rounded_imgsz(imgsz, "--imgsz", found.max_stride)
    click.echo(describe_architecture(found, size))


@main.command()
@click.argument("stem", type=click.Path())
def checkpoint(stem: str) -> None:
    """What a checkpoint holds: which network, which classes, where it came from.

    Example: yolo-core checkpoint weights/yolov5n
    """
    from yolo_core.describe import describe_checkpoint
    from yolo_core.mxnet.checkpoint import read_checkpoint

    click.echo(describe_checkpoint(read_checkpoint(stem)))


class _Dataset(Group):
    """`dataset DATA` is `dataset check DATA`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["check", *args]
        return super().parse_args(ctx, args)


@main.group(cls=_Dataset)
def dataset() -> None:
    """Look at a dataset, or convert it; `dataset DATA` is `dataset check DATA`."""


@dataset.command()
@click.argument("data", type=click.Path())
@click.option("--strict", is_flag=True, help="Exit code 2 where anything is left out or wrong.")
@click.option("--page", type=click.Path(), help="Write a page to look at here (.html).")
def check(data: str, strict: bool, page: str | None) -> None:
    """Count the images and boxes of a data.yaml, and give a verdict on every kind of fault.

    Example: yolo-core dataset check datasets/shapes/data.yaml --page shapes.html
    """
    from yolo_core.datasets.check import check_dataset
    from yolo_core.files import atomic_write
    from yolo_core.outputs import check_outputs
    from yolo_core.yolo.dataset import read_data_yaml

    check_outputs([data], [page])
    checked = check_dataset(read_data_yaml(data))
    answer(
        {"data": str(data), "faults": checked.faults(),
         "verdicts": [asdict(verdict) for verdict in checked.verdicts]}
    )  # fmt: skip
    click.echo("\n".join(checked.lines()))
    if page is not None:
        from yolo_core.datasets.page import page_of

        atomic_write(page, page_of(checked))
        click.echo(f"page: {page}")
    if strict:
        checked.refuse_faults()
    if checked.faults() and page is None:
        next_steps(("yolo-core", "dataset", "check", data, "--page", "dataset.html"))
    else:
        next_steps(("yolo-train", "fit", "--data", data))


@dataset.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="Folder of what is written.")
@click.option("--images", multiple=True, type=click.Path(),
              help="Folder of a COCO file's pictures. Default: the file's own.")  # fmt: skip
@click.option("--split", multiple=True, type=click.Choice(["train", "val", "test"]),
              help="What a COCO file becomes. Default: what its name says, or train.")  # fmt: skip
@click.option("--segments", is_flag=True, help="Outlines instead of boxes, where there is one.")
@click.option("--strict", is_flag=True, help="Stop instead of leaving faulty data out.")
def convert(
    sources: tuple[str, ...],
    out: str,
    images: tuple[str, ...],
    split: tuple[str, ...],
    segments: bool,
    strict: bool,
) -> None:
    """A data.yaml as COCO files, or COCO files as a dataset with a data.yaml.

    \b
    yolo-core dataset convert shapes/data.yaml --out coco
    yolo-core dataset convert instances_val2017.json --images val2017 --out yolo
    """
    from yolo_core.datasets.convert import convert

    lines, commands = convert(sources, out, images, split, segments, strict)
    for line in lines:
        click.echo(line)
    next_steps(*commands)
