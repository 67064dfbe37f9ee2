"""Put an AddressSanitizer and UndefinedBehaviorSanitizer build in place of the installed library,
and run the engine's tests on it.

    python sanitize.py [PYTEST ARGUMENTS]

Leaves the sanitized library behind: use it in an environment of its own. Leaks are not looked for,
since the interpreter's own would be reported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from compile import compile_library, find_compiler

from yolo_cvm.engine import library

FLAGS = [
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
    "-fno-omit-frame-pointer",
]
TESTS = Path(__file__).resolve().parents[1] / "tests" / "engine"
#: It limits the address space, of which AddressSanitizer needs terabytes.
WITHOUT = ["-k", "not memory_that_is_not_there"]


def _runtime(compiler: list[str], name: str) -> str:
    found = subprocess.run(
        [*compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def main(arguments: list[str]) -> int:
    """Returns pytest's exit code."""
    compiler = find_compiler()
    compile_library(library.path(), compiler, optimize=["-O1"], extra=FLAGS)
    runtimes = ["libasan.so", "libubsan.so", "libstdc++.so"]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(_runtime(compiler, name) for name in runtimes),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    command = [sys.executable, "-m", "pytest", str(TESTS), *WITHOUT, *arguments]
    return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
