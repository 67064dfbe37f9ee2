"""The commands `claim`, `witness` and `judge`. They parse, call one function and print."""

from __future__ import annotations

import json
from typing import Any

import click

from yolo_core.command import Command, budget_options, seconds_option
from yolo_core.console import next_steps

_MODEL = click.argument("model", type=click.Path())
_INPUT = click.option(
    "--input", "input_file", required=True, type=click.Path(), help="Integers (.npy), or a picture."
)
_NODE = click.option(
    "--node", required=True, type=click.IntRange(0), help="The operator's number, as bisect says."
)
_RECORDS = click.option(
    "--records",
    is_flag=True,
    help="Show what the model says of all its nodes, where receipts part in their lists of nodes,"
    " heads or gas. Takes no input and no node.",
)
_OUT = click.option("--out", required=True, type=click.Path(), help="File to write.")


def _run(model: str, input_file: str, node: int) -> Any:
    from yolo_cvm.dispute import observe_node
    from yolo_cvm.model import load
    from yolo_cvm.running import read_input

    loaded = load(model)
    return observe_node(loaded, read_input(loaded, model, input_file), node)


def _write(out: str, inputs: list[str | None], model: str, content: bytes) -> None:
    from yolo_core.files import atomic_write
    from yolo_core.outputs import check_outputs
    from yolo_core.yolo.model_folder import model_sources

    check_outputs(inputs=[*model_sources(model), *inputs], files=[out])
    atomic_write(out, content)
    click.echo(f"wrote {out}, {len(content):,} bytes")


@click.command(cls=Command)
@budget_options
@_MODEL
@_INPUT
@_NODE
@click.option(
    "--output-index", default=0, show_default=True, type=click.IntRange(0), help="Which result."
)
@click.option("--against", type=click.Path(), help="The other's claim, which this one answers.")
@_OUT
def claim(
    model: str, input_file: str, node: int, output_index: int, against: str | None, out: str
) -> None:
    """Narrow a dispute about one operator to 256 elements of its result.

    Two people answer each other's claims until one of them names elements; the other answers
    that one with a witness.

    Example: yolo-cvm claim model --input x.npy --node 7 --against theirs --out mine
    """
    from yolo_core.errors import InputError
    from yolo_cvm.dispute import first_claim, next_claim, read_claim

    run = _run(model, input_file, node)
    theirs = None if against is None else read_claim(against)
    output = output_index if theirs is None else theirs.output
    if output >= len(run.results) or (theirs is not None and theirs.node != node):
        raise InputError("claim", "is of another node or output", f"of node {node}")
    result = run.results[output]
    made = first_claim(node, output, result) if theirs is None else next_claim(result, theirs)
    _write(out, [input_file, against], model, made.to_json())
    place = "elements of leaf" if made.is_leaf else f"level {made.level}, branch"
    click.echo(f"{place} {made.index}")
    answer_it = ("yolo-cvm", "witness" if made.is_leaf else "claim", model, "--input", input_file)
    next_steps((*answer_it, "--node", node, "--against", out, "--out", "ANSWER"))


@click.command(cls=Command)
@budget_options
@_MODEL
@click.option("--input", "input_file", type=click.Path(), help="Integers (.npy), or a picture.")
@click.option("--node", type=click.IntRange(0), help="The operator's number, as bisect says.")
@click.option("--against", type=click.Path(), help="The other's claim of elements.")
@_RECORDS
@_OUT
def witness(
    model: str,
    input_file: str | None,
    node: int | None,
    against: str | None,
    records: bool,
    out: str,
) -> None:
    """Write what is needed to run one operator again without the model.

    With --against only what one disputed element depends on, else all of the operands.

    Example: yolo-cvm witness model --input x.npy --node 7 --against theirs --out w
    """
    from yolo_cvm.dispute import make_model_witness, make_witness, read_claim
    from yolo_cvm.model import load

    if records:
        if not (input_file is None and node is None and against is None):
            raise click.UsageError("--records takes no --input, --node or --against")
        _write(out, [], model, make_model_witness(load(model).graph).to_json())
        next_steps(("yolo-cvm", "judge", out, "FIRST.json", "SECOND.json"))
        return
    if input_file is None or node is None:
        raise click.UsageError("--input and --node are needed, or --records alone")
    theirs = None if against is None else read_claim(against)
    made = make_witness(_run(model, input_file, node), theirs)
    _write(out, [input_file, against], model, made.to_json())
    next_steps(("yolo-cvm", "judge", out, "FIRST.json", "SECOND.json"))


@click.command(cls=Command)
@seconds_option
@click.argument("witness", type=click.Path())
@click.argument("first", type=click.Path())
@click.argument("second", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def judge(witness: str, first: str, second: str, as_json: bool) -> None:
    """Decide whose receipt is wrong where two part. Needs no model.

    The witness is of the first node that differs, or of the model's records.

    Example: yolo-cvm judge w alice.json bob.json
    """
    from dataclasses import asdict

    from yolo_cvm.dispute import judge_file
    from yolo_cvm.receipts.reader import read_version_2

    verdict = judge_file(witness, read_version_2(first), read_version_2(second))
    if as_json:
        click.echo(json.dumps(asdict(verdict), indent=1))
    else:
        click.echo("\n".join(verdict.lines({"first": first, "second": second})))
