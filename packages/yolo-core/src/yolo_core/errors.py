"""The errors that people see: what was read, what is wrong with it, what was expected.

Everything that comes from outside (files, options, images, labels) is refused with `InputError`;
any other exception is a defect of ours and may show a traceback.
"""

from __future__ import annotations

import os

from yolo_core.words import shown

#: Longest error line in characters; a hostile field may be megabytes long.
LINE_LIMIT = 1000


class InputError(Exception):
    """Something from outside cannot be used.

    source: the file, option or node that is at fault.
    cause: what is wrong with it, in a few words.
    expected: what would have been right, or None where the cause already says it.
    """

    def __init__(
        self, source: str | os.PathLike[str], cause: str, expected: str | None = None
    ) -> None:
        self.source = os.fspath(source)
        self.cause = cause
        self.expected = expected
        super().__init__(self.source, cause, expected)

    def __str__(self) -> str:
        line = f"{self.source}: {self.cause}"
        if self.expected:
            line += f"; expected {self.expected}"
        # An error is one line even when a hostile file name or field carries line breaks.
        return shown(line, LINE_LIMIT)


class SpecialFileError(InputError):
    """A device, a pipe, a socket or a circle of links stands where a file should.

    No honest data set holds one, so it ends a command also where faulty pictures are left out.
    """


class ShortageError(MemoryError):
    """This machine has too little for an input that may be good elsewhere.

    It says nothing about the input: no rule of the machine is broken, and no other machine need
    agree.
    """


#: What the loader of compiled modules says when there is no room for one, and Python of a thread.
_NO_ROOM = ("failed to map segment", "cannot allocate memory", "Cannot allocate memory",
            "can't start new thread")  # fmt: skip


def is_shortage(error: Exception) -> bool:
    """Whether a library was not loaded, or a thread not begun, for want of memory."""
    return any(words in str(error) for words in _NO_ROOM)


class DeadlineError(Exception):
    """The time that the user granted is over."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not done within the {seconds:g} seconds of --max-seconds")
