"""What is already predicted: one line per image, so that Ctrl-C costs at most one picture.

The journal lies beside the run file as `<name>.journal`. Its first line binds it to model,
settings and images; a journal of anything else is refused rather than mixed in or thrown away.
One process at a time works on it.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path
from types import TracebackType
from typing import TextIO

from yolo_core.datasets.coco_json import JSON_LIMIT
from yolo_core.errors import InputError
from yolo_core.files import each_key_once, read_bytes
from yolo_core.replacing import lock_alone
from yolo_core.words import shown
from yolo_eval.runs import provenance
from yolo_eval.runs.ground_truth import GroundTruth, identifier
from yolo_eval.runs.run import Row, checked_rows

FORMAT = "yolo-eval-journal/1"


class Journal:
    """An open journal; use it as a context manager.

    done: by image id, the picture's SHA-256 and the rows that earlier runs predicted.
    """

    def __init__(self, path: Path, binding: str, truth: GroundTruth) -> None:
        """binding: digest of everything that decides the predictions."""
        self.path = path
        self._binding = binding
        self._truth = truth
        self.done: dict[int, tuple[str, list[Row]]] = {}
        self._added = False
        self._stream: TextIO | None = None

    def __enter__(self) -> Journal:
        if self.path.is_symlink():
            raise InputError(self.path, "is a link", "this name free")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            stream = open(self.path, "a", encoding="utf-8")
        except OSError as error:
            raise InputError(self.path, f"cannot be written ({error.strerror})") from error
        try:
            lock_alone(stream.fileno(), self.path)
            length = self._read()
            # A last line that was cut off by a kill is dropped.
            stream.truncate(length)
            self._stream = stream
            if not length:
                header = {"format": FORMAT, "binding": self._binding}
                header["command"] = provenance.command_line()
                try:
                    self._write(json.dumps(header))
                except InputError:
                    self.path.unlink(missing_ok=True)
                    raise
        except BaseException:
            _close(stream)
            raise
        return self

    def _write(self, line: str) -> None:
        """Add a line, which reaches the disk at once."""
        assert self._stream is not None
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except OSError as error:
            raise InputError(self.path, f"cannot be written ({error.strerror})") from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            _close(self._stream)
        if not self.done and not self._added:
            # A run that was refused before its first picture leaves nothing to go on from.
            self.path.unlink(missing_ok=True)

    def add(self, image: int, digest: str, rows: list[Row]) -> None:
        """Keep one image's detections. InputError where the disk is full."""
        entry = {"image_id": image, "sha256": digest, "detections": [row[1:] for row in rows]}
        self._write(json.dumps(entry, separators=(",", ":")))
        self._added = True

    def _read(self) -> int:
        """Fill `done` from the complete lines; their length in bytes."""
        data = read_bytes(self.path, JSON_LIMIT)
        length = data.rfind(b"\n") + 1
        lines = data[:length].decode("utf-8", "replace").split("\n")[:-1]
        binding, command = _header(lines[0]) if lines else ("", "")
        if binding != self._binding:
            if len(lines) < 2:
                return 0  # a run that was ended before its first picture
            raise InputError(
                self.path,
                "belongs to an unfinished run with another model, other settings or images"
                + (f" ({shown(command)})" if command else ""),
                f"the same command again, or: rm {shlex.quote(str(self.path))}",
            )
        detections = []
        for number, line in enumerate(lines[1:], start=2):
            try:
                place = f"{self.path}:{number}"
                entry = json.loads(line, object_pairs_hook=each_key_once(place))
                image = identifier(entry, "image_id", place)
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


def _close(stream: TextIO) -> None:
    with contextlib.suppress(OSError):  # what could not be written has been told
        stream.close()


def _header(line: str) -> tuple[str, str]:
    """What the first line binds a journal to, and the command that began it; "" for neither."""
    try:
        content = json.loads(line, object_pairs_hook=each_key_once(""))
    except (InputError, ValueError, RecursionError):
        return "", ""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return "", ""
    return str(content.get("binding", "")), str(content.get("command", ""))
