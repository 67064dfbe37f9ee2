"""How every command line answers: one line for what cannot be done, and its exit code.

| code | meaning |
|---|---|
| 0 | done |
| 1 | the command compares, and what it compared differs |
| 2 | bad input or usage, a budget that the input exceeds, or what the system refuses |
| 3 | this machine has too little memory, threads or address space; the input may be good |
| 4 | the time that `--max-seconds` grants is over |
| 70 | a defect of ours, with a traceback |
| 130 | interrupted by Ctrl-C |
"""

from __future__ import annotations

import io
import signal
import sys
import threading
import traceback
from types import TracebackType
from typing import Any, Callable, TypeVar

import click

from yolo_core.budget import Budget, grant
from yolo_core.deadline import deadline
from yolo_core.errors import DeadlineError, InputError, is_shortage
from yolo_core.words import shown

DIFFERS = 1
BAD_INPUT = 2
SHORTAGE = 3
LATE = 4
DEFECT = 70
INTERRUPTED = 130


class OneLine(click.ClickException):
    """What cannot be done, on its way to the terminal: click prints `Error: <line>`."""

    exit_code = BAD_INPUT


class _Shortage(OneLine):
    exit_code = SHORTAGE


class _Late(OneLine):
    exit_code = LATE


_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])


seconds_option = click.option(
    "--max-seconds", type=click.FloatRange(0, min_open=True),
    help="Give up after so long (exit code 4).",
)  # fmt: skip


def budget_options(command: _CommandT) -> _CommandT:
    """What a command that loads or runs an integer model may take; `Command` sees to all four."""
    for option in (
        seconds_option,
        click.option("--max-steps", type=click.IntRange(0),
                     help="Refuse a model of more elementary steps."),
        click.option("--max-memory", type=click.IntRange(0),
                     help="Refuse a model that needs more bytes."),
        click.option("--max-gas", type=click.IntRange(0), help="Refuse a model of more gas."),
    ):  # fmt: skip
        command = option(command)
    return command


class Command(click.Command):
    """A click command that reports in one line what it cannot do; the codes are those above.

    Where it has the options of `budget_options`, they limit the whole command.
    """

    def invoke(self, context: click.Context) -> Any:
        _hear_ctrl_c()
        _never_fail_to_print()
        seconds = context.params.pop("max_seconds", None)
        limits = [context.params.pop(f"max_{name}", None) for name in ("gas", "memory", "steps")]
        try:
            with deadline(seconds), grant(Budget(*limits)):
                return super().invoke(context)
        except InputError as error:
            raise OneLine(str(error)) from error
        except DeadlineError as error:
            raise _Late(str(error)) from error
        except MemoryError as error:
            line = shown(error) if str(error) else "this machine has too little memory"
            raise _Shortage(line) from error
        except ImportError as error:
            if not is_shortage(error):
                raise
            line = f"this machine has too little memory ({shown(error)})"
            raise _Shortage(line) from error
        except BrokenPipeError as error:
            # What is still to be written at the end of the process would fail again.
            wrapper: Any = click.utils
            sys.stdout = wrapper.PacifyFlushWrapper(sys.stdout)
            raise OneLine("the output: nobody reads it any more") from error
        except OSError as error:
            # The system refuses: the disk is full, a name too long, a folder not ours.
            place = error.filename if isinstance(error.filename, str) else "the system"
            line = str(InputError(place, error.strerror or type(error).__name__))
            raise OneLine(line) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            context.exit(INTERRUPTED)


def _hear_ctrl_c() -> None:
    """Shells and schedulers start background programs with SIGINT ignored; ours answer it."""
    alone = threading.current_thread() is threading.main_thread()
    if alone and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Group(click.Group):
    """A click group whose commands are `Command`s. A defect that ends it has its own exit code."""

    command_class = Command
    group_class = type  # subgroups are `Group`s too

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings = kwargs.setdefault("context_settings", {})
        settings.setdefault("help_option_names", ["-h", "--help"])
        super().__init__(*args, **kwargs)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        sys.excepthook = _report_defect
        return super().main(*args, **kwargs)


def _report_defect(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """The traceback of an error that nothing expected, and the exit code of a defect."""
    if issubclass(kind, MemoryError):
        print("Error: this machine has too little memory", file=sys.stderr)
        raise SystemExit(SHORTAGE)
    traceback.print_exception(kind, error, trace)
    print("This is a defect of the program; please report it.", file=sys.stderr)
    raise SystemExit(DEFECT)


def _never_fail_to_print() -> None:
    """Names of files may hold bytes that the terminal's encoding has no characters for."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
