"""Plant every fault by itself and see whether the tests notice.

    python run.py [--jobs N] [--only TEXT] [--part I/N] [--json FILE]

Every worker has a copy of both packages and of the compiled objects; of the native sources only
what a fault touches is compiled again, instruction set by instruction set until the tests notice.
AddressSanitizer is compiled in for these, since many such faults read or write one element too
many and change no result; where Python is faulty the library checks each plan, and is compiled
without. A fault that does not compile or that runs past the limit counts as noticed. Faults that
are known to survive, with the reason, stand in `survivors.json`. Exit code 1 where another one
survives or fewer than 95 % are noticed.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from plant import NATIVE, OPERATORS, PACKAGES, PROOF, Fault, faults

#: Of processor time, as an endless loop takes it; of the clock, for what waits for itself.
SECONDS, PATIENCE = 240, 900
LEAST = 0.95
COPIED = ["yolo-cvm/src", "yolo-cvm/native", "yolo-cvm/tests", "yolo-cvm/benchmarks",
          "yolo-core/src", "yolo-core/tests"]  # fmt: skip
#: What notices most faults soonest; the other tests of the engine follow.
FIRST = ["test_features.py", "test_planner.py", "test_network.py", "test_selection.py"]
LIMITED = ["sh", "-c", f'ulimit -t {SECONDS}; exec "$@"', "sh"]
#: It limits the address space, of which AddressSanitizer needs terabytes.
WITHOUT = ["-k", "not memory_that_is_not_there"]
#: Objects that a header reaches, where not all are: what compiles fastest first.
SETS = ["portable", "avx2", "avx512vnni"]
SANITIZER = "-fsanitize=address"
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-g0"]


@dataclass(frozen=True)
class Outcome:
    """noticed: how, or empty."""

    fault: Fault
    noticed: str


class Worker:
    """A copy of the packages in which one fault at a time is planted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in COPIED:
            shutil.copytree(PACKAGES / part, folder / part, symlinks=True)
        sys.path.insert(0, str(PACKAGES / NATIVE))
        import compile as native

        self._native = native
        self._runtimes = " ".join(map(_runtime, ("libasan.so", "libstdc++.so")))
        self._sources = [*native.COMMON, *(f"arch/{name}/kernels.cpp" for name in native.ALL_SETS)]
        self._objects = {True: folder / "sanitized", False: folder / "plain"}
        for sanitized, objects in self._objects.items():
            objects.mkdir()
            native.write_headers(objects)
            for source in self._sources:
                self._compile(source, objects, sanitized)

    def _compile(self, source: str, target: Path, sanitized: bool = True) -> None:
        own = self._native.INSTRUCTION_SETS["x86_64"].get(Path(source).parent.name, [])
        flags = [*FLAGS, SANITIZER] if sanitized else FLAGS
        headers = str(self._objects[sanitized])
        command = [*self._native.find_compiler(), *flags, *own, "-I", headers, "-c"]
        native = self.folder / NATIVE / source
        subprocess.run(
            [*command, str(native), "-o", str(target / (source.replace("/", "-") + ".o"))],
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )

    def _touched(self, path: str) -> list[list[str]]:
        """Sources to compile after a change of a file, in the groups that are tried in turn."""
        if not path.startswith(NATIVE):
            return [[]]
        name = path[len(NATIVE) + 1 :]
        if name.endswith(".cpp"):
            return [[name]]
        sets = ["avx2"] if name == "arch/vector256.h" else SETS
        return [[f"arch/{one}/kernels.cpp"] for one in sets]

    def _link(self, changed: Path, sanitized: bool) -> None:
        names = [source.replace("/", "-") + ".o" for source in self._sources]
        objects = self._objects[sanitized]
        files = [str((changed if (changed / n).exists() else objects) / n) for n in names]
        library = self.folder / "yolo-cvm/src/yolo_cvm/engine/_native.so"
        library.unlink(missing_ok=True)
        flags = ["-shared", "-pthread", *([SANITIZER] if sanitized else [])]
        command = [*self._native.find_compiler(), *flags, *files, "-o", str(library)]
        subprocess.run(command, check=True, capture_output=True)

    def try_fault(self, fault: Fault) -> Outcome:
        """Plant, test, take it out again."""
        path = self.folder / fault.path
        original = path.read_text("utf-8")
        path.write_text(fault.text, "utf-8")
        native = fault.path.startswith(NATIVE)
        noticed = ""
        try:
            for group in self._touched(fault.path):
                with tempfile.TemporaryDirectory(dir=self.folder) as changed:
                    try:
                        for source in group:
                            self._compile(source, Path(changed))
                        self._link(Path(changed), sanitized=native)
                    except subprocess.CalledProcessError:
                        return Outcome(fault, "does not compile")
                    graph = fault.path.startswith((OPERATORS, PROOF))
                    noticed = self._test(graph, sanitized=native)
                if noticed:
                    break
            return Outcome(fault, noticed)
        finally:
            path.write_text(original, "utf-8")

    def try_none(self) -> str:
        """What fails where nothing was planted: empty, or the outcomes would mean nothing."""
        for sanitized in (True, False):
            with tempfile.TemporaryDirectory(dir=self.folder) as changed:
                self._link(Path(changed), sanitized)
            failing = self._test(graph=not sanitized, sanitized=sanitized)
            if failing:
                return failing
        return ""

    def _test(self, graph: bool, sanitized: bool) -> str:
        folder = self.folder / "yolo-cvm/tests/engine"
        names = dict.fromkeys([*FIRST, *sorted(path.name for path in folder.glob("test_*.py"))])
        tests = [str(folder / name) for name in names]
        if graph:
            tests.insert(0, str(self.folder / "yolo-core/tests/graph"))
        sources = ("yolo-cvm/src", "yolo-core/src", "yolo-cvm/tests", "yolo-core/tests")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(self.folder / part) for part in sources),
            "PYTHONDONTWRITEBYTECODE": "1",
            "YOLO_CVM_PROGRAMS": "200",
        }
        if sanitized:
            environment["LD_PRELOAD"] = self._runtimes
            environment["ASAN_OPTIONS"] = "detect_leaks=0:allocator_may_return_null=1"
        flags = ["-x", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *WITHOUT]
        for test in tests:  # one after the other: their packages share a name
            try:
                done = subprocess.run(
                    [*LIMITED, sys.executable, "-m", "pytest", *flags, test],
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE,
                    cwd=self.folder,
                )
            except subprocess.TimeoutExpired:
                return "runs past the limit"
            if done.returncode:
                return f"{Path(test).name} ends with {done.returncode}"
        return ""


def _runtime(name: str) -> str:
    """Where the compiler has a library that must be loaded before all others."""
    import compile as native

    command = [*native.find_compiler(), f"-print-file-name={name}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def run(chosen: list[Fault], jobs: int, known: dict[str, str]) -> list[Outcome]:
    """The outcome of every fault, printed as they come."""
    with tempfile.TemporaryDirectory() as folder:
        free: queue.Queue[Worker] = queue.Queue()
        for number in range(jobs):
            (Path(folder) / str(number)).mkdir()
            free.put(Worker(Path(folder) / str(number)))
        failing = free.queue[0].try_none()
        if failing:
            sys.exit(f"without a fault, {failing}: mend this first")

        def one(fault: Fault) -> Outcome:
            worker = free.get()
            try:
                outcome = worker.try_fault(fault)
            finally:
                free.put(worker)
            word = outcome.noticed or ("SURVIVES" if fault.name not in known else "survives, known")
            print(f"{word:40} {fault.description}", flush=True)
            return outcome

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(one, chosen))


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="faults whose description holds this text")
    parser.add_argument("--part", default="0/1", help="every N-th fault from the I-th on")
    parser.add_argument("--json", help="write the outcomes here")
    options = parser.parse_args()
    index, parts = map(int, options.part.split("/"))
    chosen = [f for f in faults() if options.only in f.description][index::parts]
    if not chosen:
        parser.error(f"no description of a fault holds {options.only!r}")
    known = json.loads(Path(__file__).with_name("survivors.json").read_text("utf-8"))
    outcomes = run(chosen, options.jobs, known)
    left = [o.fault for o in outcomes if not o.noticed]
    if options.json:
        told = [
            {"fault": o.fault.name, "line": o.fault.line, "noticed": o.noticed} for o in outcomes
        ]
        Path(options.json).write_text(json.dumps(told, indent=1), "utf-8")
    share = 1 - len(left) / len(outcomes)
    print(f"{len(outcomes)} faults, {len(outcomes) - len(left)} noticed: {share:.1%}")
    unknown = [fault for fault in left if fault.name not in known]
    return int(bool(unknown) or share < LEAST)


if __name__ == "__main__":
    sys.exit(main())
