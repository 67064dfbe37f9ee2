"""Prove the engine's functions with CBMC: function, property, result, time in one table.

    python run.py [--only TEXT] [--jobs N] [--seconds N] [--faults]

Every proof is a C file beside this one (see `extract.py`). goto-instrument turns the contracts of
loops into proofs by induction; loops over the lanes of a register, of constant counts, are
unrolled. The lemmas that stand in for products are proven by z3 over unbounded integers. Exit code
1 where a proof fails, is not finished in time, or proves nothing because its end is not reached.
With --faults every fault of faults.json is planted by itself, and its proof must fail.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract import NATIVE, ExtractError, harness

HERE = Path(__file__).resolve().parent
CHECKS = [
    "--pointer-check", "--bounds-check", "--signed-overflow-check", "--undefined-shift-check",
    "--div-by-zero-check", "--unwinding-assertions",
]  # fmt: skip
#: Longest loop of a constant count: the 32 bytes of a register's weights, or 12 axes.
UNWIND = 34
#: Part of the name of CBMC's property, or of its text, and the column that counts it.
COLUMNS = {
    "overflow": "overflow",
    "pointer": "bounds",
    "array_bounds": "bounds",
    "bounds": "bounds",
    "undefined-shift": "shift",
    "division-by-zero": "division",
}
TOOLS = ("goto-cc", "goto-instrument", "cbmc")


@dataclass(frozen=True)
class Proof:
    """properties: proven, by column; failed: what was not, in words; seconds: of all tools."""

    name: str
    properties: Counter[str]
    failed: tuple[str, ...]
    seconds: float

    def row(self) -> str:
        """Its row in the table."""
        columns = [*dict.fromkeys(COLUMNS.values()), "contract"]
        counts = "".join(f"{self.properties[name] or '-':>10}" for name in columns)
        result = "FAILED" if self.failed else "proven"
        lines = [f"{self.name:22}{counts}{result:>10}{self.seconds:>9.1f} s"]
        return "\n    ".join([*lines, *self.failed])


def _column(entry: dict[str, Any]) -> str:
    kind = str(entry["property"]).rsplit(".", 2)[-2] if "." in entry["property"] else ""
    return next((column for part, column in COLUMNS.items() if part in kind), "contract")


def prove(path: Path, seconds: float, native: Path = NATIVE) -> Proof:
    """The outcome of one proof of the functions in these sources."""
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = _properties(path, Path(folder), seconds, native)
    except (ExtractError, subprocess.SubprocessError, ValueError) as error:
        return Proof(path.stem, Counter(), (_why(error),), time.monotonic() - begun)
    failed = [one for one in found if one["status"] != "SUCCESS"]
    failed.sort(key=lambda one: str(one["status"]))  # what fails before what is then not known
    reached = [one for one in failed if one["description"] == "REACHED"]
    told = [f"{one['property']}: {one['description']}" for one in failed if one not in reached]
    if not reached:
        told.append("its end is not reached, so that it proves nothing")
    counts = Counter(_column(one) for one in found if one["status"] == "SUCCESS")
    return Proof(path.stem, counts, tuple(told), time.monotonic() - begun)


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not finished after {error.timeout:.0f} s"
    if isinstance(error, subprocess.CalledProcessError):
        said = ((error.stderr or "") + (error.stdout or "")).strip().splitlines()
        return next((line for line in said if "error" in line), said[-1] if said else str(error))
    return str(error)


def _properties(path: Path, folder: Path, seconds: float, native: Path) -> list[dict[str, Any]]:
    """What CBMC says of every property of a proof."""
    source, program = folder / f"{path.stem}.c", folder / "program"
    text = harness(path.read_text("utf-8"), native)
    source.write_text(text, "utf-8")
    _tool("goto-cc", "-I", str(HERE), str(source), "-o", str(program))
    lanes = re.findall(r"^static \w+ (Portable_\w+)\([^{]*\{[^}]*?\bfor \(", text, re.M)
    steps = [["--add-library"]]
    steps += [["--unwindset", ",".join(f"{name}.0:9" for name in lanes)]] if lanes else []
    steps += [["--apply-loop-contracts"]]
    for step in steps:
        _tool("goto-instrument", *step, str(program), str(program))
    done = subprocess.run(
        ["cbmc", str(program), "--json-ui", "--unwind", str(UNWIND), *CHECKS],
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    for part in json.loads(done.stdout):
        if "result" in part:
            return list(part["result"])
    raise ValueError("cbmc gives no result")


def _tool(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)


def lemma(path: Path) -> Proof:
    """The outcome of one lemma."""
    import z3

    begun = time.monotonic()
    solver = z3.Solver()
    solver.from_string(path.read_text("utf-8"))
    found = solver.check()
    failed = () if found == z3.unsat else (f"z3 says {found}",)
    return Proof(
        f"lemma {path.stem}", Counter(contract=not failed), failed, time.monotonic() - begun
    )


def with_faults(only: str, jobs: int, seconds: float) -> int:
    """Plant faults, one at a time; the exit code: 1 where a proof does not notice one."""
    faults = json.loads((HERE / "faults.json").read_text("utf-8"))
    chosen = [fault for fault in faults if only in fault["proof"]]

    def noticed(fault: dict[str, str]) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            native = Path(folder) / "native"
            shutil.copytree(NATIVE, native)
            file = native / fault["file"]
            text = file.read_text("utf-8")
            if fault["before"] not in text:
                raise ExtractError(f"{fault['file']} has no {fault['before']}")
            file.write_text(text.replace(fault["before"], fault["after"], 1), "utf-8")
            outcome = prove(HERE / f"{fault['proof']}.c", seconds, native)
        why = outcome.failed[0] if outcome.failed else "NOT NOTICED"
        print(f"{fault['proof']:20} {fault['after'][:40]:42} {why[:80]}", flush=True)
        return bool(outcome.failed) and not why.startswith("not finished")

    with ThreadPoolExecutor(jobs) as pool:
        found = list(pool.map(noticed, chosen))
    print(f"{sum(found)} of {len(found)} faults noticed")
    return int(not all(found))


def _chosen(pattern: str, text: str) -> list[Path]:
    return sorted(path for path in HERE.glob(pattern) if text in path.stem)


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="proofs whose name holds this text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=300, help="limit of one proof")
    parser.add_argument("--faults", action="store_true", help="plant faults instead")
    options = parser.parse_args()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        print(f"there is no {', '.join(missing)}: install the package cbmc", file=sys.stderr)
        return 2
    if options.faults:
        return with_faults(options.only, options.jobs, options.seconds)
    print(f"{'function':22}{'overflow':>10}{'bounds':>10}{'shift':>10}{'division':>10}"
          f"{'contract':>10}{'result':>10}{'time':>11}")  # fmt: skip
    proofs: list[Proof] = []
    for path in _chosen("lemmas/*.smt2", options.only):
        proofs.append(lemma(path))
        print(proofs[-1].row(), flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        files = _chosen("*.c", options.only)
        for proof in pool.map(lambda path: prove(path, options.seconds), files):
            proofs.append(proof)
            print(proof.row(), flush=True)
    left = [proof.name for proof in proofs if proof.failed]
    count = sum(sum(proof.properties.values()) for proof in proofs)
    print(f"\n{len(proofs) - len(left)} of {len(proofs)} proven, {count} properties")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
