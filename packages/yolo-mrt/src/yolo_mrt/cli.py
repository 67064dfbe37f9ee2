"""The command line: it parses, calls one function, prints."""

from __future__ import annotations

from pathlib import Path

import click

from yolo_core.command import Group

_DATA = "Calibration images: a folder, a .txt list, or a data.yaml (its training part)."


@click.group(cls=Group)
@click.version_option(package_name="yolo-mrt")
def main() -> None:
    """Quantize YOLOv5 checkpoints to integer-only CVM models."""


@main.command()
@click.argument("checkpoint", required=False)
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
@click.option("--stage", "stages", multiple=True, help="Run only this stage; may be repeated.")
def quantize(
    checkpoint: str | None, data: str | None, num_calib: int, imgsz: tuple[int, ...],
    out: Path | None, effort: str, letterbox: str, work: Path | None,
    scheme: Path | None, config: Path | None, stages: tuple[str, ...],
) -> None:  # fmt: skip
    """Quantize CHECKPOINT and write a CVM model folder (symbol, params, ext, data.npy)."""
    from yolo_mrt.command import from_config, from_options

    if config is not None:
        if checkpoint or data or imgsz or out or work or scheme:
            raise click.UsageError("--config says it all; only --effort and --stage go with it")
        from_config(config, effort, stages)
        return
    if not (checkpoint and data and out):
        raise click.UsageError("CHECKPOINT, --data and --out are needed (or --config)")
    from_options(
        Path(checkpoint), data, num_calib, imgsz, out, effort, letterbox, work, scheme, stages
    )


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--work", type=click.Path(path_type=Path),
              help="Folder of the stage files. Default: FOLDER.stages.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path),
              help="HTML page to write. Default: FOLDER.report.html.")  # fmt: skip
@click.option("--images", default=16, show_default=True, help="Images to judge every node by.")
def report(folder: Path, work: Path | None, out: Path | None, images: int) -> None:
    """Show how much accuracy each tensor of the model in FOLDER costs, the worst first."""
    from yolo_mrt.command import report_of

    report_of(folder, work, out, images)
