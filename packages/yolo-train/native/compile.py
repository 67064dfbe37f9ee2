"""Compiles the operators with whatever C++ compiler is there, as the packaging hook asks.

Neither MXNet nor its headers are needed. One build serves every Python version.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Those compiled once; with those of arch/.
SOURCES = (
    "operators.cpp", "batch_norm_silu.cpp", "pick.cpp", "ciou.cpp", "update.cpp", "team.cpp",
)  # fmt: skip
#: Flags of each instruction set, by machine; elsewhere its source compiles to an empty list.
INSTRUCTION_SETS = {"x86_64": {"avx2": ["-mavx2"], "avx512": ["-mavx512f"]}}
#: Products and sums are never joined: every instruction set rounds alike.
FLAGS = [
    "-std=c++17", "-O3", "-g0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off",
    "-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-Wno-psabi",
    f"-ffile-prefix-map={HERE}=native",
]  # fmt: skip


class NoCompiler(Exception):
    """There is no C++17 compiler that works; the message says what was tried."""


def find_compiler() -> list[str]:
    """The command of a compiler: $CXX, or the first of c++, g++, clang++. NoCompiler if none."""
    asked = os.environ.get("CXX")
    candidates = [shlex.split(asked)] if asked else [["c++"], ["g++"], ["clang++"]]
    for command in candidates:
        if command and shutil.which(command[0]):
            return command
    raise NoCompiler("tried " + ", ".join(" ".join(command) for command in candidates))


def compile_library(target: Path) -> None:
    """Compile everything into the shared library `target`. NoCompiler where that fails."""
    if not sys.platform.startswith("linux"):
        raise NoCompiler("the operators are made for Linux")
    command = find_compiler()
    sets = INSTRUCTION_SETS.get(platform.machine(), {})
    sources = [HERE / name for name in SOURCES]
    sources.append(HERE / "arch" / "select.cpp")
    sources += [HERE / "arch" / name / "kernels.cpp" for name in ("portable", "avx2", "avx512")]
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for number, source in enumerate(sources):
            compiled = str(Path(folder, f"{number}.o"))
            own = sets.get(source.parent.name, [])
            _run([*command, *FLAGS, *own, "-c", str(source), "-o", compiled])
            objects.append(compiled)
        linked = Path(folder, target.name)
        _run([*command, "-shared", *objects, "-o", str(linked), "-ldl", "-lm"])
        target.parent.mkdir(parents=True, exist_ok=True)
        # A library in use keeps its file: replace the name, never the bytes.
        staged = target.with_name(target.name + ".new")
        shutil.copyfile(linked, staged)
        os.replace(staged, target)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise NoCompiler(f"{command[0]}: {error}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        reason = next((line for line in lines if "error" in line), lines[-1] if lines else "failed")
        raise NoCompiler(f"{command[0]}: {reason}")


if __name__ == "__main__":
    compile_library(Path(sys.argv[1]))
