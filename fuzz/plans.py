"""Fuzz the plan checker of the compiled library, and what it takes, under ASan and UBSan.

    python plans.py FOLDER SECONDS

Plans of random programs are the corpus of libFuzzer (`plans.cpp`), in FOLDER/plan. Exit code 1
where something was found, 3 where there is no clang++ with libFuzzer.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "packages" / "yolo-cvm"
SANITIZERS = ["-g", "-fno-sanitize-recover=undefined"]
PROGRAMS = 300
LARGEST = 1 << 14


def seeds() -> Iterator[bytes]:
    """Small plans of random programs as `plans.cpp` reads them."""
    sys.path.insert(0, str(PACKAGE / "tests" / "engine"))
    from random_graphs import random_program

    from yolo_cvm.engine import planner

    for number in range(PROGRAMS):
        plan = planner.plan(random_program(number)[0])
        parts = [struct.pack("<I", plan.words.size), plan.words.astype("<i8").tobytes()]
        for array in plan.constants:
            data = array.astype(f"<i{array.itemsize}", copy=False).tobytes()
            # as elements of a byte: `plans.cpp` divides where the plan says four
            parts += [struct.pack("<BI", 1, len(data)), data]
        if sum(map(len, parts)) <= LARGEST:
            yield b"".join(parts)


def compiler() -> str | None:
    """A clang++, the newest by its name."""
    names = ["clang++", *(f"clang++-{version}" for version in range(30, 12, -1))]
    return next(filter(None, map(shutil.which, names)), None)


def build(folder: Path) -> Path | None:
    """The fuzzer; None where this machine cannot make one."""
    sys.path.insert(0, str(PACKAGE / "native"))
    from compile import NoCompiler, compile_library

    found = compiler()
    if found is None:
        return None
    library, program = folder / "libcvm-fuzz.so", folder / "fuzz-plans"
    own = ["-fsanitize=fuzzer-no-link,address,undefined", *SANITIZERS]
    link = ["-fsanitize=fuzzer,address,undefined", *SANITIZERS, "-pthread", "-Wl,-rpath,$ORIGIN"]
    sources = [str(HERE / "plans.cpp"), str(library)]
    try:
        # No instruction sets: what the checker admits is the same for all of them.
        compile_library(library, [found], machine="any", optimize=["-O1"], extra=own)
        command = [found, "-std=c++17", "-O1", *link, *sources, "-o", str(program)]
        subprocess.run(command, capture_output=True, check=True)
    except (NoCompiler, subprocess.CalledProcessError):
        return None
    return program


def main(folder: Path, seconds: int) -> int:
    """Returns the exit code."""
    corpus = folder / "plan"
    corpus.mkdir(parents=True, exist_ok=True)
    program = build(folder)
    if program is None:
        print("there is no clang++ with libFuzzer: apt-get install clang libfuzzer-14-dev")
        return 3
    for number, seed in enumerate(seeds()):
        (corpus / f"seed{number}").write_bytes(seed)
    words = [f"-artifact_prefix={folder}/plan-", "-rss_limit_mb=2048", "-timeout=60",
             f"-max_len={2 * LARGEST}", f"-max_total_time={seconds}", str(corpus)]  # fmt: skip
    return int(subprocess.run([str(program), *words]).returncode != 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
