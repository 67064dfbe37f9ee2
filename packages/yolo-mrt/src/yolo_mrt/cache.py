"""Stages that remember: each leaves a `.conf` with what it was made from and what it made.

A stage is skipped when its conf names the same inputs and its files still have the bytes that the
conf recorded. The conf is written last, so an interrupted stage runs again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import atomic_write, read_json, sha256_file

#: Raised whenever a stage would make other bytes from the same inputs.
VERSION = 4


def key_of(stage: str, inputs: Mapping[str, Any]) -> str:
    """Digest of everything that a stage's result depends on."""
    text = json.dumps({"stage": stage, "version": VERSION, **inputs}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_current(conf: Path, key: str) -> bool:
    """Whether the stage of this conf was made with this key and its files are unharmed."""
    if not conf.is_file():
        return False
    try:
        data = read_json(conf)
        files: dict[str, str] = dict(data["files"])
        return data["key"] == key and all(
            (conf.parent / name).is_file() and sha256_file(conf.parent / name) == digest
            for name, digest in files.items()
        )
    except (InputError, KeyError, TypeError, ValueError):
        # A damaged conf is no reason to stop: the stage is simply made again.
        return False


def seal(
    conf: Path, key: str, after: str, files: Iterable[Path], notes: Mapping[str, Any] | None = None
) -> None:
    """Write the conf of a finished stage.

    after: key of the stage that it built on, "" for none. notes: what else others look for in it.
    """
    record = {
        **(notes or {}),
        "key": key,
        "after": after,
        "files": {
            Path(os.path.relpath(path, conf.parent)).as_posix(): sha256_file(path) for path in files
        },
    }
    atomic_write(conf, json.dumps(record, indent=1, sort_keys=True) + "\n", cache=True)


def sealed(conf: Path, stage: str) -> tuple[str, str]:
    """(key of a finished stage, key of the stage that it built on); InputError when not there."""
    if not conf.is_file():
        raise InputError(conf, "does not exist", f"the stage {stage} to have run before")
    data = read_json(conf)
    if not isinstance(data, dict) or not isinstance(data.get("key"), str):
        raise InputError(conf, "is damaged", f"the conf of the stage {stage}")
    return data["key"], str(data.get("after", ""))
