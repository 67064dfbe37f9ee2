"""Runs a command of yolo-eval in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from yolo_eval.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])
