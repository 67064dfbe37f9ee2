"""A small labelled dataset of coloured boxes, and a predictor that sees them, for every test.

The predictor is installed as a plugin the way real ones are: an entry point in a distribution
that lies on the path, so that child processes find it too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run
from fake_predictor import COLORS

HERE = Path(__file__).parent
SIDE = 64


@pytest.fixture(scope="session", autouse=True)
def _plugin(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("plugin")
    info = folder / "fake_predictor-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-predictor\nVersion: 0\n")
    (info / "entry_points.txt").write_text(
        "[yolo_core.predictors]\nfake = fake_predictor:FakeOpener\n"
    )
    places = [str(folder), str(HERE)]
    sys.path[:0] = places
    old = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([*places, old] if old else places)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO dataset of 12 pictures 64 × 64; picture 5 is empty, nothing is blue in 0 to 5."""
    import cv2

    root = tmp_path_factory.mktemp("shapes")
    (root / "images/val").mkdir(parents=True)
    (root / "labels/val").mkdir(parents=True)
    generator = np.random.default_rng(3)
    for number in range(12):
        picture = np.full((SIDE, SIDE, 3), 114, dtype=np.uint8)
        lines = []
        for label, color in enumerate(COLORS.values()):
            if number == 5 or (label == 2 and number < 5) or generator.random() < 0.2:
                continue
            width, height = (int(v) for v in generator.integers(10, 20, 2))
            x = int(generator.integers(0, 20)) + 21 * label
            x, y = min(x, SIDE - width), int(generator.integers(0, SIDE - height))
            picture[y : y + height, x : x + width] = color[::-1]
            left = [(x + width / 2) / SIDE, (y + height / 2) / SIDE, width / SIDE, height / SIDE]
            lines.append(f"{label} " + " ".join(f"{v:.6f}" for v in left))
        cv2.imwrite(str(root / f"images/val/{number:02}.png"), picture)
        if number != 5:
            (root / f"labels/val/{number:02}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text(
        "train: images/val\nval: images/val\nnames: {0: red, 1: green, 2: blue}\n"
    )
    return root


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """Write a fake model; its options are those of `fake_predictor.FakePredictor`."""

    def write(name: str = "model.fake", **options: object) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(options))
        return path

    return write


@pytest.fixture
def runs(model: Callable[..., Path], shapes: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A float run that sees everything, and an integer one that is worse in all respects."""
    models = model("a.fake"), model("b.fake", kind="integer", score=0.8, drop=[1], shift=2)
    out = tmp_path / "runs"
    result = run("coco", *models, "--data", shapes / "data.yaml", "--out", out)
    assert result.exit_code == 0, result.output
    return out / "a.fake.json", out / "b.fake.json"


@pytest.fixture
def report(runs: tuple[Path, Path], tmp_path: Path) -> Path:
    result = run("compare", "--no-measure", *runs, "--out", tmp_path / "cmp", "--resamples", 200)
    assert result.exit_code == 0, result.output
    return tmp_path / "cmp"


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real data; tests that need it are skipped where it is not."""
    shared = os.environ.get("YOLO_SHARED")
    folder = Path(shared) if shared else HERE.parents[3] / "shared"
    if not (folder / "data/coco/val/instances.json").is_file():
        pytest.skip("the real data is not here (YOLO_SHARED)")
    return folder / "data"
