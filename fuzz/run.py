"""Fuzz every reader and the plan checker, then random models and a node's calls, each for a number
of minutes.

    python run.py FOLDER [--minutes N] [TARGET ...]

Prints what was done. Exit code 1 where something was found; the files lie in FOLDER and are called
after their target.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from parsers import targets

HERE = Path(__file__).parent
DONE = re.compile(r"Done (\d+) runs? in (\d+) second")


#: The checker of plans is C++, and is fuzzed by a program of its own.
PLAN = "plan"
ABSENT = 3


def target_line(target: str, folder: Path, seconds: int) -> tuple[str, bool]:
    """What fuzzing one target came to, and whether nothing was found."""
    words = ["parsers.py", target, str(folder), f"-max_total_time={seconds}"]
    if target == PLAN:
        words = ["plans.py", str(folder), str(seconds)]
    command = [sys.executable, str(HERE / words[0]), *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if target == PLAN and done.returncode == ABSENT:
        return f"{target:14} {done.stdout.strip()}", True
    told = DONE.search(done.stderr)
    count = f"{int(told[1]):>12,} executions in {told[2]} s" if told else "ended early"
    if done.returncode:
        (folder / f"{target}.log").write_text(done.stderr)
    return f"{target:14} {count}{'' if done.returncode == 0 else '  FOUND'}", done.returncode == 0


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("targets", nargs="*")
    given = parser.parse_intermixed_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    sound = True
    for target in given.targets or [*targets(), PLAN]:
        line, good = target_line(target, given.folder, max(1, round(60 * given.minutes)))
        print(line, flush=True)
        sound = sound and good
    if not given.targets:
        for name in ("models.py", "calls.py"):
            command = [sys.executable, str(HERE / name), str(given.minutes)]
            done = subprocess.run(command)
            if done.returncode < 0:
                print(f"{name}: ended by signal {-done.returncode}  FOUND")
            sound = done.returncode == 0 and sound
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
