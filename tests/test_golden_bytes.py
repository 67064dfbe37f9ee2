"""The bytes of a small model at every stage, pinned: a change of the code that is not meant to
change results must leave them alone.

Parameters and pictures come from NumPy's legacy generator, whose stream never changes. Thresholds
come from a float32 network, so the quantizer is given a recorded scheme: what follows is exact, in
integers or in sums too small to round, and has the same bytes on every machine. The scheme is the
file `stages/tiny.mrt.calibrate.json` that the same command writes without `--scheme`.

No pinned file holds the version of a package, a path or a date (a bundle is undated by default),
so a release must not move a digest. The scripts beside the vectors are not pinned, only the data.

Whoever changes a format or the vectors on purpose records the digests again with
`YOLO_RECORD_GOLDEN=1 pytest tests/test_golden_bytes.py` and says in the changelog what changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from commands import run
from yolo_core.mxnet.checkpoint import Checkpoint, write_checkpoint
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.letterbox import opencv
from yolo_cvm.engine import library

HERE = Path(__file__).parent
RECORD = HERE / "golden_bytes.json"
SCHEME = HERE / "golden_scheme.json"
VECTORS = HERE.parent / "packages" / "yolo-cvm" / "vectors"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def file_digests(folder: Path, *names: str) -> dict[str, str]:
    return {name: sha256((folder / name).read_bytes()) for name in names}


def tree_digest(folder: Path) -> str:
    """Digest over all files below a folder, names included."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    lines = [f"{name.as_posix()} {sha256((folder / name).read_bytes())}\n" for name in names]
    return sha256("".join(lines).encode())


def write_tiny_checkpoint(stem: Path) -> None:
    """A fused network of three classes whose activations neither vanish nor explode."""
    architecture = Architecture("custom", 0.34, 0.125, ("circle", "square", "cross"))
    generator = np.random.RandomState(5)
    parameters = {}
    for name, shape in architecture.parameter_shapes(fused=True).items():
        fan_in = int(np.prod(shape[1:]))
        steps = generator.randint(-128, 129, shape)
        spread = 64.0 * np.sqrt(fan_in) / (1.4 if len(shape) == 4 else 0.3)
        parameters[name] = (steps / spread).astype(np.float32)
    write_checkpoint(stem, Checkpoint(architecture, parameters, fused=True))


def write_pictures(folder: Path) -> None:
    """Four small pictures as PNG files, which hold the pixels as they are."""
    folder.mkdir()
    generator = np.random.RandomState(7)
    for index in range(4):
        tiles = generator.randint(0, 256, (6, 8, 3)).astype(np.uint8)
        pixels = np.repeat(np.repeat(tiles, 9, axis=0), 9, axis=1)
        assert opencv().imwrite(str(folder / f"{index}.png"), pixels)


def infer(folder: Path, engine: str) -> None:
    """Run the model on the fixed input; leave output and receipt under the engine's name."""
    run("yolo-cvm", "run", "model", "--input", "x.npy", "--engine", engine,
        "--output", f"{engine}.npy", "--receipt", f"{engine}.json", cwd=folder)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint, its integer model, a receipt and the bundle."""
    folder = tmp_path_factory.mktemp("golden")
    write_tiny_checkpoint(folder / "tiny")
    write_pictures(folder / "pictures")
    run("yolo-mrt", "quantize", "tiny", "--data", "pictures", "--imgsz", 64, "--out", "model",
        "--work", "stages", "--scheme", SCHEME, cwd=folder)  # fmt: skip
    generator = np.random.RandomState(11)
    np.save(folder / "x.npy", generator.randint(-127, 128, (1, 3, 64, 64)).astype(np.int8))
    infer(folder, "reference")
    run("yolo-cvm", "bundle", "model", "--out", "bundle", cwd=folder)
    return folder


def digests(made: Path) -> dict[str, dict[str, str]]:
    manifest = json.loads((made / "bundle" / "manifest.json").read_text("utf-8"))
    published = made / "bundle" / manifest["info_hash"]
    return {
        "checkpoint": file_digests(made, "tiny-0000.params", "tiny.yaml"),
        "model": file_digests(made / "model", "symbol", "params", "ext"),
        "output": {
            "values": sha256(np.load(made / "reference.npy").astype("<i4").tobytes()),
            "receipt": sha256((made / "reference.json").read_bytes()),
        },
        "bundle": {
            **file_digests(published, "torrent", "data/symbol", "data/params"),
            **file_digests(made / "bundle", "manifest.json", "MODEL_CARD.md"),
        },
        "vectors": {name: tree_digest(VECTORS / name) for name in ("ops", "reject", "network")},
    }


@pytest.mark.skipif(
    not library.instruction_sets(), reason="the package was installed without a compiler"
)
def test_both_engines_give_the_same_bytes(made: Path) -> None:
    infer(made, "compiled")
    for suffix in ("npy", "json"):
        left, right = (made / f"{name}.{suffix}" for name in ("reference", "compiled"))
        assert left.read_bytes() == right.read_bytes()


@pytest.mark.parametrize("stage", ["checkpoint", "model", "output", "bundle", "vectors"])
def test_bytes_are_those_on_record(made: Path, stage: str) -> None:
    found = digests(made)
    if os.environ.get("YOLO_RECORD_GOLDEN"):
        RECORD.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    assert found[stage] == json.loads(RECORD.read_text("utf-8"))[stage]
