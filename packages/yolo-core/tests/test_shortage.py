"""A machine with too little: it is told as that, in one line, with an exit code of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) << 20,) * 2)
from yolo_core.command import Group
import click

@click.group(cls=Group)
def main():
    pass

@main.command()
def opencv():
    from yolo_core.yolo.letterbox import opencv
    opencv()

@main.command()
def threads():
    import threading
    ended = threading.Event()
    while True:
        threading.Thread(target=ended.wait, daemon=True).start()

@main.command()
def mxnet():
    from yolo_core.mxnet.importing import mxnet
    mxnet()

main(sys.argv[2:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such limit")
@pytest.mark.parametrize(
    ("library", "megabytes"), [("opencv", 200), ("mxnet", 400), ("threads", 300)]
)
def test_a_library_or_a_thread_without_room_is_a_shortage(library: str, megabytes: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(megabytes), library],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "memory" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell with closed streams")
def test_closed_streams_and_readers_that_leave(tmp_path: Path) -> None:
    script = (
        "from yolo_core.command import Group\n"
        "from yolo_core.progress import progress\n"
        "import click, sys\n"
        "@click.group(cls=Group)\n"
        "def main():\n"
        "    pass\n"
        "@main.command()\n"
        "def work():\n"
        "    for number in progress(range(50_000), 'work'):\n"
        "        click.echo(number)\n"
        "main()\n"
    )
    program = tmp_path / "program.py"
    program.write_text(script)
    for words, redirect, code in (
        ("work", "2>&-", 0), ("work", ">&- 2>&-", 0), ("work", "| head -n 1", 2),
        ("--help", "| (exec <&-; sleep 1)", 2),
        ("work", "> /dev/full", 2), ("work", "> /dev/full 2>&1", 2), ("-x", "> /dev/full 2>&1", 2),
    ):  # fmt: skip
        shell = f'set -o pipefail; "{sys.executable}" "{program}" {words} {redirect}'
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
        assert done.returncode == code, (redirect, done.stderr)
        assert "Traceback" not in done.stderr


_STARTED = """
import resource, sys
if sys.argv[1] != "0":
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) << 20,) * 2)
from yolo_core.starting import start
start("commands", "yolo-commands")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such limit")
@pytest.mark.parametrize(
    ("megabytes", "text", "code", "lines"),
    [
        (100, "def main(prog_name): pass", 3, 1),
        (0, "raise MemoryError", 3, 1),
        (0, "raise ImportError('x.so: failed to map segment from shared object')", 3, 1),
        (0, "raise ImportError('no module of this name')", 1, None),
        (0, "def main(prog_name): print(prog_name)", 0, 0),
        (0, "raise KeyboardInterrupt", 130, 1),
    ],
)
def test_a_command_that_cannot_be_imported(
    megabytes: int, text: str, code: int, lines: int | None, tmp_path: Path
) -> None:
    (tmp_path / "commands.py").write_text(text + "\n")
    done = subprocess.run(
        [sys.executable, "-c", _STARTED, str(megabytes)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    if lines is not None:
        assert len(done.stderr.splitlines()) == lines
        assert done.stdout == ("yolo-commands\n" if code == 0 else "")
    if code == 3:
        assert "too little memory to start yolo-commands" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such limit")
@pytest.mark.parametrize("module", ["yolo_core", "yolo_core.front"])
def test_the_commands_of_this_package_are_started_so(module: str) -> None:
    limited = (
        "import resource, runpy, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (100 << 20,) * 2)\n"
        f"runpy.run_module({module!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert len(done.stderr.splitlines()) == 1
