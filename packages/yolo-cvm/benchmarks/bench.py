"""Our engine beside the float and 8-bit runtimes of others, on one machine, in one run.

    python bench.py [--size n] [--checkpoint STEM --model FOLDER] [--threads 1 2] [--rounds 30]
    python bench.py --profile [--size n] [--model FOLDER]

The peers run the same network on the same picture size: the checkpoint, or generated weights; the
8-bit ones are quantized here (NNCF for OpenVINO, static QDQ for ONNX Runtime). Contenders take
turns, one inference each per round, so that whatever else the machine does hits all alike. Time is
wall-clock of the network alone, image in, raw rows out.

A profile needs no peers: every step of ours on one thread, and what goes to convolution, epilogue
and data movement. YOLO_CVM_ARCH forces an instruction set.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from synthetic import yolov5

from yolo_core.graph import Graph
from yolo_core.graph.costs.cost import macs as count_macs
from yolo_core.mxnet.checkpoint import read_checkpoint
from yolo_core.mxnet.fusing import fuse
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.model_folder import read_model_folder
from yolo_cvm.engine import ARCH_VARIABLE, library
from yolo_cvm.engine.compiled import CompiledEngine

Run = Callable[[], object]
SIDE = 640
CALIBRATION = 32


def instruction_set() -> str:
    """The forced one, or the best; as `yolo_cvm.engine.select` chooses."""
    return os.environ.get(ARCH_VARIABLE) or library.instruction_sets()[0]


def ceiling(seconds: float = 0.3) -> float:
    """Multiply-accumulates per second of a loop that only multiplies, one thread, best of many."""
    found = library.opened()
    assert found is not None
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        begin = time.perf_counter()
        done = found.cvm_ceiling(instruction_set().encode(), 20000)
        best = max(best, done / (time.perf_counter() - begin))
    return best


def ours(graph: Graph, threads: int) -> Run:
    """The compiled engine."""
    engine = CompiledEngine(graph, threads, instruction_set())
    data = noise(graph)
    return lambda: engine.run(data)


def noise(graph: Graph) -> np.ndarray:
    """An input of random integers."""
    bound = 2 ** (graph.input_precision - 1) - 1
    return np.random.default_rng(1).integers(-bound, bound + 1, graph.input_shape, dtype=np.int32)


def openvino(model: object, picture: np.ndarray, threads: int) -> Run:
    """OpenVINO, latency mode, float32 where the model is float."""
    import openvino as ov

    compiled = ov.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        },
    )
    request = compiled.create_infer_request()
    return lambda: request.infer({0: picture}, share_inputs=True, share_outputs=True)


def onnxruntime(path: Path, picture: np.ndarray, threads: int) -> Run:
    """ONNX Runtime, all graph optimizations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"images": picture})


def mxnet(
    architecture: Architecture, weights: Mapping[str, np.ndarray], picture: np.ndarray
) -> Run | None:
    """MXNet float32 with its own thread count; None where it is not installed."""
    from yolo_core.errors import InputError

    try:
        from yolo_core.mxnet.importing import mxnet as import_mxnet
        from yolo_core.mxnet.network import build

        mx = import_mxnet()
    except (InputError, ImportError):
        return None
    network = build(architecture, weights, fused=True)
    network.hybridize(static_alloc=True, static_shape=True)
    x = mx.nd.array(picture)
    return lambda: [head.asnumpy() for head in network(x)]


def nncf_int8(path: Path, pictures: list[np.ndarray]) -> object:
    """The ONNX model quantized by NNCF with its mixed preset, for OpenVINO."""
    import nncf
    import openvino as ov

    return nncf.quantize(
        ov.Core().read_model(str(path)),
        nncf.Dataset(pictures),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(pictures),
    )


def ort_int8(path: Path, pictures: list[np.ndarray]) -> Path:
    """The ONNX model quantized statically (QDQ, signed, per channel) by ONNX Runtime."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(pictures[:8])

        def get_next(self) -> dict[str, np.ndarray] | None:
            picture = next(self.left, None)
            return None if picture is None else {"images": picture}

    target = path.with_name("int8.onnx")
    quantize_static(
        str(path),
        str(target),
        Reader(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return target


def contest(runs: Mapping[str, Run], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of every inference; contenders take turns."""
    for run in runs.values():
        for _ in range(3):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: np.array(s) for name, s in seconds.items()}


def cpu() -> str:
    """Model name and the instruction sets that matter."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    name = next(
        (
            line.partition(":")[2].strip()
            for line in text.splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    told = [f for f in ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8") if f in flags]
    return f"{name} ({' '.join(told)}), {os.cpu_count()} cores"


def main() -> None:
    """Run the contest and print one table per thread count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="n", choices=list("nsmlx"))
    parser.add_argument("--checkpoint", help="float checkpoint for the peers")
    parser.add_argument("--model", help="integer model folder for us")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()

    import float_network

    if options.checkpoint:
        checkpoint = read_checkpoint(options.checkpoint)
        architecture, weights = checkpoint.architecture, checkpoint.parameters
        if not checkpoint.fused:
            weights = fuse(weights, architecture)
    else:
        architecture = Architecture.named(options.size)
        weights = float_network.generated_weights(architecture)
    graph = (
        read_model_folder(options.model).graph
        if options.model
        else yolov5(architecture.size, SIDE, SIDE)
    )
    if options.profile:
        print(cpu())
        profile(graph, options.rounds)
        return
    macs = architecture.macs(SIDE, SIDE)
    random = np.random.default_rng(0)
    pictures = [random.random((1, 3, SIDE, SIDE), dtype=np.float32) for _ in range(CALIBRATION)]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "float.onnx")
        float_network.save(architecture, weights, SIDE, SIDE, path)
        quantized, quantized_ort = nncf_int8(path, pictures), ort_int8(path, pictures)
        print(f"\n{cpu()}; {architecture.model_name} {SIDE}x{SIDE}, {macs / 1e9:.2f} GMAC")
        for threads in options.threads:
            runs = {
                "yolo-cvm": ours(graph, threads),
                "OpenVINO int8": openvino(quantized, pictures[0], threads),
                "OpenVINO fp32": openvino(str(path), pictures[0], threads),
                "ONNX Runtime int8": onnxruntime(quantized_ort, pictures[0], threads),
                "ONNX Runtime fp32": onnxruntime(path, pictures[0], threads),
            }
            other = mxnet(architecture, weights, pictures[0])
            if other is not None:
                runs["MXNet fp32"] = other
            top = ceiling() * threads
            table(contest(runs, options.rounds), macs, top, threads)


def table(seconds: Mapping[str, np.ndarray], macs: int, top: float, threads: int) -> None:
    """Median and shortest time, ratio of medians to OpenVINO int8, rate, share of the ceiling."""
    base = float(np.median(seconds["OpenVINO int8"]))
    print(f"\n{threads} thread(s), ceiling of the instruction mix {top / 1e9:.0f} GMAC/s")
    print(f"{'':18s}{'median ms':>10s}{'min ms':>9s}{'ratio':>8s}{'GMAC/s':>9s}{'of ceiling':>12s}")
    for name, s in seconds.items():
        median = float(np.median(s))
        share = f"{macs / median / top:11.0%}" if name == "yolo-cvm" else ""
        print(
            f"{name:18s}{median * 1e3:10.2f}{s.min() * 1e3:9.2f}{median / base:8.2f}"
            f"{macs / median / 1e9:9.0f} {share}"
        )


def profile(graph: Graph, runs: int) -> None:
    """Every step in its fastest run, and the sums by what they are spent on."""
    engine = CompiledEngine(graph, 1, instruction_set())
    steps, top = engine.profile(noise(graph), runs), ceiling()
    total = sum(step.seconds for step in steps)
    print(f"{engine.name}, 1 thread, ceiling of the instruction mix {top / 1e9:.0f} GMAC/s\n")
    print(
        f"{'step':12s}{'':26s}{'us':>7s}{'share':>7s}{'epilogue':>10s}{'GMAC/s':>8s}{'of it':>7s}"
    )
    work = spent = 0.0
    for step in steps:
        node = graph.nodes[step.node]
        whole = step.kind == "conv_image" and node.op == "conv2d"
        done = count_macs(graph, node) if whole else 0
        rate = f"{done / step.seconds / 1e9:8.0f}{done / step.seconds / top:7.0%}" if done else ""
        if whole:
            weight = graph.shape(node.inputs[1])
            what = f"{weight[1]}->{weight[0]} {weight[2]}x{weight[3]}/{node.attributes.strides[0]}"
            what += f" at {node.shapes[0][2]}x{node.shapes[0][3]}"
            work, spent = work + done, spent + step.seconds
        else:
            what = str(node.shapes[0])
        print(
            f"{step.kind:12s}{what:26s}{step.seconds * 1e6:7.0f}{step.seconds / total:7.1%}"
            f"{step.epilogue * 1e6:10.0f}{rate}"
        )
    epilogue = sum(step.epilogue for step in steps)
    parts = {"convolution": spent - epilogue, "epilogue": epilogue, "data movement": total - spent}
    print(f"\n{total * 1e3:.2f} ms:", *(f"{k} {v / total:.1%}" for k, v in parts.items()), sep="  ")
    last = max(i for i, node in enumerate(graph.nodes) if node.op == "conv2d")
    behind = sum(step.seconds for step in steps if step.node > last)
    print(f"behind the last convolution, with the rows that are taken: {behind * 1e3:.3f} ms")
    print(
        f"all convolutions with their epilogues {work / spent / 1e9:.0f} GMAC/s, "
        f"{work / spent / top:.0%} of the ceiling; without {work / (spent - epilogue) / top:.0%}"
    )


if __name__ == "__main__":
    main()
