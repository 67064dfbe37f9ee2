"""One digest over everything, on everything that is at hand: a table of who gives it.

    python run.py FOLDER [--programs N] [--model FOLDER] [--out TABLE.md]

What is computed: the conformance vectors, yolov5n (generated weights at 160 pixels, or the model
that is given), and N random programs. Where: every instruction set of this processor with 1 to 8
threads and the reference; other versions of Python and NumPy, where uv finds them; AArch64 and the
big-endian s390x under qemu, where compiler and emulator are there; WebAssembly, where emcc and node
are. A row that is missing says why. Exit code 1 where a digest differs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Graph
from yolo_core.graph.errors import GraphError
from yolo_core.graph.files import params, symbol
from yolo_cvm import load
from yolo_cvm.arrays import read_array, write_array
from yolo_cvm.conform import shipped
from yolo_cvm.engine import library
from yolo_cvm.engine.planner import PlanningError
from yolo_cvm.engine.prepared import plan_bytes
from yolo_cvm.model import model_files

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent
THREADS = range(1, 9)
#: Python, and the versions of NumPy that are installed for it.
PYTHONS = (
    ("3.9", "1.23.*"), ("3.10", "1.24.*"), ("3.11", "1.26.*"), ("3.12", "2.0.*"),
    ("3.13", "2.*"), ("3.14", "2.*"),
)  # fmt: skip
NEEDED = ("pyyaml", "click", "tqdm")


@dataclass(frozen=True)
class Row:
    """One line of the table. digest: none where `note` says why."""

    where: str
    digest: str | None
    note: str = ""


def write_item(folder: Path, symbol_bytes: bytes, params_bytes: bytes, data: Array) -> None:
    """One model with its input."""
    folder.mkdir(parents=True)
    (folder / "symbol").write_bytes(symbol_bytes)
    (folder / "params").write_bytes(params_bytes)
    write_array(folder / "input.npy", data)


def write_graph(folder: Path, graph: Graph, data: Array) -> None:
    """One program with its input."""
    write_item(folder, symbol.encode(graph), params.encode(graph), data)


def write_items(items: Path, programs: int, model: str | None) -> str:
    """Everything that is computed, in folders; what it is, in words."""
    sys.path[:0] = [str(PACKAGE / "tests" / "engine"), str(PACKAGE / "benchmarks")]
    from random_graphs import random_program
    from synthetic import yolov5

    vectors = 0
    for file in sorted(shipped().rglob("symbol")):
        folder = file.parent
        try:
            load(folder, engine="reference").run(read_array(folder / "input.npy"))
        except GraphError:
            continue  # a vector of what must be refused
        name = "-".join(folder.relative_to(shipped()).parts)
        write_item(items / f"vector-{name}", file.read_bytes(), (folder / "params").read_bytes(),
                   read_array(folder / "input.npy"))  # fmt: skip
        vectors += 1
    for seed in range(programs):
        write_graph(items / f"program-{seed:05d}", *random_program(seed))
    draw = np.random.default_rng(0)
    if model is None:
        network = yolov5("n", 160, 160)
        data = draw.integers(-127, 128, network.input_shape).astype(np.int8)
        write_graph(items / "yolov5n", network, data)
    else:
        files = [path.read_bytes() for path in model_files(model)]
        shape = load(model, engine="reference").graph.input_shape
        write_item(items / "model", files[0], files[1],
                   draw.integers(-127, 128, shape).astype(np.int8))  # fmt: skip
    network_name = "yolov5n with generated weights at 160" if model is None else "the given model"
    return f"{vectors} vectors, {network_name}, {programs} random programs"


def jobs(
    python: str, items: Path, asked: list[str], path: str | None = None
) -> list[dict[str, Any]]:
    """The digests that job.py prints in a Python. path: its PYTHONPATH. CalledProcessError."""
    environment = dict(os.environ) if path is None else {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [python, str(HERE / "job.py"), str(items), *asked],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def here(items: Path) -> Iterator[Row]:
    """The reference and every instruction set of this processor, on 1 to 8 threads."""
    (reference,) = jobs(sys.executable, items, ["reference:1"])
    versions = f"Python {reference['python']}, NumPy {reference['numpy']}"
    yield Row(f"reference, {versions}", reference["digest"])
    for name in library.instruction_sets():
        found = jobs(sys.executable, items, [f"{name}:{threads}" for threads in THREADS])
        digests = {one["digest"] for one in found}
        if len(digests) == 1:
            yield Row(f"{name}, 1 to {len(found)} threads", digests.pop())
        else:
            yield from (Row(f"{name}, {one['threads']} threads", one["digest"]) for one in found)
    every = {"avx512vbmi", "avx512vnni", "avxvnni", "avx2", "neon"}
    for name in every - set(library.instruction_sets()):
        yield Row(f"{name} on this processor", None, "this processor lacks it")


def interpreter(version: str) -> str | None:
    """A Python of a version: one that uv finds, or one of pyenv."""
    found = subprocess.run(
        ["uv", "python", "find", "--no-python-downloads", version], capture_output=True, text=True
    )
    if found.returncode == 0 and f"{version}" in _version(found.stdout.strip()):
        return found.stdout.strip()
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    choices = sorted(root.glob(f"versions/{version}.*/bin/python"))
    return str(choices[-1]) if choices else None


def _version(python: str) -> str:
    done = subprocess.run([python, "--version"], capture_output=True, text=True)
    return done.stdout.strip()


def pythons(items: Path, folder: Path) -> Iterator[Row]:
    """Other versions of Python and NumPy, by the reference and by the fastest engine."""
    sources = os.pathsep.join(
        str(PACKAGE.parent / name / "src") for name in ("yolo-core", "yolo-cvm")
    )
    for version, numpy in PYTHONS:
        where = f"Python {version}, NumPy {numpy}"
        if shutil.which("uv") is None:
            yield Row(where, None, "there is no uv")
            continue
        found = interpreter(version)
        if found is None:
            yield Row(where, None, f"there is no Python {version}")
            continue
        python = str(folder / version / "bin" / "python")
        try:
            for command in (
                ["uv", "venv", "-q", "--clear", "--python", found, str(folder / version)],
                ["uv", "pip", "install", "-q", "--python", python, f"numpy=={numpy}", *NEEDED],
            ):
                subprocess.run(command, capture_output=True, text=True, check=True)
            reference, compiled = jobs(python, items, ["reference:1", "compiled:2"], sources)
        except subprocess.CalledProcessError as error:
            said = (error.stderr or "").strip().splitlines()
            yield Row(where, None, said[-1] if said else "it does not install")
            continue
        where = f"Python {reference['python']}, NumPy {reference['numpy']}"
        for kind, one in (("reference", reference), ("compiled", compiled)):
            yield Row(f"{where}, {kind}", one["digest"])


def write_plans(items: Path) -> list[str]:
    """`plan` and `input.i32` beside every model; names of those that have no plan."""
    without = []
    for folder in sorted(items.iterdir()):
        model = load(folder, engine="reference")
        data = model.prepare(read_array(folder / "input.npy"))
        (folder / "input.i32").write_bytes(data.astype("<i4").tobytes())
        try:
            (folder / "plan").write_bytes(plan_bytes(model))
        except (PlanningError, ValueError):
            without.append(folder.name)
    return without


def emulated(items: Path, folder: Path, digest: str) -> Iterator[Row]:
    """Other processors under qemu, which compare every output with the reference's."""
    sys.path.insert(0, str(PACKAGE / "native" / "replay"))
    import emulate

    files = []
    for item in sorted(items.iterdir()):
        model = load(item, engine="reference")
        files.append(folder / f"{item.name}.plan")
        emulate.dump(model.graph, model.prepare(read_array(item / "input.npy")), files[-1])
    sys.path.insert(0, str(PACKAGE / "native"))
    for machine in ("aarch64", "s390x", "x86_64-avx2"):
        where = {"s390x": "s390x (big-endian) under qemu", "aarch64": "aarch64 under qemu",
                 "x86_64-avx2": "AVX-VNNI written in AVX2"}[machine]  # fmt: skip
        compiler, runner = emulate.MACHINES[machine]
        missing = [tool for tool in (compiler, runner[0]) if not shutil.which(tool)]
        if missing:
            yield Row(where, None, f"there is no {' and no '.join(missing)}")
            continue
        program = emulate.build(machine, folder)
        done = subprocess.run(
            [*runner, str(program), *map(str, files)], capture_output=True, text=True
        )
        sets = [line for line in done.stdout.splitlines() if line.endswith(" equal")]
        for line in sets:
            name, _, count = line.partition(": ")
            right = count == f"{len(files)} of {len(files)} equal"
            yield Row(f"{where}, {name}", digest if right else f"differs: {count}", "compared")
        if not sets:
            yield Row(where, None, done.stderr.strip()[-80:] or "it does not run")


def webassembly(items: Path, folder: Path) -> Iterator[Row]:
    """The engine that the page in a browser holds, under Node.js."""
    missing = [tool for tool in ("emcc", "node") if not shutil.which(tool)]
    if missing:
        yield Row("WebAssembly, node", None, f"there is no {' and no '.join(missing)}")
        return
    sys.path.insert(0, str(PACKAGE / "browser"))
    from build import compile_engine

    compile_engine(folder / "engine.wasm")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    words = [str(PACKAGE / "browser"), str(folder / "engine.wasm"), str(items)]
    for name, kind in (("wasm", "with vectors"), ("portable", "scalar")):
        command = ["node", str(HERE / "wasm.js"), *words, name]
        done = subprocess.run(command, capture_output=True, text=True)
        digest, said = done.stdout.strip(), done.stderr.strip()
        yield Row(f"WebAssembly {kind}, node {version}", digest or None, said[-80:])


def table(rows: list[Row], what: str, digest: str) -> str:
    """The table in Markdown."""
    lines = [f"{what}: digest `{digest}`", "", "| where | digest |", "|---|---|"]
    for row in rows:
        told = f"absent: {row.note}" if row.digest is None else f"`{row.digest[:16]}`"
        if row.digest == digest:
            told = "same" + (", every output compared" if row.note == "compared" else "")
        elif row.digest is not None:
            told = f"**another**: {told}"
        lines.append(f"| {row.where} | {told} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="an empty folder to work in")
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--model", help="a model folder instead of yolov5n with generated weights")
    parser.add_argument("--out", type=Path, help="write the table here too")
    options = parser.parse_args()
    items = options.folder / "items"
    shutil.rmtree(items, ignore_errors=True)
    begun = time.monotonic()
    what = write_items(items, options.programs, options.model)
    rows: list[Row] = []

    def take(found: Iterator[Row]) -> None:
        for row in found:
            rows.append(row)
            print(f"{time.monotonic() - begun:6.0f} s  {row.where}: {row.digest or row.note}",
                  flush=True)  # fmt: skip

    take(here(items))
    digest = rows[0].digest
    assert digest is not None
    take(pythons(items, options.folder / "pythons"))
    take(with_plans(items, options.folder, digest))
    text = table(rows, what, digest)
    print(f"\n{text}", end="")
    if options.out is not None:
        options.out.write_text(text, "utf-8")
    return int(any(row.digest not in (None, digest) for row in rows))


def with_plans(items: Path, folder: Path, digest: str) -> Iterator[Row]:
    """Where plans are run and not models."""
    without = write_plans(items)
    if without:
        yield Row("WebAssembly and qemu", None, f"{', '.join(without[:3])}: no plan")
        return
    plans = folder / "plans"
    shutil.rmtree(plans, ignore_errors=True)
    plans.mkdir()
    yield from webassembly(items, plans)
    yield from emulated(items, plans, digest)


if __name__ == "__main__":
    sys.exit(main())
