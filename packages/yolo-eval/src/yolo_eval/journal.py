"""What is already predicted: one line per image, so that Ctrl-C costs at most one picture.

The journal lies beside the run file as `<name>.journal`. Its first line binds it to model,
settings and images; a journal of anything else is refused rather than mixed in or thrown away.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import TextIO

from yolo_core.errors import InputError
from yolo_core.files import read_bytes
from yolo_eval.ground_truth import JSON_LIMIT

#: One detection as it is kept: category id, [x, y, width, height], score.
Row = tuple[int, list[float], float]


class Journal:
    """An open journal; use it as a context manager. `done` holds what earlier runs predicted."""

    def __init__(self, path: Path, binding: str) -> None:
        """binding: digest of everything that decides the predictions."""
        self.path = path
        self._header = json.dumps({"format": "yolo-eval-journal/1", "binding": binding}) + "\n"
        self.done: dict[int, tuple[str, list[Row]]] = {}
        self._stream: TextIO | None = None

    def __enter__(self) -> Journal:
        kept = self._read() if self.path.exists() else self._header
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Rewriting drops a last line that was cut off by a kill.
            self._stream = open(self.path, "w", encoding="utf-8")
        except OSError as error:
            raise InputError(self.path, f"cannot be written ({error.strerror})") from error
        self._stream.write(kept)
        self._stream.flush()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def add(self, image: int, digest: str, rows: list[Row]) -> None:
        """Keep one image's detections; they reach the disk at once."""
        assert self._stream is not None
        line = json.dumps([image, digest, rows], separators=(",", ":"))
        self._stream.write(line + "\n")
        self._stream.flush()

    def remove(self) -> None:
        """Called when the run file is safely written."""
        os.unlink(self.path)

    def _read(self) -> str:
        """The journal's complete lines; fills `done`."""
        lines = read_bytes(self.path, JSON_LIMIT).decode("utf-8", "replace").split("\n")
        complete = lines[:-1]
        if not complete:
            return self._header
        if complete[0] + "\n" != self._header:
            raise InputError(
                self.path,
                "belongs to an unfinished run with another model, other settings or images",
                "the same command again, or this file removed",
            )
        for number, line in enumerate(complete[1:], start=2):
            try:
                image, digest, rows = json.loads(line)
                self.done[int(image)] = (
                    str(digest),
                    [(int(c), [float(v) for v in box], float(score)) for c, box, score in rows],
                )
            except (ValueError, TypeError) as error:
                raise InputError(
                    f"{self.path}:{number}", "is damaged", "a line written by yolo-eval coco"
                ) from error
        return "\n".join(complete) + "\n"
