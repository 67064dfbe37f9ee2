"""Ctrl-C ends a command that a shell or a scheduler started with SIGINT ignored."""

from __future__ import annotations

import signal
import subprocess
import sys

CODE = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
import click
from yolo_core.command import Group

@click.group(cls=Group)
def main():
    pass

@main.command()
def wait():
    print("ready", flush=True)
    time.sleep(60)

main()
"""


def test_a_command_started_with_ctrl_c_ignored_answers_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CODE, "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted." in errors
