"""How every command of ours answers: one line for a bad input, and its exit code.

Exit codes: 0 done, 2 bad input (click's own code for bad usage), 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import signal
import threading
from typing import Any

import click

from yolo_core.errors import InputError

BAD_INPUT = 2
INTERRUPTED = 130


class _OneLine(click.ClickException):
    """An `InputError` on its way to the terminal: click prints `Error: <line>`."""

    exit_code = BAD_INPUT


class Command(click.Command):
    """A click command that reports `InputError`, and what the system refuses, in one line."""

    def invoke(self, context: click.Context) -> Any:
        _hear_ctrl_c()
        try:
            return super().invoke(context)
        except InputError as error:
            raise _OneLine(str(error)) from error
        except BrokenPipeError:
            raise  # whoever read the output left; click ends quietly
        except OSError as error:
            # The system refuses: the disk is full, a name too long, a folder not ours.
            place = error.filename if isinstance(error.filename, str) else "the system"
            line = str(InputError(place, error.strerror or type(error).__name__))
            raise _OneLine(line) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            context.exit(INTERRUPTED)


def _hear_ctrl_c() -> None:
    """Shells and schedulers start background programs with SIGINT ignored; ours answer it."""
    alone = threading.current_thread() is threading.main_thread()
    if alone and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Group(click.Group):
    """A click group whose commands are `Command`s."""

    command_class = Command
    group_class = type  # subgroups are `Group`s too
