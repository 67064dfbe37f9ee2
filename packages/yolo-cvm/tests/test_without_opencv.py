"""A node that has no OpenCV runs, proves and packs models; only pictures are refused, in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = "import sys; sys.modules['cv2'] = None; from yolo_cvm.cli import main; main()"


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *words], cwd=cwd, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "words",
    [
        "run model --input model/input.npy --output y.npy --receipt r.json",
        "certify model",
        "inspect model",
        "gas model",
        "bundle model --out bundle",
    ],
)
def test_integers_need_no_pictures(model_folder: Path, words: str) -> None:
    done = command(*words.split(), cwd=model_folder.parent)
    assert done.returncode == 0, done.stderr


def test_the_import_takes_no_opencv(tmp_path: Path) -> None:
    code = "import sys, yolo_cvm, yolo_cvm.model; print(sorted({'cv2', 'click'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cv2" not in done.stdout


def test_a_picture_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['cv2'] = None\n"
        "from yolo_core.yolo.letterbox import opencv\n"
        "from yolo_core.errors import InputError\n"
        "try:\n    opencv()\nexcept InputError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "yolo-cvm[images]"' in done.stdout
