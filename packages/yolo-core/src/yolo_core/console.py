"""What a command prints, and for whom: people, a log file, another program, or nobody.

`yolo_core.command.Command` enters `printing` around every command, with the options `--quiet`,
`--log-file` and `--json` that all of them have. A command prints as ever (`click.echo`, `print`);
what it can say to a program besides it hands to `answer`, what comes next to
`next_steps`, and how it is continued after Ctrl-C to `goes_on`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Callable, TextIO

from yolo_core.errors import LINE_LIMIT, InputError
from yolo_core.words import shown

#: How every log begins; a file that begins otherwise is somebody else's and is not appended to.
_HEADING = "# log of yolo"


@dataclass
class _Run:
    """One command under way. words: the command line that started it."""

    words: str
    quiet: bool = False
    began: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)
    result: Any = None
    next_steps: list[str] = field(default_factory=list)
    way_on: str | None = None


_runs: list[_Run] = []


def is_quiet() -> bool:
    """Whether the running command was asked to show no progress."""
    return bool(_runs) and _runs[-1].quiet


def answer(result: Any) -> None:
    """What the running command has found, as plain JSON data, for `--json`."""
    if _runs:
        _runs[-1].result = result


def next_steps(*commands: Sequence[object]) -> None:
    """Print how long the command took, and what comes next: commands as words, to be pasted."""
    lines = [shown(shlex.join(map(str, words)), LINE_LIMIT) for words in commands]
    if _runs:
        _runs[-1].next_steps = lines
        print(f"Took {time.monotonic() - _runs[-1].began:.1f} s.")
    if lines:
        print("Next: " + "\n      ".join(lines))


def goes_on(words: str | None = None) -> None:
    """From now on the work of the running command is not lost by Ctrl-C.

    words: the command that continues it; None is the same command again.
    """
    if _runs:
        _runs[-1].way_on = _runs[-1].words if words is None else words


def way_on() -> str:
    """What to tell after Ctrl-C: the command that continues, or begins again."""
    if not _runs:
        return "Interrupted."
    run = _runs[-1]
    if run.way_on is None:
        return f"Interrupted. To begin again: {run.words}"
    return f"Interrupted. To go on from here: {run.way_on}"


@contextlib.contextmanager
def printing(
    words: str, version: str, quiet: bool, log_file: str | None, as_json: bool, silent: bool
) -> Iterator[Callable[[int, str | None], None]]:
    """Print as asked while the block runs. Gives a function that takes the end: code and error.

    words, version: of the command. quiet: no progress, and nothing on standard output unless it is
    JSON. log_file: what both streams get is appended to this file too, with the time. as_json: one
    JSON object on standard output instead of the lines. silent: what the command prints by itself
    is kept from standard output (`quiet` without a JSON of its own). InputError for a log file
    that cannot be written, or is no log of ours.
    """
    run = _Run(words, quiet)
    with contextlib.ExitStack() as stack:
        log = None if log_file is None else stack.enter_context(_log(log_file, words))
        keep: list[Callable[[str], None]] = [] if log is None else [log]
        outs = [*keep, run.lines.append] if as_json else keep
        _runs.append(run)
        stack.callback(_runs.remove, run)
        out, err = sys.stdout, sys.stderr
        if outs or silent:
            sys.stdout = _Tee(None if as_json or silent else out, outs)
            stack.callback(setattr, sys, "stdout", out)
        if keep:
            sys.stderr = _Tee(err, keep)
            stack.callback(setattr, sys, "stderr", err)

        def end(code: int, error: str | None) -> None:
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, _Tee):
                    stream.finish()
            if log is not None:
                log(f"Error: {error}" if error else f"ended with exit code {code}")
            if as_json:
                record = {"command": words, "version": version, "exit_code": code, "error": error,
                          "seconds": round(time.monotonic() - run.began, 3), "result": run.result,
                          "next": run.next_steps, "lines": run.lines}  # fmt: skip
                out.write(json.dumps(record, indent=1) + "\n")
                out.flush()

        yield end


@contextlib.contextmanager
def _log(path: str, words: str) -> Iterator[Callable[[str], None]]:
    """A log file that was begun or is continued; the function adds a line to it."""
    with contextlib.ExitStack() as stack:
        try:
            if os.path.lexists(path):
                _check_log(path)
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            stream = stack.enter_context(
                open(path, "a", encoding="utf-8", errors="backslashreplace")
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(path, f"cannot be written ({reason})") from error
        stream.write(f"{_HEADING}: {words}\n")

        def add(line: str) -> None:
            stream.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n")
            stream.flush()

        yield add


def _check_log(path: str) -> None:
    wanted = "a new file, or the log of an earlier command"
    if os.path.islink(path) or not os.path.isfile(path):
        raise InputError(path, "is not a regular file", wanted)
    with open(path, "rb") as stream:
        if not stream.read(len(_HEADING)).startswith(_HEADING.encode()):
            raise InputError(path, "is not a log of ours", wanted)


class _Tee(io.TextIOBase):
    """A stream whose complete lines go to several takers; of a bar only its last state does."""

    def __init__(self, stream: TextIO | None, takers: list[Callable[[str], None]]) -> None:
        self._stream, self._takers, self._rest = stream, takers, ""

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"a str is written here, not {type(text).__name__}")
        if self._stream is not None:
            self._stream.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._pass_on(line)
        self._rest = self._rest[self._rest.rstrip("\r").rfind("\r") + 1 :]
        return len(text)

    def finish(self) -> None:
        """Pass on what was written without an end of line."""
        if self._rest.strip():
            self._pass_on(self._rest)
        self._rest = ""

    def _pass_on(self, line: str) -> None:
        last = line.rstrip("\r").rpartition("\r")[2]
        for take in self._takers:
            take(last)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"
