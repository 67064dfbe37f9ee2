"""Coverage-guided fuzzing of every reader of files from outside, by Atheris.

    python parsers.py TARGET FOLDER [OPTIONS OF LIBFUZZER]

A reader may return or raise InputError; anything else is a finding, which libFuzzer writes to
FOLDER. The corpus grows in FOLDER/TARGET, from the seeds that our own writers make. Findings that
were mended lie in `found/TARGET` and are read again by `tests/test_found.py`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ["yolo_core", "yolo_port", "yolo_train", "yolo_cvm", "yolo_eval"]
VECTORS = ROOT / "packages" / "yolo-cvm" / "vectors"

Reader = Callable[[bytes], object]


def through_file(read: Callable[[Path], object], name: str) -> Reader:
    """A reader of bytes from one that opens a file of this name."""
    folder = tempfile.TemporaryDirectory()

    def reader(data: bytes) -> object:
        path = Path(folder.name) / name  # keeps the folder alive
        path.write_bytes(data)
        return read(path)

    return reader


def targets() -> Mapping[str, Reader]:
    """Every reader by its name; the packages are imported here, under Atheris' eyes."""
    from yolo_core.files import parse_json
    from yolo_core.graph import load_program
    from yolo_core.graph.files import params
    from yolo_core.media.picture import check_picture
    from yolo_core.mxnet.checkpoint import read_checkpoint
    from yolo_core.mxnet.params import decode_params
    from yolo_core.yolo.architecture import Architecture
    from yolo_core.yolo.dataset import read_data_yaml
    from yolo_core.yolo.labels import look_at_labels
    from yolo_core.yolo.model_folder import Extension
    from yolo_cvm.arrays import array_from
    from yolo_cvm.bundle import manifest, rlp, torrent
    from yolo_cvm.dispute import read_claim, read_witness
    from yolo_cvm.dispute.model_witness import read_model_witness
    from yolo_cvm.node.members import TooMuch
    from yolo_cvm.node.requests import UnknownType, Unreadable, read_request
    from yolo_cvm.pictures import read_placement
    from yolo_cvm.receipts import read_receipt
    from yolo_eval.runs.ground_truth import from_coco
    from yolo_eval.runs.run import read_run
    from yolo_port.readers import load
    from yolo_train.hyp import read_hyp

    def ext(data: bytes) -> object:
        return Extension.from_dict(parse_json(data.decode("utf-8", "replace"), "ext"), "ext")

    def bundle(data: bytes) -> object:
        return manifest.choices_of(manifest.decode(data, "manifest"), "manifest")

    def request(data: bytes) -> object:
        try:
            return read_request(data)
        except (UnknownType, Unreadable, TooMuch) as refusal:  # what a node answers
            return refusal

    def sidecar(path: Path) -> object:
        path.with_name("x-symbol.json").touch()
        path.with_name("x-0000.params").touch()
        return read_checkpoint(path.with_suffix(""))

    return {
        "symbol": lambda data: load_program(data, compat=bool(len(data) % 2)),
        "params": lambda data: params.decode(data, compat=bool(len(data) % 2)),
        "ext": ext,
        "manifest": bundle,
        "torrent": lambda data: torrent.decode(data, "torrent"),
        "rlp": lambda data: rlp.decode(data, "payload"),
        "npy": lambda data: array_from(data, "x.npy"),
        "mxnet_params": lambda data: decode_params(data, "x.params"),
        "receipt": through_file(read_receipt, "receipt.json"),
        "claim": through_file(read_claim, "claim.json"),
        "witness": through_file(read_witness, "witness.json"),
        "model_witness": through_file(read_model_witness, "witness.json"),
        "placement": through_file(read_placement, "placement.json"),
        "request": request,
        "picture": lambda data: check_picture(data, "x.png"),
        "sidecar": through_file(sidecar, "x.yaml"),
        "hyp": through_file(read_hyp, "hyp.yaml"),
        "run_file": through_file(read_run, "run.json"),
        "coco": through_file(lambda path: from_coco(path, None, pictures=False), "coco.json"),
        "data_yaml": through_file(read_data_yaml, "data.yaml"),
        "model_yaml": through_file(lambda path: Architecture.of(str(path)), "model.yaml"),
        "labels": through_file(lambda path: look_at_labels(path, 80), "labels.txt"),
        "pt": through_file(load, "x.pt"),
        "npz": through_file(load, "x.npz"),
        "safetensors": through_file(load, "x.safetensors"),
        "onnx": through_file(load, "x.onnx"),
    }


def seeds(target: str) -> Iterator[bytes]:
    """Small sound files of a target, made by our own writers."""
    if target in ("pt", "npz", "safetensors", "onnx"):
        yield from _weights(target)
    elif target in ("claim", "witness", "model_witness"):
        for path in sorted(VECTORS.glob(f"*dispute/*/{target}.json")):
            yield path.read_bytes()
    elif target == "picture":
        yield from _pictures()
    else:
        found = _written()
        if target in found:
            yield found[target]


def _pictures() -> Iterator[bytes]:
    """A small picture of each kind that OpenCV writes."""
    import numpy as np

    from yolo_core.yolo.letterbox import opencv

    cv2 = opencv()
    image = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    for ending in (".png", ".jpg", ".webp", ".tif", ".bmp", ".pfm"):
        values = image.astype(np.float32) if ending == ".pfm" else image
        yield cv2.imencode(ending, values)[1].tobytes()


def _weights(target: str) -> Iterator[bytes]:
    """Files of two arrays: small ones lead a mutator to the structure."""
    import numpy as np
    from safetensors.numpy import save

    sys.path.insert(0, str(ROOT / "packages" / "yolo-port" / "tests"))
    from port_samples import random_checkpoint, state_dict, write_pt

    arrays = {"model.0.conv.weight": np.ones((2, 3), np.float32), "b": np.zeros(2, np.float16)}
    if target == "safetensors":
        yield save(arrays)
    elif target == "onnx":
        import onnx

        node = onnx.helper.make_node("Conv", ["x", "b"], ["y"])
        weight = onnx.numpy_helper.from_array(arrays["b"], "b")
        graph = onnx.helper.make_graph([node], "g", [], [], [weight])
        yield onnx.helper.make_model(graph).SerializeToString()
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"x.{target}"
            if target == "npz":
                np.savez(path, **arrays)
            else:
                whole = state_dict(random_checkpoint())
                write_pt(path, {key: whole[key] for key in list(whole)[:2]})
            yield path.read_bytes()


def _written() -> dict[str, bytes]:
    import io

    import numpy as np
    import yaml

    import yolo_cvm
    from yolo_core.graph import GraphBuilder
    from yolo_core.graph.files import params, symbol
    from yolo_core.mxnet.params import encode_params
    from yolo_core.yolo.architecture import Architecture
    from yolo_core.yolo.model_folder import Extension
    from yolo_cvm import bundle, pictures
    from yolo_cvm.receipts import run_with_receipt

    b = GraphBuilder()
    x = b.input("data", (1, 2, 4, 4), 8)
    w = b.parameter("w", np.ones((2, 2, 1, 1), np.int64), 8)
    y = b.operator("conv2d", [x, w], channels=2, kernel_size=(1, 1), use_bias=False)
    graph = b.build([b.operator("clip", [y], a_min=-5, a_max=5)])
    stream = io.BytesIO()
    np.save(stream, np.zeros((1, 2, 4, 4), np.int8))
    architecture = Architecture.named("n", names=("a", "b"))
    extension = Extension(architecture, (64, 64), 255.0, -128, 8, (16.0,) * 7)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "m"
        model.mkdir()
        (model / "symbol").write_bytes(symbol.encode(graph))
        (model / "params").write_bytes(params.encode(graph))
        made = bundle.write_bundle(model, Path(folder) / "b", bundle.Choices())
        home = Path(folder) / "b" / made["info_hash"]
        receipt = run_with_receipt(yolo_cvm.load(model), np.zeros((1, 2, 4, 4), np.int8))[1]
        found = {
            "symbol": (model / "symbol").read_bytes(),
            "params": (model / "params").read_bytes(),
            "manifest": (Path(folder) / "b" / "manifest.json").read_bytes(),
            "torrent": (home / "torrent").read_bytes(),
        }
    image = {"id": 1, "file_name": "a.png", "width": 8, "height": 8}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 0}
    coco: dict[str, Any] = {
        "images": [image], "categories": [{"id": 1, "name": "a"}], "annotations": [box],
    }  # fmt: skip
    run = {
        **coco, "format": "yolo-eval-run/1", "settings": {}, "shard": None, "source": "s",
        "folder": "f", "metrics": None, "provenance": {},
        "model": {"name": "m", "kind": "integer", "digest": "5" * 64, "imgsz": [32, 32]},
        "predictions": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "score": 0.5}],
    }  # fmt: skip
    placement: dict[str, Any] = {
        "format": pictures.FORMAT,
        "placement": {"image": [4, 4], "resized": [4, 4], "left": 0, "top": 0},
    }
    sidecar = {
        "format": "yolo-checkpoint-1", **architecture.to_dict(),
        "fused": True, "color": "rgb", "params_sha256": "5" * 64, "meta": {"imgsz": [64, 64]},
    }  # fmt: skip
    return {
        **found,
        "ext": extension.to_json().encode(),
        "rlp": bytes.fromhex(made["creation"]["payload"][6:]),
        "npy": stream.getvalue(),
        "mxnet_params": encode_params({"arg:a": np.ones((2, 3), np.float32)}),
        "receipt": receipt.to_json().encode(),
        "placement": json.dumps(placement).encode(),
        "request": b'{"type": 2, "model": "0xab", "input": "0x0102", "cvm_version": 1}',
        "sidecar": yaml.safe_dump(sidecar).encode(),
        "hyp": b"lr0: 0.01\nmosaic: 1.0\nbox: 0.05\n",
        "coco": json.dumps(coco).encode(),
        "run_file": json.dumps(run).encode(),
        "data_yaml": b"path: .\ntrain: images/train\nval: [images/val]\nnames: {0: a, 1: b}\n",
        "model_yaml": b"nc: 2\ndepth_multiple: 0.33\nwidth_multiple: 0.25\n",
        "labels": b"0 0.5 0.5 0.5 0.5\n1 0.1 0.1 0.9 0.1 0.9 0.9\n",
    }


def check(reader: Reader, data: bytes) -> None:
    """Read; whatever is no InputError goes on."""
    from yolo_core.errors import InputError

    try:
        reader(data)
    except InputError as error:
        line = str(error)
        assert line.isprintable(), "an error is one line of printable characters"


def main(target: str, folder: Path, options: list[str]) -> None:
    """Fuzz one reader; ends the process."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        reader = targets()[target]
    corpus = folder / target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (corpus / f"seed{number}").write_bytes(seed)
    prefix = f"-artifact_prefix={folder}/{target}-"
    words = [prefix, "-rss_limit_mb=2048", "-timeout=20", *options, str(corpus)]
    atheris.Setup([sys.argv[0], *words], lambda data: check(reader, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
