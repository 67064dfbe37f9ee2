"""All or nothing on disk, limits on reading, and what a command line answers."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from yolo_core.command import Group
from yolo_core.errors import InputError
from yolo_core.files import atomic_folder, atomic_write, read_bytes, read_json, sha256_file
from yolo_core.outputs import new_folder
from yolo_core.progress import progress


def test_atomic_write_replaces_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.txt"
    atomic_write(target, "one")
    atomic_write(target, b"two")
    assert target.read_text() == "two"
    assert os.listdir(target.parent) == ["a.txt"]
    assert target.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_atomic_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none"), atomic_folder(tmp_path / "out") as folder:
        atomic_write(folder / "half", "x")
        read_bytes(folder / "none", 1)
    assert not os.listdir(tmp_path)
    for content in ("one", "two"):
        with atomic_folder(tmp_path / "out") as folder:
            (folder / content).write_text(content)
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == ["two"]


def test_atomic_folder_spares_the_old_one_on_failure(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "old").write_text("kept")
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "out"):
        raise ZeroDivisionError
    assert (tmp_path / "out" / "old").read_text() == "kept"


def test_atomic_folder_refuses_a_file_and_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(InputError, match="in the way"), atomic_folder(tmp_path / name):
            pass


def test_reading_has_limits(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", 5) == b"12345"
    with pytest.raises(InputError, match="larger than 4 bytes"):
        read_bytes(tmp_path / "a", 4)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="regular file"):
        read_bytes(tmp_path / "pipe", 4)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(tmp_path / "deep.json")
    with pytest.raises(InputError, match="does not exist"):
        sha256_file(tmp_path / "none")
    with pytest.raises(InputError, match="regular file"):
        sha256_file(tmp_path / "pipe")


def test_errors_are_one_line() -> None:
    assert str(InputError("a\nb", "is\todd", "c")) == "a\\nb: is\\todd; expected c"
    assert str(InputError("a", "is odd")) == "a: is odd"


def test_commands_answer_bad_input_with_one_line_and_code_2() -> None:
    @click.group(cls=Group)
    def main() -> None:
        pass

    @main.command()
    @click.argument("how")
    def fail(how: Any) -> None:
        raise {
            "input": InputError("x.yaml", "is odd"),
            "stop": KeyboardInterrupt(),
            "full": OSError(28, "No space left on device", "y.bin"),
            "bug": ZeroDivisionError(),
        }[how]

    bad = CliRunner().invoke(main, ["fail", "input"])
    assert (bad.exit_code, bad.output) == (2, "Error: x.yaml: is odd\n")
    full = CliRunner().invoke(main, ["fail", "full"])
    assert (full.exit_code, full.output) == (2, "Error: y.bin: No space left on device\n")
    assert isinstance(CliRunner().invoke(main, ["fail", "bug"]).exception, ZeroDivisionError)
    stopped = CliRunner().invoke(main, ["fail", "stop"])
    assert (stopped.exit_code, stopped.output) == (
        130,
        "Interrupted. To begin again: main fail stop\n",
    )


def test_progress_passes_everything_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(5), "count")) == [0, 1, 2, 3, 4]
    log = capsys.readouterr().err
    assert re.search(r"^count \[#{24}\] 5/5 ", log, flags=re.MULTILINE)
    assert "\r" not in log
    assert all(log.splitlines())
    assert list(progress(iter("ab"), "given", total=2)) == ["a", "b"]


def test_a_new_folder_is_the_first_free_one_or_refused(tmp_path: Path) -> None:
    assert [new_folder(tmp_path / "runs", "exp").name for _ in range(3)] == ["exp", "exp2", "exp3"]
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "file").touch()
    for project in ("link", "link/below", "file", "file/below"):
        with pytest.raises(InputError, match="is not a folder"):
            new_folder(tmp_path / project, "exp")
