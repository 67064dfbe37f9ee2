"""What `yolo checks` tells of this machine and this installation."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib import metadata

from yolo_core.errors import InputError
from yolo_core.plugins import installed

#: Group of entry points: functions of packages that return (label, text) pairs of their own.
ENTRY_POINTS = "yolo_core.checks"
OURS = ("yolo-core", "yolo-port", "yolo-train", "yolo-mrt", "yolo-cvm", "yolo-eval")
OTHERS = ("numpy", "mxnet", "opencv-python-headless", "pillow", "pycocotools", "onnx",
          "onnxruntime", "matplotlib")  # fmt: skip
#: Features of processors that decide which kernels run, as Linux names them.
_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "asimddp")


def checks() -> Iterator[tuple[str, str]]:
    """Label and text of each line."""
    yield "python", f"{platform.python_version()}, {sys.executable}"
    yield "system", platform.platform()
    for package in (*OURS, *OTHERS):
        yield package, version(package)
    model, flags = processor()
    yield "processor", model
    yield "instructions", " ".join(flag for flag in _FLAGS if flag in flags) or "none of note"
    yield "cores", str(_cores())
    yield "gpu", _gpus()
    yield "fonts", _fonts()
    for tell in _of_packages():
        yield from tell()


def version(package: str) -> str:
    """The installed version of a package, or that it is absent."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor() -> tuple[str, set[str]]:
    """Name and features of the processor, as far as the system tells them."""
    facts: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                label, _, text = line.partition(":")
                facts.setdefault(label.strip(), text.strip())
    except OSError:
        return platform.processor() or platform.machine(), set()
    name = facts.get("model name") or platform.machine()
    return name, set((facts.get("flags") or facts.get("Features", "")).split())


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> str:
    if version("mxnet") == "not installed":
        return "not asked for: MXNet is not installed"
    from yolo_core.mxnet.importing import mxnet

    try:
        found = mxnet().context.num_gpus()
    except InputError as error:
        return str(error)
    return f"{found} that this MXNet can use"


def _fonts() -> str:
    from yolo_core.media.lettering import FONTS

    if version("pillow") == "not installed":
        return "not used: Pillow is not installed"
    return ", ".join(font.name if font.is_file() else f"{font.name} is MISSING" for font in FONTS)


def _of_packages() -> Iterator[Callable[[], list[tuple[str, str]]]]:
    for point in installed(ENTRY_POINTS):
        yield point.load()
