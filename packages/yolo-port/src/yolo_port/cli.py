"""The command line of yolo-port: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path

import click

from yolo_core.command import Group


@click.group(cls=Group)
@click.version_option(package_name="yolo-port")
def main() -> None:
    """Bring YOLOv5 weights in from PyTorch, safetensors, NumPy and ONNX files, and out again."""


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@click.option(
    "--no-fuse", is_flag=True, help="Keep batch normalisation, so that the model can be trained."
)
def convert(source: Path, out: Path, no_fuse: bool) -> None:
    """Convert SOURCE to an MXNet checkpoint in the folder --out.

    Example: yolo-port convert yolov5n.pt --out weights/
    """
    from yolo_port.convert import convert as run

    checkpoint, files = run(source, out, fuse=not no_fuse)
    architecture = checkpoint.architecture
    click.echo(
        f"{architecture.model_name}, {architecture.nc} classes, "
        f"{'fused' if checkpoint.fused else 'with batch normalisation'}, {checkpoint.color}"
    )
    for file in files:
        click.echo(file)
