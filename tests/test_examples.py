"""The notebooks of examples/ run from their first cell to the last, one after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
#: In this order: the second one takes the model of the first.
ORDER = ("train_to_bundle", "verify_a_receipt")
_SAID = {
    "train_to_bundle": ("integer yolov5n", "image/png", "info hash"),
    "verify_a_receipt": ("verified", "differs: ", "does not follow"),
}


def test_every_notebook_is_run_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(ORDER)
    for path in EXAMPLES.glob("*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        assert not any(cell.get("outputs") for cell in cells), path.name


def test_the_notebooks_run(tmp_path: Path) -> None:
    pytest.importorskip("nbclient", reason="nox -s tests installs nbclient and ipykernel")
    programs = str(Path(sys.executable).parent)
    place = {**os.environ, "PATH": os.pathsep.join([programs, os.environ["PATH"]])}
    for name in ORDER:
        done = subprocess.run(
            [sys.executable, "-c", _RUN, str(EXAMPLES / f"{name}.ipynb"), str(tmp_path)],
            env=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
        for text in _SAID[name]:
            assert text in done.stdout, done.stdout[-3000:]


_RUN = """
import json, sys
import nbformat
from nbclient import NotebookClient

book = nbformat.read(sys.argv[1], as_version=4)
metadata = {"metadata": {"path": sys.argv[2]}}
NotebookClient(book, timeout=280, kernel_name="python3", resources=metadata).execute()
print("".join(json.dumps(cell.get("outputs")) + chr(10) for cell in book.cells))
"""
