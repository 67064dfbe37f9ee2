"""The `yolo` command: it finds the packages' own commands, and adds `report` and `checks`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from yolo_core import __version__
from yolo_core.command import Group, OneLine
from yolo_core.console import answer, goes_on
from yolo_core.errors import InputError
from yolo_core.front.wishes import WISHES, answering


class _Front(Group):
    """A group that also has the words of `WISHES`, loaded when they are asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*WISHES, *super().list_commands(context)]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in WISHES:
            return super().get_command(context, name)
        try:
            return answering(name)
        except InputError as error:
            raise OneLine(str(error)) from error

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The one-line helps from the table: nothing is loaded to list the commands."""
        rows = [(word, wish.help) for word, wish in WISHES.items()]
        rows += [(name, command.get_short_help_str(100)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=_Front)
@click.version_option(__version__)
def main() -> None:
    """Train, quantize, run and compare YOLOv5 in integers.

    Each command is that of a package, with the same options: yolo COMMAND -h.

    \b
    yolo report yolov5n.pt --data data.yaml     from weights to the comparison
    yolo detect qout/yolov5n_cvm bus.jpg --out found
    """


@main.command()
@click.argument("weights", type=click.Path())
@click.option("--data", required=True, type=click.Path(), help="The dataset's data.yaml.")
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder of all results. Default: runs/report/NAME.")  # fmt: skip
@click.option("--imgsz", "--img", type=int, help="Side of the input. Default: as trained, or 640.")
@click.option("--effort", type=click.Choice(["normal", "high"]), default="normal",
              show_default=True, help="Of the quantizer.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True,
              help="Processes that score.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Print the steps and the report's place only.")
def report(weights: str, data: str, out: Path | None, quiet: bool, **options: Any) -> None:
    """From WEIGHTS to the finished comparison of the float and the integer model.

    WEIGHTS is a checkpoint, or a file that `yolo port convert` reads. Given again, the command
    goes on where it was stopped: a step whose result is whole and whose inputs are the same is
    left out. Pictures that change under the same data.yaml are not noticed: use another --out.
    """
    from yolo_core.front.report import make_report

    goes_on()  # finished steps are not run again
    page = make_report(weights, data, out, quiet, click.echo, **options)
    answer({"page": str(page)})
    click.echo(page)


@main.command()
def checks() -> None:
    """Versions, processor, engine, GPU and fonts, to read or to send with a question."""
    from yolo_core.front.checks import checks as told

    found = dict(told())
    answer(found)
    for label, text in found.items():
        click.echo(f"{label:18} {text}")
