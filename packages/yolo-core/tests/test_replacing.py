"""What a kill, a full folder or a second writer leaves of a result: the old one or the new one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from yolo_core import replacing
from yolo_core.errors import InputError
from yolo_core.files import atomic_folder, atomic_write
from yolo_core.outputs import check_folder, check_outputs

_WRITER = """
import os, signal, sys
from pathlib import Path
from yolo_core import replacing
from yolo_core.files import atomic_folder, atomic_write

target, left, exchange = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "exchange"
if not exchange:
    replacing._exchange_call = lambda: None

def count(event, arguments):
    global left
    if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
with atomic_folder(target) as folder:
    atomic_write(folder / "a", "new")
    atomic_write(folder / "deep" / "b", "new")
"""


def write(target: Path, content: str) -> None:
    with atomic_folder(target) as folder:
        atomic_write(folder / "a", content)
        atomic_write(folder / "deep" / "b", content)


@pytest.mark.skipif(os.name == "nt", reason="nobody is killed so on Windows")
@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_killed_anywhere_leaves_the_old_or_the_new_folder(way: str, tmp_path: Path) -> None:
    target, events = tmp_path / "out", 0
    for event in range(1, 40):
        write(target, "old")
        done = subprocess.run(
            [sys.executable, "-c", _WRITER, str(target), str(event), way], check=False
        )
        check_outputs(folders=[target])
        assert (target / "a").read_text() == (target / "deep" / "b").read_text()
        assert os.listdir(tmp_path) == ["out"]
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        events = event
    assert (target / "a").read_text() == "new"
    assert events > 5


def test_the_folder_is_never_absent_where_names_can_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if replacing._exchange_call() is None:
        pytest.skip("this system cannot exchange two names")
    write(tmp_path / "out", "old")
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("new")
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, None)
    monkeypatch.undo()
    assert (tmp_path / "out" / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]


def test_a_living_writer_is_let_be(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with atomic_folder(target) as folder:
        (folder / "a").write_text("first")
        write(target, "second")
        assert (folder / "a").read_text() == "first"
    assert (target / "a").read_text() == "first"
    assert os.listdir(tmp_path) == ["out"]


def test_what_only_looks_like_a_part_stays(tmp_path: Path) -> None:
    strange = tmp_path / f".out.abcdefgh{replacing.ENDING}"
    strange.mkdir()
    (strange / "mine").write_text("x")
    (tmp_path / ".out.abcdefgh").mkdir()
    write(tmp_path / "out", "new")
    assert (strange / "mine").read_text() == "x"
    assert (tmp_path / ".out.abcdefgh").is_dir()


def test_a_part_inside_a_result_is_no_foreign_file(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    (tmp_path / "out" / f".a.abcdefgh{replacing.ENDING}").write_text("half")
    check_folder(tmp_path / "out")


def test_two_writers_of_one_result(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.json"
    with replacing.only_one(path):
        with pytest.raises(InputError, match="another command"), replacing.only_one(path):
            pass
        with replacing.only_one(tmp_path / "deep" / "other.json"):
            pass
    with replacing.only_one(path):
        pass
    assert os.listdir(tmp_path) == []


def test_many_writers_of_one_folder_all_succeed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from yolo_core.files import atomic_folder, atomic_write\n"
        "for number in range(30):\n"
        "    with atomic_folder(sys.argv[1]) as folder:\n"
        "        atomic_write(folder / f'{sys.argv[2]}{number}', 'x')\n"
    )
    target = str(tmp_path / "out")
    running = [subprocess.Popen([sys.executable, "-c", script, target, name]) for name in "abc"]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(os.listdir(target)) == 1
    assert os.listdir(tmp_path) == ["out"]
