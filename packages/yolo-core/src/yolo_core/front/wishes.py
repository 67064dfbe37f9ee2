"""Which package answers which word of the command `yolo`.

Every package names its commands as entry points of the group `yolo_core.commands`; this table says
who is asked for a word, and what to install where nobody answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import click

from yolo_core.errors import InputError
from yolo_core.plugins import installed

ENTRY_POINTS = "yolo_core.commands"


@dataclass(frozen=True)
class Wish:
    """packages: who answers the word, the first that is installed. help: one line."""

    packages: tuple[str, ...]
    help: str


WISHES: dict[str, Wish] = {
    "train": Wish(("yolo-train",), "Train a network (yolo-train fit)."),
    "port": Wish(("yolo-port",), "Weights in from other frameworks and out again (yolo-port)."),
    "export": Wish(("yolo-port",), "Write a model in another format (yolo-port convert)."),
    "quantize": Wish(("yolo-mrt",), "Make an integer model of a checkpoint (yolo-mrt quantize)."),
    "run": Wish(("yolo-cvm",), "One inference in integers (yolo-cvm run)."),
    "detect": Wish(("yolo-eval", "yolo-cvm"), "Find objects in pictures."),
    "val": Wish(("yolo-eval",), "Score models on labelled pictures (yolo-eval coco)."),
    "compare": Wish(("yolo-eval",), "What changed between two runs (yolo-eval compare)."),
    "bundle": Wish(("yolo-cvm",), "Pack a model for the chain (yolo-cvm bundle)."),
    "serve": Wish(("yolo-cvm",), "Inference for a node, over HTTP (yolo-cvm serve)."),
}


def answering(word: str) -> click.Command:
    """The command behind a word of `WISHES`. InputError where its package is not installed."""
    found = {
        (point.value.partition(".")[0], point.name): point for point in installed(ENTRY_POINTS)
    }
    for package in WISHES[word].packages:
        point = found.get((package.replace("-", "_"), word))
        if point is not None:
            command: click.Command = point.load()
            return command
    package = WISHES[word].packages[0]
    raise InputError(f"yolo {word}", f"needs {package}, which is not installed", install(package))


def install(package: str) -> str:
    """What to type to have a package of ours."""
    return f"pip install {package} (from a checkout: pip install packages/{package})"
