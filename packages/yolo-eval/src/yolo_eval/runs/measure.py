"""One model's time, memory and outputs, taken in a process of its own.

The process opens the model, runs it on a fixed picture and says what it saw as one JSON object;
a fresh process per model is what makes peak memory mean something.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError

#: Once a model's runs have taken so many seconds together, no other is begun.
LONG = 20.0
#: Bytes per unit of ru_maxrss.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Measurement:
    """ms: median of `runs` runs of the network alone (no letterbox, and no suppression
    but what the graph does itself).

    peak_bytes: of the whole process, interpreter and framework included. outputs: SHA-256 of the
    logits of the fixed picture as little-endian float64, or of the boxes of a model whose graph
    decides.
    """

    ms: float
    runs: int
    threads: int
    peak_bytes: int
    outputs: str
    kind: str
    digest: str
    imgsz: tuple[int, int]


def measure(
    model: str, imgsz: tuple[int, int] | None, threads: int, device: str, repeats: int
) -> Measurement:
    """Measure in a fresh process. Raises InputError where the model does not run."""
    request = json.dumps([model, imgsz, threads, device, repeats])
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-m", "yolo_eval.runs.measure", request],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise InputError(model, f"cannot be measured ({last[0]})")
    found = json.loads(done.stdout.splitlines()[-1])
    found["imgsz"] = tuple(found["imgsz"])
    return Measurement(**found)


def fixed_picture(height: int, width: int) -> Array:
    """uint8 [1, height, width, 3], the same integers on every machine."""
    y, x, c = np.ogrid[:height, :width, :3]
    result: Array = ((31 * y + 17 * x + 71 * c + x * y // 7) % 256).astype(np.uint8)[None]
    return result


def _measure_here(
    model: str, imgsz: tuple[int, int] | None, threads: int, device: str, repeats: int
) -> Measurement:
    from yolo_core.yolo.predictor import Decider, decision_of, open_predictor

    predictor = open_predictor(model, imgsz, threads, device)
    picture = fixed_picture(*predictor.imgsz)

    def run() -> Array:
        built_in = decision_of(predictor)
        if isinstance(predictor, Decider) and built_in is not None:
            return predictor.detections(picture, built_in)[0]
        return predictor.logits(picture)

    times: list[float] = []
    found: Array = np.zeros(0)
    # The first run warms up; where it takes all the time, it is the only one.
    while len(times) <= repeats and sum(times) <= LONG:
        begin = time.perf_counter()
        found = run()
        times.append(time.perf_counter() - begin)
    kept = times[1:] or times
    outputs = hashlib.sha256(np.ascontiguousarray(found, dtype="<f8").tobytes()).hexdigest()
    return Measurement(
        round(1000 * statistics.median(kept), 3), len(kept), threads, _peak_bytes(), outputs,
        predictor.kind, predictor.digest, predictor.imgsz,
    )  # fmt: skip


def _peak_bytes() -> int:
    """The most memory that this process held at a time.

    Linux counts in ru_maxrss what the parent held when it started us, so /proc is asked there.
    """
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as stream:
        for line in stream:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


def _main() -> int:
    model, imgsz, threads, device, repeats = json.loads(sys.argv[1])
    try:
        found = _measure_here(model, tuple(imgsz) if imgsz else None, threads, device, repeats)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(asdict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
