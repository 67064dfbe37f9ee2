"""Where a number comes from: command line, versions and machine, written beside every result."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
from importlib import metadata
from typing import Any

#: Distributions whose version can change a digit; only the installed ones are named.
_DISTRIBUTIONS = (
    "yolo-eval",
    "yolo-core",
    "yolo-cvm",
    "numpy",
    "opencv-python-headless",
    "pycocotools",
    "mxnet",
)


def command_line() -> str:
    """The command as it was typed, quoted so that it can be typed again."""
    name = sys.argv[0].replace("\\", "/").rsplit("/", 1)[-1]
    return shlex.join(["yolo-eval" if name.startswith("__main__") else name, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Version of Python and of every installed distribution that takes part."""
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def digest(content: Any) -> str:
    """SHA-256 of plain data in its canonical JSON form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
