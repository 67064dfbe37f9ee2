"""Where a number comes from: command line, versions and machine, written beside every result."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
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


def machine() -> dict[str, Any]:
    """The machine that works: its system, its processor and how many cores may be used."""
    return {"system": platform.platform(terse=True), "processor": _processor(), "cores": _cores()}


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as stream:
        for line in stream:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def digest(content: Any) -> str:
    """SHA-256 of plain data in its canonical JSON form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
