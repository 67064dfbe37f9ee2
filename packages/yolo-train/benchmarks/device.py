"""Does training work on the GPUs of this machine? Trains on each device and compares with the CPU.

    python device.py [--device gpu:0 --device gpu:0,gpu:1]

Trains two epochs on generated pictures on the CPU and on every device, in float32 and on GPUs with
--amp too, through validation and checkpoints, and compares the losses. Prints what it found of
each and a verdict; the exit code is 0 where all is well, 1 where something is not, and 2 where
there is no GPU to be tried.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import yolo_train
from yolo_core.arrays import Array
from yolo_core.errors import InputError, ShortageError
from yolo_core.mxnet.importing import mxnet

#: Largest relative difference of the losses that rounding explains, in float32 and float16.
_NEAR, _NEAR_HALF = 5e-3, 5e-2
#: Compute capabilities that the wheels of MXNet 1.9.1 have code for; each runs higher minor ones.
_CODE = ("5.0", "6.0", "7.0", "8.0", "8.6")


def cards() -> list[tuple[str, str]]:
    """Name and compute capability of every card that the driver shows; none without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    rows = [line.split(",") for line in done.stdout.splitlines() if "," in line]
    return [(row[0].strip(), row[1].strip()) for row in rows]


def has_code(capability: str) -> bool:
    """Whether MXNet's wheels have code that runs on this compute capability."""
    major, minor = (int(part) for part in capability.split("."))
    known = [tuple(int(part) for part in code.split(".")) for code in _CODE]
    return any(has[0] == major and has[1] <= minor for has in known)


def train(data: Path, project: Path, device: str, amp: bool) -> tuple[Array, float]:
    """Losses [epochs, 3] of a short training, and its seconds."""
    begin = time.perf_counter()
    folder = yolo_train.fit(
        data=str(data), imgsz=96, epochs=2, batch_size=16, nominal_batch=16, device=device, amp=amp,
        workers=1, project=str(project), hyp="few", optimizer="sgd", plots=False,
    )  # fmt: skip
    assert folder is not None
    parts = [[row[f"train/{part}_loss"] for part in ("box", "obj", "cls")] for row in folder.rows]
    return np.array(parts), time.perf_counter() - begin


def compare(data: Path, project: Path, expected: Array, device: str, amp: bool) -> bool:
    """Train on a device, print how it went, and return whether that is well."""
    name = f"{device}{' --amp' if amp else ''}"
    try:
        losses, seconds = train(data, project, device, amp)
    except (InputError, ShortageError, mxnet().MXNetError) as error:
        print(f"{name}: FAILED: {str(error).strip().splitlines()[-1]}")
        return False
    difference = float((np.abs(losses - expected) / np.maximum(expected, 1e-6)).max())
    well = difference <= (_NEAR_HALF if amp else _NEAR)
    told = "ok" if well else "FAILED"
    print(f"{name}: {told}, losses differ by {difference:.1e} from the CPU's; {seconds:.0f} s")
    return well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", action="append", help="One to try; default: all GPUs.")
    arguments = parser.parse_args()
    mx = mxnet()
    features = mx.runtime.Features()
    print(f"MXNet {mx.__version__}, CUDA {'yes' if features.is_enabled('CUDA') else 'no'}, "
          f"cuDNN {'yes' if features.is_enabled('CUDNN') else 'no'}")  # fmt: skip
    for name, capability in cards():
        told = "has code for it" if has_code(capability) else "has NO code for it"
        print(f"card: {name}, compute capability {capability}: the wheel {told}")
    count = mx.context.num_gpus()
    devices = arguments.device or [f"gpu:{number}" for number in range(count)]
    if count > 1 and not arguments.device:
        devices.append(",".join(f"gpu:{number}" for number in range(count)))
    if not devices:
        print("verdict: nothing to try: MXNet sees no GPU (mxnet-cu112 or mxnet-cu117 is needed, "
              "a driver, and the CUDA and cuDNN libraries of that wheel)")  # fmt: skip
        return 2
    with tempfile.TemporaryDirectory() as folder:
        data = yolo_train.write_shapes(Path(folder) / "shapes", images=80, imgsz=96, seed=0)
        well = []
        for device in devices:
            # As many devices: each normalizes its share of a batch by itself.
            same = ",".join(f"cpu:{number}" for number in range(device.count(",") + 1))
            expected, seconds = train(data, Path(folder), same, False)
            print(f"{same}: {seconds:.0f} s")
            for amp in (False,) if "cpu" in device else (False, True):
                well.append(compare(data, Path(folder), expected, device, amp))
    print(f"verdict: {'training works here' if all(well) else 'training does NOT work here'}: "
          f"{sum(well)} of {len(well)} as on the CPU")  # fmt: skip
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
