"""How every command line answers: one line for what cannot be done, and its exit code.

Every command has --quiet, --log-file, --json, --version and -h, from here.

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

import contextlib
import functools
import io
import os
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, TypeVar

import click

from yolo_core import console
from yolo_core.budget import Budget, grant
from yolo_core.deadline import deadline
from yolo_core.errors import LINE_LIMIT, DeadlineError, InputError, is_shortage
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


#: What click 8.2 and newer raise for a group without a command: its message is the help.
_HELP = tuple(filter(None, [getattr(click.exceptions, "NoArgsIsHelpError", None)]))

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])


seconds_option = click.option(
    "--max-seconds", type=click.FloatRange(0, min_open=True),
    help="Give up after so long (exit code 4).",
)  # fmt: skip


memory_option = click.option(
    "--max-memory", type=click.IntRange(0), help="Refuse a model that needs more bytes."
)


def budget_options(command: _CommandT) -> _CommandT:
    """What a command that loads or runs an integer model may take; `Command` sees to all four."""
    for option in (
        seconds_option,
        click.option("--max-steps", type=click.IntRange(0),
                     help="Refuse a model of more elementary steps."),
        memory_option,
        click.option("--max-gas", type=click.IntRange(0), help="Refuse a model of more gas."),
    ):  # fmt: skip
        command = option(command)
    return command


class Command(click.Command):
    """A click command that reports in one line what it cannot do; the codes are those above.

    Where it has the options of `budget_options`, they limit the whole command. It has the options
    of `_everywhere` unless it has its own of that name.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        params = super().get_params(ctx)
        taken = {word for param in params for word in param.opts}
        # The last is --help.
        added = [option for option in _everywhere(self) if not taken.intersection(option.opts)]
        return [*params[:-1], *added, *params[-1:]]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = f"{ctx.command_path} {shlex.join(args)}".rstrip()
        return super().parse_args(ctx, args)

    def invoke(self, context: click.Context) -> Any:
        given = context.params
        seconds = given.pop("max_seconds", None)
        limits = [given.pop(f"max_{name}", None) for name in ("gas", "memory", "steps")]
        quiet, log_file = given.pop("_quiet", False), given.pop("_log_file", None)
        as_json = given.pop("_json", False)
        silent = quiet and not given.get("as_json")
        words, version = context.meta[_WORDS], _version(self) if as_json else ""
        printing = console.printing(words, version, quiet, log_file, as_json, silent)
        limited = grant(Budget(*limits))
        with _one_line(), printing as end, _told(end), _one_line(), deadline(seconds), limited:
            return super().invoke(context)


_FORMAT_WARNING = warnings.formatwarning
#: Where a context keeps the command line that it was made from.
_WORDS = "yolo_core.words"


def _everywhere(command: click.Command) -> list[click.Option]:
    """The options that every command has."""
    return [
        click.Option(["--json", "_json"], is_flag=True,
                     help="Print one JSON object, also of an error, instead of lines."),
        click.Option(["--quiet", "_quiet"], is_flag=True,
                     help="Print warnings and errors only, and no progress."),
        click.Option(["--log-file", "_log_file"], type=click.Path(), metavar="FILE",
                     help="Append what is printed to this file too, with the time."),
        click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False,
                     callback=functools.partial(_show_version, command),
                     help="Show the version and exit."),
    ]  # fmt: skip


def _show_version(
    command: click.Command, context: click.Context, _option: click.Parameter, wanted: bool
) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"{_package(command)}, version {_version(command)}")
        context.exit()


def _package(command: click.Command) -> str:
    """The package of ours that a command comes with: yolo-mrt."""
    return str(command.callback.__module__).partition(".")[0].replace("_", "-")


def _version(command: click.Command) -> str:
    return metadata.version(_package(command))


@contextlib.contextmanager
def _told(end: Callable[[int, str | None], None]) -> Iterator[None]:
    """Hand the exit code of the block, and its error, to `end`."""
    try:
        yield
    except click.exceptions.Exit as done:
        end(done.exit_code, None)
        raise
    except SystemExit as done:
        end(done.code if isinstance(done.code, int) else 0, None)
        raise
    except click.ClickException as error:
        end(error.exit_code, error.format_message())
        raise
    except BaseException as defect:
        end(DEFECT, f"{type(defect).__name__}: {shown(defect)}")
        raise
    end(0, None)


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """What the block cannot do becomes the line and the exit code of this module."""
    _hear_ctrl_c()
    _never_fail_to_print()
    try:
        yield
    except InputError as error:
        raise OneLine(str(error)) from error
    except click.UsageError as error:
        if isinstance(error, (click.MissingParameter, *_HELP)):
            raise
        # It repeats what was typed, or what the shell made of `*`: names of foreign files.
        line = shown(error.format_message(), LINE_LIMIT)
        raise click.UsageError(line, error.ctx) from error
    except DeadlineError as error:
        raise _Late(str(error)) from error
    except MemoryError as error:
        line = shown(error) if str(error) else "this machine has too little memory"
        raise _Shortage(line) from error
    except (ImportError, RuntimeError) as error:
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
        named = isinstance(error.filename, (str, os.PathLike))
        place = os.fspath(error.filename) if named else "the system"
        line = str(InputError(place, error.strerror or type(error).__name__))
        raise OneLine(line) from error
    except KeyboardInterrupt:
        click.echo(console.way_on(), err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None


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
        warnings.formatwarning = _one_line_warning
        try:
            return super().main(*args, **kwargs)
        except OSError:
            # The error itself cannot be told, as with both streams on a full disk; what is still
            # to be written at the end of the process would change the exit code.
            sys.stdout = sys.stderr = None
            raise SystemExit(BAD_INPUT) from None

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _one_line():  # --help and --version print here
            return super().make_context(*args, **kwargs)

    def invoke(self, context: click.Context) -> Any:
        with _one_line():  # a subcommand is loaded and its words are read here
            return super().invoke(context)


def _one_line_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int,
    line: str | None = None,
) -> str:  # fmt: skip
    """A warning of ours for people, without the place in the source; others as Python has them."""
    if any(part.startswith("yolo_") for part in Path(filename).parts[-4:]):
        return f"Warning: {shown(message, LINE_LIMIT)}\n"
    return _FORMAT_WARNING(message, category, filename, lineno, line)


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
