"""Hold the engine to the reference on machines we do not have: NEON, big-endian, AVX-VNNI.

    python emulate.py FOLDER [PROGRAMS]

Dumps random programs with the reference's outputs, compiles the engine with Debian's cross
compilers (g++-aarch64-linux-gnu, g++-s390x-linux-gnu) and replays them under qemu-user. AVX-VNNI
needs no emulator on x86-64: its two instructions are written out in AVX2. A machine whose compiler
or emulator is missing is named and skipped. Exit code 1 where an output differs.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yolo_core.graph import Graph, interpret
from yolo_cvm.engine import planner

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1]
#: machine: compiler, and the command that runs its programs
MACHINES = {
    "aarch64": (
        "aarch64-linux-gnu-g++",
        ["qemu-aarch64-static", "-cpu", "max", "-L", "/usr/aarch64-linux-gnu"],
    ),
    "s390x": (
        "s390x-linux-gnu-g++",
        ["qemu-s390x-static", "-cpu", "max", "-L", "/usr/s390x-linux-gnu"],
    ),
    "x86_64-avx2": ("g++", ["env"]),
}


def dump(graph: Graph, data: np.ndarray, path: Path) -> None:
    """One program as replay.cpp reads it: plan, constants, input, expected outputs."""
    plan = planner.plan(graph)
    expected = interpret.run(graph, data)
    words: list[np.ndarray] = []

    def add(values: np.ndarray) -> None:
        words.append(np.concatenate([[values.size], values.reshape(-1).astype(np.int64)]))

    add(plan.words)
    words.append(np.array([len(plan.constants)]))
    for constant in plan.constants:
        words.append(np.array([constant.itemsize]))
        add(constant)
    add(data)
    words.append(np.array([len(plan.outputs)]))
    for number in range(len(plan.outputs)):
        add(expected[plan.heads.index(number)])
    path.write_bytes(np.concatenate(words).astype("<i8").tobytes())


def build(machine: str, folder: Path, extra: Sequence[str] = ()) -> Path:
    """The replay program for a machine, linked with the engine. extra: flags for both."""
    from compile import compile_library

    compiler = MACHINES[machine][0]
    library = folder / f"libcvm-{machine}.so"
    compile_library(library, [compiler], machine, extra=["-DCVM_EMULATED_AVXVNNI", *extra])
    program = folder / f"replay-{machine}"
    subprocess.run(
        [
            compiler,
            "-std=c++17",
            "-O1",
            *extra,
            str(HERE / "replay.cpp"),
            str(library),
            "-pthread",
            "-Wl,-rpath,$ORIGIN",
            "-o",
            str(program),
        ],
        check=True,
    )
    return program


def dump_programs(folder: Path, programs: int) -> list[Path]:
    """Files of random programs and of a small network."""
    sys.path[:0] = [
        str(HERE.parent),
        str(PACKAGE / "tests" / "engine"),
        str(PACKAGE / "benchmarks"),
    ]
    from random_graphs import random_program
    from synthetic import yolov5

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for seed in range(programs):
        files.append(folder / f"{seed}.plan")
        dump(*random_program(seed), files[-1])
    network = yolov5("n", 64, 64)
    data = np.random.default_rng(0).integers(-127, 128, network.input_shape, dtype=np.int32)
    files.append(folder / "yolov5n.plan")
    dump(network, data, files[-1])
    return files


def main(folder: Path, programs: int) -> int:
    """Returns the exit code."""
    files = dump_programs(folder, programs)
    code = 0
    for machine, (compiler, runner) in MACHINES.items():
        missing = [tool for tool in (compiler, runner[0]) if not shutil.which(tool)]
        if machine.startswith("x86_64") and platform.machine() != "x86_64":
            missing.append("an x86-64 processor")
        if missing:
            print(f"{machine}: skipped, there is no {' and no '.join(missing)}")
            continue
        program = build(machine, folder)
        done = subprocess.run(
            [*runner, str(program), *map(str, files)], capture_output=True, text=True
        )
        print(machine, done.stdout.strip(), done.stderr.strip(), sep="\n  ")
        code = code or done.returncode
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 300))
