"""The `yolo-cvm` command. It parses, calls one function and prints."""

from __future__ import annotations

import os
from typing import Any

import click

from yolo_core.command import Group, budget_options
from yolo_core.console import answer, next_steps
from yolo_core.detecting.command import detect_options
from yolo_core.detecting.options import DetectOptions
from yolo_cvm.bundle.command import bundle, model_meta
from yolo_cvm.dispute.command import claim, judge, witness
from yolo_cvm.node.command import node, serve

_MODEL = click.argument("model", type=click.Path())
_INPUT = click.option(
    "--input", "input_file", required=True, type=click.Path(), help="Integers (.npy), or a picture."
)
_NODES = click.option("--nodes", is_flag=True, help="Print a line for every node.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_ENGINE = click.option("--engine", default=None, help="compiled, reference, or a CPU arch.")
_CONF = click.option(
    "--conf", type=float, help="Smallest score. Default: the model's own, or 0.25."
)
_IOU = click.option(
    "--iou", type=float, help="Overlap that suppresses. Default: the model's own, or 0.45."
)
_MAX_DET = click.option(
    "--max-det", type=int, help="Detections per picture. Default: the model's own, or 300."
)
_THREADS = click.option("--threads", type=click.IntRange(1, 1024), help="Cores of one run.")
_COMPAT = click.option(
    "--compat",
    is_flag=True,
    help="Accept the sloppy files that the original accepts, and tell what was passed over.",
)


def _told(model: Any) -> Any:
    """The loaded model, after what `--compat` passed over has been told."""
    for line in model.oddities:
        click.echo(f"Note: {line}", err=True)
    return model


def _print_json(data: Any) -> None:
    import json

    click.echo(json.dumps(data, indent=1))


@click.group(cls=Group)
@click.version_option(package_name="yolo-cvm")
def main() -> None:
    """Run integer models with the same result on every machine, and prove it.

    MODEL is a folder with the files symbol and params, or a bundle.
    """


@main.command()
@budget_options
@_MODEL
@_COMPAT
@_JSON
@_NODES
@click.option("--engine", "show_engine", is_flag=True, help="Tell which engine would run it.")
@click.option("--plan", "show_plan", is_flag=True, help="Print the compiled engine's plan.")
@click.option("--after", metavar="PASS", help="With --plan: as it is after this pass.")
def inspect(
    model: str,
    compat: bool,
    as_json: bool,
    nodes: bool,
    show_engine: bool,
    show_plan: bool,
    after: str | None,
) -> None:
    """The model in a few lines: input, heads, gas, work, memory; with --nodes every node too.

    --json prints both.
    """
    from yolo_cvm import inspection
    from yolo_cvm.engine.report import planned, report
    from yolo_cvm.model import load

    if show_plan or after is not None:
        for line in planned(load(model, engine="reference", compat=compat).graph, after):
            click.echo(line)
        return

    if show_engine:
        told = report(_told(load(model, compat=compat)).graph)
        if as_json:
            _print_json(told)
        else:
            click.echo("\n".join(f"{key:18} {value}" for key, value in told.items()))
        return
    graph = _told(load(model, engine="reference", compat=compat)).graph
    if as_json:
        _print_json(inspection.as_json(graph))
    else:
        if nodes:
            click.echo(inspection.table(graph))
        click.echo("\n".join(inspection.figures(graph)))


@main.command()
@budget_options
@_MODEL
@_INPUT
@click.option("--output", type=click.Path(), help="Write the output here (.npy, or bytes).")
@click.option(
    "--bytes",
    "dialect",
    type=click.Choice(("c", "chain")),
    help="Input and output are raw bytes: of the C interface, or of the chain (big-endian).",
)
@click.option("--receipt", type=click.Path(), help="Write a receipt of the inference here.")
@click.option("--certified", is_flag=True, help="Refuse a model that might overflow.")
@_COMPAT
@_ENGINE
@_THREADS
def run(
    model: str,
    input_file: str,
    output: str | None,
    dialect: str | None,
    receipt: str | None,
    certified: bool,
    compat: bool,
    engine: str | None,
    threads: int | None,
) -> None:
    """One inference.

    \b
    yolo-cvm run model --input x.npy --output y.npy --receipt r.json
    yolo-cvm run model --input bus.jpg --receipt r.json
    """
    from yolo_cvm.model import load
    from yolo_cvm.running import run_file

    loaded = _told(load(model, threads, engine, compat, certified))
    for line in run_file(loaded, model, input_file, output, dialect, receipt):
        click.echo(line)
    if receipt is not None and dialect is None:
        next_steps(("yolo-cvm", "verify", receipt, model, "--input", input_file))
    else:
        next_steps()


@main.command()
@budget_options
@_MODEL
@_COMPAT
@_JSON
@_NODES
def certify(model: str, compat: bool, as_json: bool, nodes: bool) -> None:
    """Prove from the parameters that no value can overflow; refuse the model otherwise.

    --nodes prints what every node can reach, --json the same as data.
    """
    from yolo_cvm import inspection
    from yolo_cvm.model import load

    graph = _told(load(model, engine="reference", compat=compat)).graph
    if as_json:
        _print_json(inspection.certificate_json(graph))
    else:
        if nodes:
            click.echo(inspection.certificate_table(graph))
        click.echo(inspection.verdict(graph))


@main.command()
@budget_options
@click.argument("receipt", type=click.Path())
@_MODEL
@_INPUT
@_COMPAT
@_ENGINE
@_THREADS
@click.pass_context
def verify(
    context: click.Context,
    receipt: str,
    model: str,
    input_file: str,
    compat: bool,
    engine: str | None,
    threads: int | None,
) -> None:
    """Run again and compare with a receipt. Exit code 1 where they differ."""
    from yolo_cvm.model import load
    from yolo_cvm.receipts import read_receipt, verify
    from yolo_cvm.running import read_input

    stated = read_receipt(receipt)
    loaded = _told(load(model, threads, engine, compat))
    difference = verify(stated, loaded, read_input(loaded, model, input_file))
    answer({"same": not difference, "difference": difference})
    click.echo(f"differs: {difference}" if difference else f"verified, {stated.told()}")
    context.exit(1 if difference else 0)


@main.command()
@click.argument("left", type=click.Path())
@click.argument("right", type=click.Path())
@click.pass_context
def bisect(context: click.Context, left: str, right: str) -> None:
    """Name the first node at which two receipts of one model and input part. Exit code 1."""
    from yolo_cvm.receipts import Receipt, first_difference, read_receipt

    first = read_receipt(left)
    difference = first_difference(first, read_receipt(right))
    answer({"same": not difference, "difference": difference})
    agreed = f"the receipts agree, {first.told()}"
    click.echo(f"first difference: {difference}" if difference else agreed)
    if difference and difference.startswith("node "):
        node = ("--node", difference.split()[1])
        next_steps(("yolo-cvm", "witness", "MODEL", "--input", "X", *node, "--out", "W"))
    elif difference and isinstance(first, Receipt):
        next_steps(("yolo-cvm", "witness", "MODEL", "--records", "--out", "W"))
    context.exit(1 if difference else 0)


@main.command()
@budget_options
@_MODEL
@_JSON
def gas(model: str, as_json: bool) -> None:
    """What one inference costs, from the symbol file alone: gas, and the honest cost."""
    from yolo_cvm import inspection
    from yolo_cvm.model import read_program

    graph = read_program(model)
    if as_json:
        _print_json(inspection.summary(graph))
    else:
        click.echo("\n".join(inspection.figures(graph)))


@main.command()
@budget_options
@click.argument("folder", required=False, type=click.Path())
@click.option("--quiet", is_flag=True, help="Print only what failed, and the counts.")
@_ENGINE
@click.pass_context
def conform(context: click.Context, folder: str | None, quiet: bool, engine: str | None) -> None:
    """Run every conformance vector below FOLDER. Exit code 1 where one fails.

    Without FOLDER the vectors run that come with the package.
    """
    from yolo_core.words import shown
    from yolo_cvm.conform import FAILED, PASSED, conform, count, shipped

    outcomes = []
    for outcome in conform(shipped() if folder is None else folder, engine):
        outcomes.append(outcome)
        if not quiet or outcome.status != PASSED:
            click.echo(
                f"{outcome.status:<16} {shown(outcome.name)}  {shown(outcome.note)}".rstrip()
            )
    click.echo(count(outcomes))
    context.exit(1 if any(outcome.status == FAILED for outcome in outcomes) else 0)


@main.command()
@budget_options
@_MODEL
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", type=click.Path(), help="Folder for annotated pictures, labels and JSON.")
@click.option("--receipt", type=click.Path(), help="Write a receipt here, of one picture.")
@detect_options
@_JSON
@_ENGINE
@_THREADS
def detect(
    model: str,
    sources: tuple[str, ...],
    out: str | None,
    receipt: str | None,
    wishes: DetectOptions,
    as_json: bool,
    engine: str | None,
    threads: int | None,
) -> None:
    """Find objects in pictures and videos with an integer detector.

    A SOURCE is a picture, a video, a folder, a glob, a list (.txt), the number of a camera, or a
    stream (rtsp://…). Nothing is written without --out, --save-txt or --save-crop.
    Of a model whose graph decides, its own boxes are shown and written, from a score of 0.25 on
    unless --conf says otherwise; a smaller --max-det leaves some out.

    Example: yolo-cvm detect model street.jpg --out found
    """
    from yolo_core.detecting.command import tell
    from yolo_cvm.detection import check_receipt, describe, detection, records, write_receipt

    done = detection(model, sources, out, wishes, threads, engine)
    if receipt is not None:
        check_receipt(done, model, receipt)
    try:
        tell(done, None if as_json else describe)
        if receipt is not None:
            click.echo(write_receipt(done, receipt), err=as_json)
            if not as_json:
                next_steps(("yolo-cvm", "verify", receipt, model, "--input", sources[0]))
    finally:
        if as_json:
            _print_json(records(done))


@main.command()
@budget_options
@_MODEL
@click.argument("picture", type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="Folder for what a chain is given.")
@click.option("--comment", default="", help="Text for the chain and the torrent.")
@click.option("--piece-length", default=4096, show_default=True, metavar="BYTES")
def encode(model: str, picture: str, out: str, comment: str, piece_length: int) -> None:
    """A picture as the model's input: .npy, words of INFERARRAY, stored input with its torrent.

    Example: yolo-cvm encode model street.jpg --out street
    """
    from yolo_core.outputs import check_outputs
    from yolo_core.words import shown
    from yolo_core.yolo.model_folder import model_sources
    from yolo_cvm.pictures import encode, write_encoded

    check_outputs(inputs=[*model_sources(model), picture], folders=[out])
    for line in write_encoded(encode(model, picture, comment, piece_length), out, comment):
        click.echo(line)
    click.echo(f"written {shown(out)}")
    placement = os.path.join(out, "placement.json")
    next_steps(("yolo-cvm", "decode", model, "ANSWER", "--placement", placement))


@main.command()
@budget_options
@_MODEL
@click.argument("output", type=click.Path())
@click.option("--placement", type=click.Path(), help="placement.json of encode.")
@click.option(
    "--bytes",
    "dialect",
    default="chain",
    show_default=True,
    type=click.Choice(("c", "chain")),
    help="Order of the bytes of OUTPUT, unless it is a .npy file or an answer of serve.",
)
@click.option("--picture", type=click.Path(), help="Draw the boxes into this picture.")
@click.option("--out", type=click.Path(), help="Where the drawn picture goes.")
@_CONF
@_IOU
@_MAX_DET
@_JSON
def decode(
    model: str,
    output: str,
    placement: str | None,
    dialect: str,
    picture: str | None,
    out: str | None,
    conf: float | None,
    iou: float | None,
    max_det: int | None,
    as_json: bool,
) -> None:
    """What a chain answered, as boxes; without a placement in pixels of the model's input.

    Example: yolo-cvm decode model answer.bin --placement street/placement.json
    """
    from yolo_core.outputs import check_outputs
    from yolo_core.words import shown
    from yolo_core.yolo.boxes import NmsSettings
    from yolo_core.yolo.model_folder import model_sources
    from yolo_core.yolo.predictor import settle
    from yolo_cvm import pictures
    from yolo_cvm.detection import describe_detections
    from yolo_cvm.predictor import open_detector

    if (picture is None) != (out is None) or (picture is not None and placement is None):
        raise click.UsageError("--picture, --out and --placement belong together")
    check_outputs(inputs=[*model_sources(model), output, placement, picture], files=[out])
    predictor = open_detector(model)
    settings = settle(predictor, NmsSettings.for_display(), conf, iou, max_det)
    where = pictures.read_placement(placement) if placement is not None else None
    values = pictures.read_output(predictor, output, dialect)
    found = pictures.decode(predictor, values, where, settings)
    if picture is not None and out is not None:
        pictures.draw_decoded(predictor, found, picture, out)
    record = pictures.decoded_record(predictor, found)
    if as_json:
        _print_json(record)
    else:
        click.echo("\n".join(describe_detections(record["detections"])))
        if out is not None:
            click.echo(f"wrote {shown(out)}")
        next_steps()


@main.command()
@budget_options
@_MODEL
@click.option("--out", required=True, type=click.Path(), help="Folder to write the files into.")
def contract(model: str, out: str) -> None:
    """Write what a contract needs to read MODEL's boxes: Solidity, an example, a Python twin.

    MODEL is one whose graph decides by itself.

    Example: yolo-cvm contract model --out contract
    """
    from yolo_cvm.contract import write_contract

    for path in write_contract(model, out):
        click.echo(str(path))
    next_steps(("yolo-cvm", "bundle", model, "--out", "bundle"))


@main.command()
@budget_options
@_MODEL
@click.option("--out", required=True, type=click.Path(), help="File to write.")
@_COMPAT
def plan(model: str, out: str, compat: bool) -> None:
    """Write the prepared plan of MODEL, for the page that runs models in a browser.

    Example: yolo-cvm plan model --out model.plan
    """
    from yolo_core.outputs import check_outputs
    from yolo_core.yolo.model_folder import model_sources
    from yolo_cvm.engine.prepared import write_plan
    from yolo_cvm.model import load
    from yolo_cvm.predictor import extension_record

    check_outputs(inputs=model_sources(model), files=[out])
    loaded = _told(load(model, engine="reference", compat=compat))
    size = write_plan(out, loaded, extension_record(model, loaded))
    click.echo(f"wrote {out}, {size:,} bytes")
    next_steps()


main.add_command(bundle)
main.add_command(model_meta)
main.add_command(serve)
main.add_command(node)
main.add_command(claim)
main.add_command(witness)
main.add_command(judge)
