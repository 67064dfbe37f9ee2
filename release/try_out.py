"""The main job with installed commands: train an epoch, quantize, score both, compare, conform.

    python release/try_out.py PROGRAMS FOLDER

PROGRAMS: folder of the installed commands. FOLDER: where everything is written.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

_DATA, _BEST, _MODEL = "shapes/data.yaml", "runs/train/exp/weights/best", "model"
STEPS = [
    "yolo-cvm conform --quiet",
    "yolo-train shapes --out shapes --images 60 --imgsz 64",
    f"yolo-train fit --data {_DATA} --imgsz 64 --epochs 1 --batch-size 8 --no-plots",
    f"yolo-mrt quantize {_BEST} --data {_DATA} --imgsz 64 --out {_MODEL}",
    f"yolo-cvm certify {_MODEL} --json",
    f"yolo-eval coco {_BEST} --data {_DATA} --json float.json",
    f"yolo-eval coco {_MODEL} --data {_DATA} --json integer.json",
    "yolo-eval compare float.json integer.json --out compare --resamples 50",
]


def main(programs: Path, folder: Path) -> None:
    """Run every step in a new folder; the first one that fails ends it."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for step in STEPS:
            name, *words = step.split()
            print(f"$ {step}", flush=True)
            done = subprocess.run([str(programs / name), *words], cwd=place)
            if done.returncode:
                raise SystemExit(f"exit code {done.returncode}: {step}")
        if not Path(place, "compare", "report.html").is_file():
            raise SystemExit("there is no report")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
