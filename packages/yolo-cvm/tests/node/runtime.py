"""The node library through ctypes, as a node calls it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterable
from pathlib import Path

SENTINEL = 0x5555
GETTERS = {
    "storage": "CVMAPIGetStorageSize",
    "gas": "CVMAPIGetGasFromModel",
    "input_length": "CVMAPIGetInputLength",
    "input_type_size": "CVMAPIGetInputTypeSize",
    "output_type_size": "CVMAPIGetOutputTypeSize",
    "output_length": "CVMAPIGetOutputLength",
}


class Runtime:
    """The twelve functions of a library."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path), os.RTLD_NOW | os.RTLD_GLOBAL)

    def load(self, symbol: bytes, params: bytes, device: int = 0) -> tuple[int, int | None]:
        """Return code and handle."""
        net = ctypes.c_void_p()
        code = self.c.CVMAPILoadModel(
            ctypes.c_char_p(symbol), len(symbol), ctypes.c_char_p(params), len(params),
            ctypes.byref(net), device, 0,
        )  # fmt: skip
        return code, net.value

    def figure(self, name: str, net: int | None) -> tuple[int, int]:
        """Return code and what was written over the sentinel."""
        value = ctypes.c_ulonglong(SENTINEL)
        code = getattr(self.c, name)(ctypes.c_void_p(net), ctypes.byref(value))
        return code, value.value

    def infer(self, net: int | None, data: bytes, room: int) -> tuple[int, bytes]:
        """Return code and output buffer, which held 0xa5 and is watched at its end."""
        buffer = ctypes.create_string_buffer(b"\xa5" * (room + 16), room + 16)
        code = self.c.CVMAPIInference(
            ctypes.c_void_p(net), ctypes.c_char_p(data), len(data), buffer
        )
        assert buffer.raw[room:] == b"\xa5" * 16
        return code, buffer.raw[:room]

    def gas_of_file(self, symbol: bytes) -> tuple[int, int]:
        """Return code and gas of a text that ends with a NUL."""
        value = ctypes.c_ulonglong(SENTINEL)
        code = self.c.CVMAPIGetGasFromGraphFile(ctypes.c_char_p(symbol), ctypes.byref(value))
        return code, value.value

    def free(self, net: int | None) -> int:
        """Return code."""
        return int(self.c.CVMAPIFreeModel(ctypes.c_void_p(net)))


def daemons() -> list[int]:
    """Processes that this one has started to serve the library."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if b"yolo_cvm.node.daemon" in words and parent == str(os.getpid()):
                found.append(int(entry.name))
    return found


def kill_daemon(others: Iterable[int] = ()) -> None:
    """Kill the one daemon of this process beside `others`, and wait until it is dead."""
    (process,) = set(daemons()).difference(others)
    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
