"""Compiles the engine with whatever C++17 compiler is there: no build system, no Python headers.

Used by the packaging hook (hatch_build.py) and by the sanitizer and emulation checks. The library
has a plain C interface, so one build serves every Python version. Same source and compiler give
the same bytes.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
FORMAT = HERE.parent / "src" / "yolo_cvm" / "engine" / "format.py"
COMMON = [
    "pool.cpp",
    "plan.cpp",
    "plain.cpp",
    "plain_network.cpp",
    "chain.cpp",
    "suppress.cpp",
    "pieces.cpp",
    "words.cpp",
    "tile_code.cpp",
    "image.cpp",
    "picture.cpp",
    "conv.cpp",
    "direct.cpp",
    "streams.cpp",
    "winograd.cpp",
    "abi.cpp",
    "wire.cpp",
    "arch/select.cpp",
]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]
# Flags of each instruction set, by machine; a set that is not listed compiles to an empty list.
INSTRUCTION_SETS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "x86_64": {
        "avx2": ["-mavx2"],
        "avxvnni": ["-mavx2", "-mavxvnni"],
        "avx512vnni": [*AVX512, "-mavx512vnni"],
        "avx512vbmi": [*AVX512, "-mavx512vnni", "-mavx512vbmi", "-mavx512bitalg"],
    },
    "aarch64": {"neon": ["-march=armv8.2-a+dotprod"]},
    # for emulate.py: what a machine with AVX2 can run, AVX-VNNI in words of AVX2
    "x86_64-avx2": {
        "avx2": ["-mavx2"],
        "avxvnni": ["-mavx2", "-include", str(HERE / "replay" / "avxvnni.h")],
    },
}
# -O3 only where it was seen to matter, the kernels of vector instructions: there it is up to 1.9
# times as fast as -O2. The portable kernels are slower with it, and take six times as long to
# compile.
KERNEL_FLAGS = ["-O3"]
OTHER_FLAGS = ["-O2"]
# The kernels that take longest, first, so that no processor is left with one of them at the end.
LONGEST_FIRST = ["avx512vnni", "avxvnni", "avx2", "neon", "wasm", "avx512vbmi"]
ALL_SETS = ["portable", *LONGEST_FIRST]


class NoCompiler(Exception):
    """There is no C++17 compiler that works; the message says what was tried."""


def find_compiler() -> list[str]:
    """The command of a compiler: $CXX, or the first of c++, g++, clang++. NoCompiler if none."""
    asked = os.environ.get("CXX")
    candidates = [shlex.split(asked)] if asked else [["c++"], ["g++"], ["clang++"]]
    for command in candidates:
        if command and shutil.which(command[0]):
            return command
    raise NoCompiler("tried " + ", ".join(" ".join(c) for c in candidates))


def normal(machine: str) -> str:
    """One name for a kind of processor that systems call differently."""
    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def target_machine(compiler: Sequence[str]) -> str:
    """The kind of processor that the compiler compiles for; this one where it does not say."""
    try:
        told = subprocess.run([*compiler, "-dumpmachine"], capture_output=True, text=True).stdout
    except OSError:
        told = ""
    return normal(told.partition("-")[0].strip() or platform.machine())


def compile_library(
    target: Path,
    compiler: Sequence[str] | None = None,
    machine: str | None = None,
    optimize: Sequence[str] | None = None,
    extra: Sequence[str] = (),
) -> None:
    """Compile everything into the shared library `target`. NoCompiler where that fails.

    machine: of the target, the compiler's own by default; optimize: level of all sources instead
    of the level of each; extra: flags for compiling and linking. What no instruction set changes
    is compiled as one source, which reads the standard headers once.
    """
    command = list(compiler or find_compiler())
    machine = machine or target_machine(command)
    with tempfile.TemporaryDirectory() as folder:
        write_headers(Path(folder))
        flags = [
            *command,
            "-std=c++17",
            "-fPIC",
            "-fvisibility=hidden",
            "-g0",
            f"-ffile-prefix-map={HERE}=native",
            f"-ffile-prefix-map={folder}=native",
            "-I",
            folder,
            *extra,
        ]
        common = Path(folder, "common.cpp")
        common.write_text("".join(f'#include "{HERE / name}"\n' for name in COMMON), "utf-8")
        sources = [HERE / "arch" / name / "kernels.cpp" for name in LONGEST_FIRST]
        sources += [common, HERE / "arch" / "portable" / "kernels.cpp"]
        jobs: list[list[str]] = []
        objects = [str(Path(folder, f"{source.parent.name}-{source.stem}.o")) for source in sources]
        for source, compiled in zip(sources, objects):
            name = source.parent.name
            own = INSTRUCTION_SETS.get(machine, {}).get(name, [])
            level = optimize or (KERNEL_FLAGS if name in LONGEST_FIRST else OTHER_FLAGS)
            jobs.append([*flags, *level, *own, "-c", str(source), "-o", compiled])
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(_run, jobs))
        linked = Path(folder, target.name)
        threads = [] if sys.platform == "darwin" else ["-pthread"]
        _run([*command, "-shared", *extra, *threads, *objects, "-o", str(linked)])
        target.parent.mkdir(parents=True, exist_ok=True)
        # A library in use keeps its file: replace the name, never the bytes.
        staged = target.with_name(target.name + ".new")
        shutil.copyfile(linked, staged)
        os.replace(staged, target)


def compile_node_library(target: Path, extra: Sequence[str] = ()) -> None:
    """Compile libcvm_runtime.so, which a node loads. NoCompiler where that fails.

    It is plain C for Linux, and exports twelve names. extra: flags for compiling and linking.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(target.name + ".new")
    source = HERE / "node_library" / "cvm_runtime.c"
    flags = ["-x", "c", "-std=gnu11", "-O2", "-g0", "-fPIC", "-fvisibility=hidden", "-pthread"]
    link = ["-shared", "-Wl,--as-needed", "-Wl,-z,relro,-z,now"]
    prefix = f"-ffile-prefix-map={HERE}=native"
    _run([*find_compiler(), *flags, prefix, *extra, *link, str(source), "-o", str(staged)])
    os.replace(staged, target)


def write_headers(folder: Path) -> None:
    """Write the headers that follow from the table of the engine's format."""
    spec = importlib.util.spec_from_file_location("cvm_format", FORMAT)
    assert spec is not None
    assert spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = table  # dataclasses look their module up
    spec.loader.exec_module(table)
    (folder / "format.h").write_text(table.header(), "utf-8")
    (folder / "format_fields.h").write_text(table.fields_header(), "utf-8")


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise NoCompiler(f"{command[0]}: {error}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        reason = next((line for line in lines if "error" in line), lines[-1] if lines else "failed")
        raise NoCompiler(f"{command[0]}: {reason}")


if __name__ == "__main__":
    compile_library(Path(sys.argv[1]), extra=sys.argv[2:])
