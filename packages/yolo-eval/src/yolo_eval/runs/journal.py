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
from yolo_eval.runs.ground_truth import JSON_LIMIT, GroundTruth, identifier
from yolo_eval.runs.run import Row, checked_rows


class Journal:
    """An open journal; use it as a context manager.

    done: by image id, the picture's SHA-256 and the rows that earlier runs predicted.
    """

    def __init__(self, path: Path, binding: str, truth: GroundTruth) -> None:
        """binding: digest of everything that decides the predictions."""
        self.path = path
        self._header = json.dumps({"format": "yolo-eval-journal/1", "binding": binding}) + "\n"
        self._truth = truth
        self.done: dict[int, tuple[str, list[Row]]] = {}
        self._added = False
        self._stream: TextIO | None = None

    def __enter__(self) -> Journal:
        length = self._read() if os.path.lexists(self.path) else 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = open(self.path, "a", encoding="utf-8")
            # A last line that was cut off by a kill is dropped.
            self._stream.truncate(length)
            if not length:
                self._stream.write(self._header)
                self._stream.flush()
        except OSError as error:
            raise InputError(self.path, f"cannot be written ({error.strerror})") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        if not self.done and not self._added:
            # A run that was refused before its first picture leaves nothing to go on from.
            self.path.unlink(missing_ok=True)

    def add(self, image: int, digest: str, rows: list[Row]) -> None:
        """Keep one image's detections; they reach the disk at once."""
        assert self._stream is not None
        entry = {"image_id": image, "sha256": digest, "detections": [row[1:] for row in rows]}
        self._stream.write(json.dumps(entry, separators=(",", ":")) + "\n")
        self._stream.flush()
        self._added = True

    def _read(self) -> int:
        """Fill `done` from the complete lines; their length in bytes."""
        if self.path.is_symlink():
            raise InputError(self.path, "is a link", "this name free")
        data = read_bytes(self.path, JSON_LIMIT)
        length = data.rfind(b"\n") + 1
        lines = data[:length].decode("utf-8", "replace").split("\n")[:-1]
        if lines and lines[0] + "\n" != self._header:
            raise InputError(
                self.path,
                "belongs to an unfinished run with another model, other settings or images",
                "the same command again, or this file removed",
            )
        detections = []
        for number, line in enumerate(lines[1:], start=2):
            try:
                entry = json.loads(line)
                image = identifier(entry, "image_id", f"{self.path}:{number}")
                self.done[image] = (str(entry["sha256"]), [])
                for category, box, score in entry["detections"]:
                    detections.append(
                        {"image_id": image, "category_id": category, "bbox": box, "score": score}
                    )
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise InputError(
                    f"{self.path}:{number}", "is damaged", "a line written by yolo-eval coco"
                ) from error
        for row in checked_rows(detections, self._truth, str(self.path)):
            self.done[row[0]][1].append(row)
        return length
