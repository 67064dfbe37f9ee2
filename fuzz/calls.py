"""The library of a node under hostile calls: `libcvm_runtime.so` through ctypes.

    python calls.py MINUTES [FIRST SEED]

Handles are live, freed or invented; lengths are right, short, long, zero or negative; pointers
may be NULL; every buffer ends where memory that may not be touched begins; models are cut and
changed; the daemon is killed now and then. What a sound call must answer is compared byte by
byte, what a hostile one must leave untouched too. Exit code 1 names the seed of what differs; an
access beyond a buffer ends the process by a signal.
"""

from __future__ import annotations

import ctypes
import mmap
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "packages/yolo-cvm/tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "packages/yolo-cvm/tests/node"))

from cvm_samples import small_graph, some_input, write_model
from runtime import GETTERS, SENTINEL, Runtime, daemons, kill_daemon

from yolo_cvm.chain_io import C_INTERFACE, write_output
from yolo_cvm.model import load
from yolo_cvm.node.install import install

SUCCEED, LOGIC, RUNTIME = 0, 1, 2
_FILL = 0xA5


class Fenced:
    """Bytes whose end is the end of the memory that may be touched; `at` is their address."""

    def __init__(self, data: bytes) -> None:
        pages = -(-len(data) // mmap.PAGESIZE)
        self._map = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        fence = start + pages * mmap.PAGESIZE
        if ctypes.CDLL(None).mprotect(ctypes.c_void_p(fence), mmap.PAGESIZE, 0):
            raise OSError("the page behind a buffer cannot be closed")
        self.at, self._length = fence - len(data), len(data)
        ctypes.memmove(self.at, data, len(data))

    def bytes(self) -> bytes:
        """What they are now."""
        return ctypes.string_at(self.at, self._length)


@dataclass
class Sample:
    """A sound model and what it must answer."""

    symbol: bytes
    params: bytes
    input: bytes
    answer: bytes


def sample(folder: Path) -> Sample:
    """A small network with the bytes of the C interface."""
    graph = small_graph()
    values = some_input(graph)
    model = load(write_model(folder, graph))
    symbol, params = ((folder / name).read_bytes() for name in ("symbol", "params"))
    answer = write_output(model.graph, model.run(values), C_INTERFACE)
    return Sample(symbol, params, values.astype("i1").tobytes(), answer)


@dataclass
class Session:
    """Calls in a random order, and which handles are alive."""

    runtime: Runtime
    sound: Sample
    dice: random.Random
    alive: list[int] = field(default_factory=list)
    freed: list[int] = field(default_factory=list)

    def step(self) -> str:
        """One call; what is wrong with its answer, or nothing."""
        calls = [self.load, self.load_hostile, self.figure, self.infer, self.infer, self.infer,
                 self.infer_hostile, self.free, self.gas, self.kill]  # fmt: skip
        return self.dice.choices(calls, [3, 3, 6, 4, 4, 4, 8, 3, 3, 0.2])[0]()

    def handle(self) -> int:
        """A freed or an invented one, never one that is alive."""
        near = (self.alive or [0])[-1] + self.dice.choice([-8, 1, 8, 16, 1 << 32])
        wild = [near, 1, 16, (1 << 64) - 16, self.dice.getrandbits(64), *self.freed]
        return next(one for one in iter(lambda: self.dice.choice(wild), None)
                    if one > 0 and one not in self.alive)  # fmt: skip

    def damaged(self, data: bytes) -> bytes:
        """The bytes with a cut, a change or an insertion."""
        at, cut = self.dice.randrange(len(data)), self.dice.randrange(1, 9)
        middle = self.dice.choice([b"", self.dice.randbytes(cut), b"9" * 40, b"[" * 3000])
        return data[:at] + middle + (b"" if self.dice.random() < 0.3 else data[at + cut :])

    def load(self) -> str:
        symbol, params = Fenced(self.sound.symbol), Fenced(self.sound.params)
        net = ctypes.c_void_p()
        code = self.runtime.c.CVMAPILoadModel(
            ctypes.c_void_p(symbol.at), len(self.sound.symbol), ctypes.c_void_p(params.at),
            len(self.sound.params), ctypes.byref(net), self.dice.choice([0, 1, 2]), 0,
        )  # fmt: skip
        if code != SUCCEED or not net.value:
            return f"a sound model is refused with {code}"
        self.alive.append(net.value)
        return self.free() if len(self.alive) > 8 else ""

    def load_hostile(self) -> str:
        files = [self.sound.symbol, self.sound.params]
        which = self.dice.randrange(2)
        files[which] = self.damaged(files[which])
        buffers = [Fenced(data) for data in files]
        lengths = [len(data) for data in files]
        if self.dice.random() < 0.3:
            lengths[which] = self.dice.choice([0, -1, -(1 << 31), lengths[which] // 2])
        addresses = [0 if self.dice.random() < 0.05 else buffer.at for buffer in buffers]
        net = ctypes.c_void_p(SENTINEL)
        code = self.runtime.c.CVMAPILoadModel(
            ctypes.c_void_p(addresses[0]), lengths[0], ctypes.c_void_p(addresses[1]), lengths[1],
            ctypes.byref(net), self.dice.choice([0, 3, -1]), self.dice.getrandbits(31),
        )  # fmt: skip
        if code == SUCCEED:  # the damage was in a place that means nothing, a name for example
            return "" if self.runtime.free(net.value) == SUCCEED else "a handle cannot be freed"
        return "" if net.value == SENTINEL else "a refused model changes the handle"

    def figure(self) -> str:
        name = self.dice.choice(list(GETTERS.values()))
        known = bool(self.alive) and self.dice.random() < 0.5
        net = self.dice.choice(self.alive) if known else self.handle()
        code, value = self.runtime.figure(name, net)
        if known:
            return "" if code == SUCCEED else f"{name} of a live handle is {code}"
        right = code == RUNTIME and value == SENTINEL
        return "" if right else f"{name} of a dead handle is {code} and {value}"

    def infer(self) -> str:
        if not self.alive:
            return ""
        code, out = self._infer(self.dice.choice(self.alive), self.sound.input)
        right = code == SUCCEED and out == self.sound.answer
        return "" if right else f"a sound call is {code}, or has other bytes"

    def infer_hostile(self) -> str:
        length = len(self.sound.input)
        other = self.dice.choice([0, 1, length - 1, length + 1, 2 * length, 1 << 20])
        known = bool(self.alive) and self.dice.random() < 0.5
        net = self.dice.choice(self.alive) if known else self.handle()
        wrong = LOGIC if known else RUNTIME
        if self.dice.random() < 0.2:
            code, out = self._infer(net, self.sound.input, self.dice.choice([-1, -(1 << 31)]))
        else:
            code, out = self._infer(net, self.dice.randbytes(other))
        if code == wrong and out == bytes([_FILL]) * len(out):
            return ""
        return f"a wrong call is {code} instead of {wrong}, or writes"

    def _infer(self, net: int, data: bytes, length: int | None = None) -> tuple[int, bytes]:
        given, out = Fenced(data), Fenced(bytes([_FILL]) * len(self.sound.answer))
        code = self.runtime.c.CVMAPIInference(
            ctypes.c_void_p(net), ctypes.c_void_p(given.at),
            len(data) if length is None else length, ctypes.c_void_p(out.at),
        )  # fmt: skip
        return code, out.bytes()

    def free(self) -> str:
        if self.alive and self.dice.random() < 0.6:
            net = self.alive.pop(self.dice.randrange(len(self.alive)))
            self.freed = [*self.freed[-20:], net]
            return "" if self.runtime.free(net) == SUCCEED else "a live handle cannot be freed"
        return "" if self.runtime.free(self.handle()) == RUNTIME else "a dead handle is freed"

    def gas(self) -> str:
        sound = self.dice.random() < 0.4
        text = Fenced(self.sound.symbol if sound else self.damaged(self.sound.symbol))
        value = ctypes.c_ulonglong(SENTINEL)
        code = self.runtime.c.CVMAPIGetGasFromGraphFile(
            ctypes.c_void_p(text.at), ctypes.byref(value)
        )
        if code not in (SUCCEED, LOGIC, RUNTIME) or (sound and code != SUCCEED):
            return f"the gas of a text is {code}"
        return "" if code == SUCCEED or value.value == SENTINEL else "refused, but written"

    def kill(self) -> str:
        if len(daemons()) == 1:
            kill_daemon()
        return ""


def main(minutes: float, seed: int) -> int:
    """Returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        runtime = Runtime(install(Path(folder) / "plugins"))
        sound = sample(Path(folder) / "model")
        end, first, calls = time.monotonic() + 60 * minutes, seed, 0
        while time.monotonic() < end:
            session = Session(runtime, sound, random.Random(seed))
            for number in range(200):
                wrong = session.step()
                calls += 1
                if wrong:
                    print(f"calls of a node: seed {seed}, call {number}: {wrong}")
                    return 1
            for net in session.alive:
                runtime.free(net)
            seed += 1
    print(f"calls of a node: {seed - first} sessions, {calls} calls, no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
