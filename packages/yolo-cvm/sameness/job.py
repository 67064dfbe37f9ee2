"""The digest of all outputs, by several engines in this Python: what run.py starts everywhere.

    python job.py ITEMS ENGINE:THREADS...

ITEMS: a folder of folders, each with symbol, params and input.npy. Prints one JSON object a line:
`engine`, `threads`, `digest`, `seconds`, and the versions of Python and NumPy.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np

from yolo_cvm import load
from yolo_cvm.arrays import read_array


def digest_of(items: Path, engine: str, threads: int) -> str:
    """SHA-256 over every item: name, then of every head its dims and its elements as int32."""
    digest = hashlib.sha256()
    for folder in sorted(items.iterdir()):
        digest.update(f"{folder.name}\n".encode("ascii"))
        model = load(folder, engine=engine, threads=threads)
        for head in model.run(read_array(folder / "input.npy")):
            digest.update(("x".join(map(str, head.shape)) + "\n").encode("ascii"))
            digest.update(np.ascontiguousarray(head, "<i4").tobytes())
    return digest.hexdigest()


def main() -> None:
    """Print the digests that are asked for."""
    for asked in sys.argv[2:]:
        engine, _, threads = asked.partition(":")
        begun = time.monotonic()
        found = digest_of(Path(sys.argv[1]), engine, int(threads))
        told = {
            "engine": engine,
            "threads": int(threads),
            "digest": found,
            "seconds": round(time.monotonic() - begun, 1),
            "python": platform.python_version(),
            "numpy": np.__version__,
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
