"""Look for data races: programs on two threads under ThreadSanitizer.

    python race.py FOLDER [PROGRAMS]

Dumps random programs as emulate.py does, compiles the engine and the replay program with
ThreadSanitizer, and runs them: the pool is all that threads share. Exit code 0 where nothing was
found and every output is the reference's, 3 where there is no ThreadSanitizer.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from emulate import HERE, dump_programs

FLAGS = ["-fsanitize=thread", "-g"]


def main(folder: Path, programs: int) -> int:
    """Returns the exit code."""
    sys.path.insert(0, str(HERE.parent))
    from compile import NoCompiler, compile_library, find_compiler

    files = dump_programs(folder, programs)
    compiler = find_compiler()
    library, program = folder / "libcvm-race.so", folder / "replay-race"
    link = [str(HERE / "replay.cpp"), str(library), "-pthread", "-Wl,-rpath,$ORIGIN"]
    try:
        compile_library(library, compiler, platform.machine(), ["-O1"], FLAGS)
        command = [*compiler, "-std=c++17", "-O1", *FLAGS, *link, "-o", str(program)]
        subprocess.run(command, check=True)
    except (NoCompiler, subprocess.CalledProcessError) as reason:
        print(f"there is no ThreadSanitizer: {reason}")
        return 3
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1 exitcode=66"}
    return subprocess.run([str(program), *map(str, files)], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60))
