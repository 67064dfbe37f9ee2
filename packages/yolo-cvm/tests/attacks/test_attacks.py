"""Every hostile model is refused in one line, in little memory, by a process that lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from attacks.hostile import ATTACKS, sound
from yolo_core.graph import RuntimeFault
from yolo_core.graph.files import symbol

#: Extra memory that is granted where the files are small, in bytes.
BUDGET = 24 * 2**20

#: Runs the command and tells on stdout by how many KiB its peak memory grew.
SCRIPT = """
import resource, sys
from yolo_cvm.cli import main
from yolo_cvm import inspection, model
import yolo_cvm.engine
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
code = 0
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(peak() - before)
sys.exit(code)
"""


def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def write(folder: Path, files: tuple[bytes, bytes]) -> Path:
    for name, content in zip(("symbol", "params"), files):
        (folder / name).write_bytes(content)
    return folder


def test_the_model_that_attacks_start_from_is_sound(tmp_path: Path) -> None:
    assert run_command("inspect", write(tmp_path, sound())).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in KiB on Linux only")
@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_attack_is_refused(name: str, tmp_path: Path) -> None:
    files = ATTACKS[name]()
    done = run_command("inspect", write(tmp_path, files))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert len(lines[0]) < 600
    grown = 1024 * int(done.stdout.split()[-1])
    size = sum(map(len, files))
    assert grown < max(4 * size, BUDGET), f"{grown} bytes for {size}"


@pytest.mark.parametrize("name", ["symbol", "params"])
def test_a_folder_in_place_of_a_file_is_refused(name: str, tmp_path: Path) -> None:
    write(tmp_path, sound())
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    done = run_command("inspect", tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("operands", "told"),
    [(9000, "node 1 is broken or longer than 65536 bytes"), (0, "no value for node 1")],
)
def test_an_element_that_is_too_long_is_not_said_to_be_absent(operands: int, told: str) -> None:
    node = b'{"op":"cvm_op","name":"n","inputs":[' + b"[0,0,0]," * operands + b"[0,0,0]]}"
    first = b'{"op":"null","name":"data","inputs":[]}'
    with pytest.raises(RuntimeFault, match=told):
        symbol.decode(b'{"nodes":[' + first + b"," + (node if operands else b"]"))
