"""The commands `serve` and `node` of `yolo-cvm`; they parse and call."""

from __future__ import annotations

import click

from yolo_core.command import Command, Group
from yolo_core.console import next_steps
from yolo_core.errors import InputError

_MIB = 1 << 20


@click.command(cls=Command)
@click.option(
    "--store", "roots", multiple=True, required=True, type=click.Path(),
    help="Root of a torrentfs store, or a bundle; repeatable.",
)  # fmt: skip
@click.option("--listen", default="127.0.0.1:4321", show_default=True, metavar="HOST:PORT")
@click.option("--anywhere", is_flag=True, help="Allow to listen on an address of the network.")
@click.option("--check-hashes", is_flag=True, help="Compare files with their torrent at first use.")
@click.option("--parallel", default=2, show_default=True, type=click.IntRange(1, 256))
@click.option(
    "--queue", default=64, show_default=True, type=click.IntRange(0, 10_000),
    help="Inferences that may wait; further ones are refused.",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 1024), help="Cores of one inference.")
@click.option("--models-mib", type=click.IntRange(0), help="Memory for models.")
@click.option(
    "--results-mib", default=64, show_default=True, type=click.IntRange(0),
    help="Memory for results.",
)  # fmt: skip
@click.option(
    "--body-mib", default=64, show_default=True, type=click.IntRange(1, 1024),
    help="Largest body of a request.",
)  # fmt: skip
def serve(
    roots: tuple[str, ...],
    listen: str,
    anywhere: bool,
    check_hashes: bool,
    parallel: int,
    queue: int,
    threads: int | None,
    models_mib: int | None,
    results_mib: int,
    body_mib: int,
) -> None:
    """Answer the inferences of a Cortex node, and show a page for people.

    Start the node with --infer.devicetype remote://127.0.0.1:4321. SIGTERM ends the server,
    SIGHUP makes it read changed files again.

    Example: yolo-cvm serve --store ~/.cortex/storage
    """
    try:
        from yolo_cvm.node import server
    except ImportError as error:
        raise InputError(
            "serve", f"needs {error.name}, which is not installed", "pip install yolo-cvm[serve]"
        ) from error
    from yolo_cvm.node.http import Limits
    from yolo_cvm.node.serving import Budget

    host, port = server.parse_listen(listen, anywhere)
    models = server.model_budget() if models_mib is None else models_mib * _MIB
    server.serve(
        server.Settings(
            roots, host, port,
            Budget(models, results_mib * _MIB, parallel, queue, threads),
            Limits(body_bytes=body_mib * _MIB),
            check_hashes,
        )
    )  # fmt: skip


@click.group(cls=Group)
def node() -> None:
    """Put our runtime into a full node with a storage of its own."""


@node.command()
@click.argument("path", type=click.Path())
def install(path: str) -> None:
    """Write libcvm_runtime.so into the folder `plugins` of a node.

    PATH is that folder, or the folder that the node is started in.
    """
    from yolo_cvm.node.install import install

    click.echo(f"wrote {install(path)}")
    next_steps()
