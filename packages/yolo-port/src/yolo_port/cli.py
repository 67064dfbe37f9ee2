"""The command line of yolo-port: parse, call one function, print."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from yolo_core.command import Group
from yolo_core.console import answer, next_steps


def _answers(command: Any) -> Any:
    """The options by which a user says what a file does not."""
    for option in (
        click.option(
            "--cfg",
            type=click.Path(path_type=Path),
            help="Model yaml of YOLOv5 that describes the layers of SOURCE.",
        ),
        click.option(
            "--names",
            type=click.Path(path_type=Path),
            help="data.yaml with the class names, instead of those in SOURCE.",
        ),
        click.option(
            "--activation",
            help="Activation of SOURCE where it does not say: silu, relu, relu6, leaky, "
            "leaky0.01, hardswish, mish or nn.SiLU() and so on.",
        ),
    ):
        command = option(command)
    return command


@click.group(cls=Group)
@click.version_option(package_name="yolo-port")
def main() -> None:
    """Bring YOLOv5 weights in from PyTorch, safetensors, NumPy and ONNX files, and out again."""


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@click.option(
    "--to",
    "form",
    type=click.Choice(["mxnet", "safetensors", "onnx", "pt"]),
    default="mxnet",
    show_default=True,
    help="Format to write.",
)
@click.option(
    "--fuse/--no-fuse",
    default=None,
    help="Fold batch normalisation into the convolutions, or keep it. Default: kept in an mxnet "
    "checkpoint, which can then be trained further and which every command folds by itself; "
    "folded in the other formats.",
)
@_answers
def convert(
    source: Path, out: Path, form: str, fuse: bool | None, cfg: Path | None, names: Path | None,
    activation: str | None,
) -> None:  # fmt: skip
    """Convert SOURCE, a file or a checkpoint's stem, and write it into the folder --out.

    Example: yolo-port convert yolov5n.pt --out weights/
    """
    from yolo_core.mxnet.checkpoint import checkpoint_stem
    from yolo_port.answers import read_answers
    from yolo_port.conversion import convert as run
    from yolo_port.matching import assumptions

    answers = read_answers(cfg, names, activation)
    checkpoint, files = run(source, out, form, fuse, answers)
    architecture = checkpoint.architecture
    answer(
        {"model": architecture.model_name, "names": list(architecture.names),
         "fused": checkpoint.fused, "color": checkpoint.color, "files": list(map(str, files)),
         "assumed": list(assumptions(checkpoint))}
    )  # fmt: skip
    click.echo(
        f"{architecture.model_name}, {architecture.nc} classes, "
        f"{'fused' if checkpoint.fused else 'with batch normalisation'}, {checkpoint.color}"
    )
    for assumption in assumptions(checkpoint):
        click.echo(f"assumed: {assumption}")
    for file in files:
        click.echo(file)
    if form == "mxnet":
        stem = checkpoint_stem(files[0])
        training = [("yolo-train", "fit", "--weights", stem, "--data", "DATA.yaml")]
        next_steps(
            ("yolo-mrt", "quantize", stem, "--data", "PICTURES", "--out", f"qout/{stem.name}_cvm"),
            ("yolo-port", "verify", source, stem),
            *([] if checkpoint.fused else training),
        )
    else:
        next_steps(("yolo-port", "inspect", files[0]))


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--image",
    "images",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Picture to compare on; may be repeated. Default: two generated ones.",
)
@click.option(
    "--imgsz", type=int, default=320, show_default=True, help="Side of the input, pixels."
)
@_answers
def verify(
    source: Path, checkpoint: Path, images: tuple[Path, ...], imgsz: int, cfg: Path | None,
    names: Path | None, activation: str | None,
) -> None:  # fmt: skip
    """Compare what SOURCE and CHECKPOINT compute, layer by layer.

    SOURCE runs in NumPy in double precision, CHECKPOINT in MXNet. Exit code 1 when a raw head
    differs by more than 0.001, or 0.00005 of the largest value, or four times what single
    precision costs SOURCE itself (at most 0.0005 of the largest value), whichever is most.

    Example: yolo-port verify yolov5n.pt weights/yolov5n --image bus.jpg
    """
    from yolo_port.answers import read_answers
    from yolo_port.verification import verify as run

    answers = read_answers(cfg, names, activation)
    result = run(source, checkpoint, images, imgsz, answers)
    answer(
        {"passed": result.passed, "largest": result.largest, "allowed": result.allowed,
         "layers": [asdict(row) for row in result.rows]}
    )  # fmt: skip
    for assumption in result.assumed:
        click.echo(f"assumed on both sides, so not compared: {assumption}")
    wide = max(len(row.kind) for row in result.rows)
    click.echo(f"{'':9}  {'':{wide}}  difference  largest value")
    for row in result.rows:
        place = f"{row.name:9}  {row.kind:{wide}}"
        click.echo(f"{place}  {row.difference:10.1e}  {row.magnitude:13.3f}")
    verdict = "same" if result.passed else "DIFFERENT"
    click.echo(
        f"{verdict}: heads differ by at most {result.largest:.1e} on {result.images} "
        f"{'image' if result.images == 1 else 'images'} ({result.allowed:.2g} allowed)"
    )
    if not result.passed:
        raise SystemExit(1)
    out = f"qout/{checkpoint.name}_cvm"
    next_steps(("yolo-mrt", "quantize", checkpoint, "--data", "PICTURES", "--out", out))


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def inspect(file: Path) -> None:
    """Say what FILE holds: format, model, classes, anchors, colour order.

    Example: yolo-port inspect yolov5n.pt
    """
    from yolo_port.inspection import inspect as run

    found = run(file)
    answer(found)
    width = max(map(len, found))
    for label, text in found.items():
        click.echo(f"{label:{width}}  {text}")
