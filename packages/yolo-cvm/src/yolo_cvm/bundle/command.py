"""The commands `bundle` and `model-meta` of `yolo-cvm`; they parse, call and print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from yolo_core.command import Command, budget_options
from yolo_core.console import next_steps
from yolo_core.words import shown
from yolo_cvm.bundle.layout import LAYOUTS, PLAIN

_MODEL_HELP = "MODEL is a folder with the files symbol and params (and ext for a detector)."


@click.command(cls=Command, help=f"Pack MODEL for publication, or check a bundle. {_MODEL_HELP}")
@budget_options
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write the bundle into.")
@click.option("--check", "checked", type=click.Path(path_type=Path), help="Bundle to check.")
@click.option(
    "--layout",
    default=PLAIN,
    show_default=True,
    type=click.Choice(LAYOUTS),
    help="A folder of its own, or one more model in a node's storage or a seeder's root.",
)
@click.option("--comment", default="", help="Text for the chain and the torrent.")
@click.option("--author", default=None, metavar="ADDRESS", help="Who receives the royalty.")
@click.option("--royalty", default=0, metavar="GAS", help="Gas per call, at most 20000.")
@click.option("--tracker", multiple=True, metavar="URL", help="One more tracker tier; repeatable.")
@click.option("--no-default-tracker", is_flag=True, help="Leave out the chain's own tracker.")
@click.option("--piece-length", default=4096, show_default=True, metavar="BYTES")
@click.option(
    "--creation-date",
    is_flag=False,
    flag_value="now",
    metavar="[SECONDS]",
    help="Date the torrent: SECONDS, else SOURCE_DATE_EPOCH, else now. Undated by default.",
)
@click.option(
    "--metrics",
    multiple=True,
    type=click.Path(path_type=Path),
    help="File of yolo-eval coco or compare for the card's accuracy table; repeatable.",
)
@click.option("--licence", default="", help="Of the weights, for the card; stock ones: AGPL-3.0.")
@click.option("--origin", default="", help="Where the weights come from, for the card.")
@click.option("--calibration", default="", help="Pictures it was quantized with, for the card.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest.")
def bundle(
    model: Path | None,
    out: Path | None,
    checked: Path | None,
    layout: str,
    comment: str,
    author: str | None,
    royalty: int,
    tracker: tuple[str, ...],
    no_default_tracker: bool,
    piece_length: int,
    creation_date: str | None,
    metrics: tuple[Path, ...],
    licence: str,
    origin: str,
    calibration: str,
    as_json: bool,
) -> None:
    from yolo_cvm import bundle as package

    if checked is not None:
        if model is not None or out is not None:
            raise click.UsageError("--check takes neither MODEL nor --out")
        for passed in package.check_bundle(checked):
            click.echo(f"ok  {passed.name:<12} {passed.found}")
        if (checked / package.MANIFEST).is_file():  # and no storage of several models
            run = ("yolo-cvm", "run", checked, "--input", "INPUT", "--receipt", "r.json")
            next_steps(run)
        return
    if model is None or out is None:
        raise click.UsageError("give MODEL and --out DIR, or --check DIR")
    manifest = package.write_bundle(
        model,
        out,
        package.Choices(
            comment=comment,
            author=package.parse_address(author) if author else package.NO_AUTHOR,
            royalty=royalty,
            tiers=package.tiers(tracker, with_default=not no_default_tracker),
            piece_length=piece_length,
            creation_date=package.creation_date(creation_date),
            accuracy=package.accuracy_table(metrics),
            licence=licence,
            origin=origin,
            calibration=calibration,
        ),
        layout,
    )
    _print(manifest, as_json)
    for row in manifest["choices"]["accuracy"]:
        warning = package.nothing_found(row)
        if warning:
            click.echo(f"Warning: {shown(warning, 300)}", err=True)
    unstated = package.unstated(manifest)
    if unstated:
        click.echo(f"Warning: {unstated}", err=True)
    if not as_json:
        click.echo(f"written {shown(out)}")
        next_steps(("yolo-cvm", "bundle", "--check", out))
        click.echo("      and seed and announce it, as its card says")


@click.command(
    "model-meta",
    cls=Command,
    help=f"Print what announces MODEL to a chain. {_MODEL_HELP}",
)
@budget_options
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--comment", default="", help="Text for the chain.")
@click.option("--author", default=None, metavar="ADDRESS", help="Who receives the royalty.")
@click.option("--royalty", default=0, metavar="GAS", help="Gas per call, at most 20000.")
@click.option("--piece-length", default=4096, show_default=True, metavar="BYTES")
@click.option(
    "--input",
    "stored",
    type=click.Path(path_type=Path),
    help="A .npy file to announce as a stored input of the model.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def model_meta(
    model: Path,
    comment: str,
    author: str | None,
    royalty: int,
    piece_length: int,
    stored: Path | None,
    as_json: bool,
) -> None:
    from yolo_cvm import bundle as package

    choices = package.Choices(
        comment=comment,
        author=package.parse_address(author) if author else package.NO_AUTHOR,
        royalty=royalty,
        piece_length=piece_length,
    )
    _print(package.announce(model, choices, stored), as_json)


def _print(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(record, indent=2, sort_keys=True))
        return
    creation, upload, gas = record["creation"], record["upload"], record["gas"]
    click.echo(f"info hash     {creation['info_hash']}")
    click.echo(f"size          {creation['raw_size']:,} bytes")
    click.echo(f"upload        pushes: {upload['pushes']}, gas: {upload['gas']:,}")
    click.echo(f"opcode        {gas['infer']:,} gas by INFER, {gas['inferarray']:,} by INFERARRAY")
    for number, sentence in enumerate(gas["verdict"]):
        click.echo(f"{'' if number else 'call':<14}{sentence}")
    click.echo(f"model payload {creation['payload']}")
    stored = record.get("stored_input")
    if stored:
        click.echo(f"input payload {stored['payload']}")
