"""What every command has: --json, --quiet, --log-file, and the way on after Ctrl-C."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from yolo_core import console
from yolo_core.command import Group
from yolo_core.errors import InputError
from yolo_core.progress import progress


@click.group(cls=Group)
def main() -> None:
    pass


@main.command()
@click.argument("end", default="done")
@click.option("--resume", is_flag=True)
def work(end: str, resume: bool) -> None:
    click.echo("begun")
    click.echo("beware", err=True)
    for _ in progress(range(2), "bar"):
        pass
    console.answer({"found": 3})
    if resume:
        console.goes_on("work --resume")
    if end == "input":
        raise InputError("x", "is odd")
    if end == "differs":
        raise SystemExit(1)
    if end == "stop":
        raise KeyboardInterrupt
    click.echo("ended")


main.commands["work"].callback.__module__ = "yolo_core.cli"


def outputs(*words: str) -> tuple[int, str, str]:
    """Exit code and both streams of a process that runs `main`."""
    code = "import test_console; test_console.main(prog_name='it')"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], text=True, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_json_is_all_that_standard_output_holds() -> None:
    code, out, err = outputs("work", "--json")
    record = json.loads(out)
    assert (code, record["exit_code"], record["error"]) == (0, 0, None)
    assert (record["result"], record["lines"]) == ({"found": 3}, ["begun", "ended"])
    assert record["command"] == "it work --json"
    assert "beware" in err


@pytest.mark.parametrize(("end", "code"), [("input", 2), ("differs", 1), ("stop", 130)])
def test_json_tells_how_it_ended(end: str, code: int) -> None:
    done = CliRunner().invoke(main, ["work", end, "--json", "--quiet"])
    record = json.loads(done.output[done.output.index("{") : done.output.rindex("}") + 1])
    assert (done.exit_code, record["exit_code"]) == (code, code)
    assert record["error"] == ("x: is odd" if end == "input" else None)


def test_quiet_leaves_warnings_and_errors() -> None:
    assert outputs("work", "--quiet") == (0, "", "beware\n")
    assert outputs("work", "input", "--quiet") == (2, "", "beware\nError: x: is odd\n")
    assert "bar [" in outputs("work")[2]


def test_a_log_file_gets_both_streams_and_is_continued(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "work.log"
    for end in ("done", "input"):
        CliRunner().invoke(main, ["work", end, "--log-file", str(log), "--quiet"])
    lines = log.read_text().splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        f"# log of yolo: main work {end} --log-file {log} --quiet" for end in ("done", "input")
    ]
    told = [line[20:] for line in lines if not line.startswith("#")]
    assert told == ["begun", "beware", "ended", "ended with exit code 0",
                    "begun", "beware", "Error: x: is odd"]  # fmt: skip


def test_of_a_bar_the_log_holds_the_last_state(tmp_path: Path) -> None:
    taken: list[str] = []
    tee = console._Tee(None, [taken.append])
    for text in ("a", "b\n", "\rbar 1", "\rbar 2", "\n", "\rbar 3", "\r", "rest\r\n", "end"):
        tee.write(text)
    tee.finish()
    assert taken == ["ab", "bar 2", "rest", "end"]


@pytest.mark.parametrize("kind", ["foreign", "link", "folder", "no place"])
def test_a_log_goes_nowhere_but_into_a_log(tmp_path: Path, kind: str) -> None:
    log = tmp_path / "mine"
    if kind == "foreign":
        log.write_text("mine")
    elif kind == "link":
        log.symlink_to(tmp_path / "aim")
    elif kind == "folder":
        log.mkdir()
    else:
        log = Path("/proc/none/log")
    done = CliRunner().invoke(main, ["work", "--log-file", str(log)])
    assert done.exit_code == 2
    assert done.output.startswith(f"Error: {log}: ")
    assert kind != "foreign" or log.read_text() == "mine"


def test_after_ctrl_c_the_command_that_goes_on_is_told() -> None:
    stopped = CliRunner().invoke(main, ["work", "stop"])
    assert stopped.output.endswith("Interrupted. To begin again: main work stop\n")
    stopped = CliRunner().invoke(main, ["work", "stop", "--resume"])
    assert stopped.output.endswith("Interrupted. To go on from here: work --resume\n")


@main.command()
@click.argument("place")
def warn(place: str) -> None:
    warnings.warn_explicit("slow\nhere", RuntimeWarning, place, 7)


def test_a_warning_of_ours_is_one_line_without_its_place() -> None:
    assert outputs("warn", "/x/yolo_x/a.py")[2] == "Warning: slow\\nhere\n"
    assert outputs("warn", "/x/other/b.py")[2].startswith("/x/other/b.py:7: RuntimeWarning: slow")


def test_the_version_is_that_of_the_commands_package() -> None:
    done = CliRunner().invoke(main, ["work", "--version"])
    assert done.output.startswith("yolo-core, version 0.")
