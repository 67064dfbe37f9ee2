"""The `yolo-core` command: look at what every stage shares. It holds no logic."""

from __future__ import annotations

import click

from yolo_core import __version__
from yolo_core.command import Group


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


@main.command()
@click.argument("data", type=click.Path())
@click.option("--strict", is_flag=True, help="Stop when anything is at fault.")
def dataset(data: str, strict: bool) -> None:
    """Count the images and boxes of a data.yaml and say what cannot be used.

    Example: yolo-core dataset datasets/shapes/data.yaml
    """
    from yolo_core.describe import describe_dataset
    from yolo_core.yolo.dataset import read_data_yaml

    click.echo(describe_dataset(read_data_yaml(data), strict))
