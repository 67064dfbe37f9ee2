"""How fast a training step is, what it consists of, and whether memory grows.

    python bench_train.py [--size n] [--imgsz 320] [--batch 16] [--threads 2]
                          [--torch-python PYTHON]

Prints the time per image of (1) the network alone: forward, sum of squares of the heads,
backward, SGD step; (2) the same with MXNet's own operators alone, and in PyTorch when it is
installed (in this or another environment), all in alternation; (3) a whole training step with
data, loss and average, and its share that is not network; (4) memory over twenty epochs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: Classes of the generated pictures that the whole training is measured on.
SHAPES_CLASSES = 4
#: Steps at the start that allocate memory and tune.
UNCOUNTED = 3


def network_step(plan: dict[str, Any]) -> list[float]:
    """Milliseconds of each step of the plain network in MXNet."""
    from yolo_core.mxnet.importing import mxnet
    from yolo_core.mxnet.network import build
    from yolo_core.yolo.architecture import Architecture
    from yolo_train import operators
    from yolo_train.one_pass import OnePass
    from yolo_train.optimizer import MovingAverage, Optimizer
    from yolo_train.schedule import Rates
    from yolo_train.start import random_parameters

    mx = mxnet()
    architecture = Architecture.named(plan["size"], nc=plan["nc"])
    norm_silu = operators.batch_norm_silu([mx.cpu()])
    parameters = random_parameters(architecture, 0)
    net = build(architecture, parameters, fused=False, learns=True, norm_silu=norm_silu)
    net.hybridize(static_alloc=True, static_shape=True)
    trained = {n: p for n, p in net.collect_params().items() if p.grad_req != "null"}
    optimizer = Optimizer("sgd", trained, [mx.cpu()], 0.0)
    # PyTorch's twin keeps no average either.
    own = operators.usable([mx.cpu()])
    whole = OnePass(optimizer, MovingAverage({}, {}, mx.cpu())) if own else None
    rates = Rates(1e-6, 1e-6, 0.9, 1)
    x = mx.nd.random.uniform(shape=(plan["batch"], 3, plan["imgsz"], plan["imgsz"]))
    times = []
    for _ in range(plan["steps"]):
        begin = time.perf_counter()
        with mx.autograd.record():
            heads = net(x)
        # The gradient of the sum of squares is twice the heads: no operator in between.
        mx.autograd.backward(list(heads), [2 * head for head in heads])
        (whole.step() if whole else optimizer).update(rates, 1.0)
        mx.nd.waitall()
        times.append(1000 * (time.perf_counter() - begin))
    return times


def whole_step(plan: dict[str, Any]) -> dict[str, float]:
    """Milliseconds per step of a real training, and memory after epochs 2 and 20 in MiB."""
    from yolo_train.batches import share_cores

    share_cores()  # as the command line does, before MXNet is imported
    from yolo_train import shapes, trainer
    from yolo_train.options import FitOptions

    steps = 8
    with tempfile.TemporaryDirectory() as folder:
        images = steps * plan["batch"] * 5 // 4
        data = shapes.write_shapes(Path(folder) / "shapes", images, plan["imgsz"], 0)
        options = FitOptions(
            data=str(data), epochs=20, batch_size=plan["batch"], nominal_batch=plan["batch"],
            imgsz=plan["imgsz"], project=folder, plots=False, workers=1, hyp="scratch-low",
        )  # fmt: skip
        training = _Clocked(trainer.Training(options))
        return training.run()


class _Clocked:
    """A training whose steps are timed from batch to batch and whose memory is watched."""

    def __init__(self, training: Any) -> None:
        self._training = training
        self._steps: list[float] = []
        self._memory: list[float] = []

    def run(self) -> dict[str, float]:
        learner, validator = self._training._learner, self._training._validator
        learn, validate = learner.learn, validator.run
        last: list[float | None] = [None]

        def timed_learn(*words: Any) -> Any:
            out = learn(*words)
            now = time.perf_counter()
            if last[0] is not None:
                self._steps.append(1000 * (now - last[0]))
            last[0] = now
            return out

        def watched_validate(*words: Any) -> Any:
            out = validate(*words)
            last[0] = None
            self._memory.append(_resident())
            return out

        learner.learn, validator.run = timed_learn, watched_validate
        self._training.run()
        return {
            "step": statistics.median(self._steps),
            "memory_2": self._memory[1],
            "memory_20": self._memory[-1],
        }


def _resident() -> float:
    """Resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def _run(kind: str, plan: dict[str, Any], python: str = sys.executable) -> Any | None:
    """One measurement in a process of its own; None when it cannot run."""
    here = Path(__file__).resolve()
    command = [python, str(here.with_name("torch_twin.py"))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(plan["threads"])}
    if kind != "torch":
        command = [python, str(here), "--part", kind.partition(" ")[0]]
    if kind.endswith("without own operators"):
        environment["YOLO_TRAIN_OPERATORS"] = "mxnet"
    done = subprocess.run(
        command, input=json.dumps(plan), capture_output=True, text=True, env=environment
    )
    if done.returncode:
        print(f"{kind}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="n", choices=("n", "s", "m", "l", "x"))
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--steps", type=int, default=8, help=f"the first {UNCOUNTED} are not counted"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--without-training", action="store_true")
    parser.add_argument("--part", choices=("mxnet", "training"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps <= UNCOUNTED:
        parser.error(f"--steps must be above {UNCOUNTED}: the first allocate and tune")
    if arguments.part:
        plan = json.load(sys.stdin)
        part = network_step if arguments.part == "mxnet" else whole_step
        print(json.dumps(part(plan)))
        return
    from yolo_core.yolo.architecture import Architecture

    architecture = Architecture.named(arguments.size)
    plan = {
        "plan": [dataclasses.asdict(step) for step in architecture.steps()],
        "heads": architecture.network.heads,
        "nc": architecture.nc,
        **{key: getattr(arguments, key) for key in ("size", "imgsz", "batch", "threads", "steps")},
    }
    times: dict[str, list[float]] = {"mxnet": [], "mxnet without own operators": [], "torch": []}
    for _ in range(arguments.rounds):
        for kind in times:
            found = _run(kind, plan, arguments.torch_python if kind == "torch" else sys.executable)
            times[kind] += found[UNCOUNTED:] if found else []
    best = {kind: min(values) / plan["batch"] for kind, values in times.items() if values}
    usual = {kind: statistics.median(values) / plan["batch"] for kind, values in times.items()
             if values}  # fmt: skip
    for kind, value in best.items():
        print(f"{kind}: network step {value:.1f} ms per image, median {usual[kind]:.1f}")
    for kind in list(best)[1:]:
        print(f"images per second relative to {kind}: {best[kind] / best['mxnet']:.2f}, "
              f"by medians {usual[kind] / usual['mxnet']:.2f}")  # fmt: skip
    training = None if arguments.without_training else _run("training", plan)
    if training:
        # The same network alone, with as many classes as the shapes have.
        alone = statistics.median(_run("mxnet", {**plan, "nc": SHAPES_CLASSES})[UNCOUNTED:])
        share = 1 - alone / training["step"]
        print(f"training step: {training['step'] / plan['batch']:.1f} ms per image, its network "
              f"{alone / plan['batch']:.1f}: {share:.0%} not network")  # fmt: skip
        print(f"memory: {training['memory_2']:.0f} MiB after epoch 2, "
              f"{training['memory_20']:.0f} MiB after epoch 20")  # fmt: skip


if __name__ == "__main__":
    main()
