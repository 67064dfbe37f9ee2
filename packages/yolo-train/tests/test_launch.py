from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from yolo_train.cli import main

FIT = ["--imgsz", "64", "--batch-size", "8", "--nominal-batch", "8", "--workers", "0",
       "--no-plots"]  # fmt: skip


def _command(*words: object) -> Any:
    return [sys.executable, "-c", "from yolo_train.cli import main; main()", *words]


def _losses(run: Path) -> Any:
    rows = list(csv.DictReader((run / "results.csv").open()))
    return [float(row[f"train/{part}_loss"]) for row in rows for part in ("box", "obj", "cls")]


def test_two_workers_learn_what_one_process_with_the_whole_batch_does(
    shapes: Path, tmp_path: Path
) -> None:
    common = ["fit", "--data", str(shapes), "--epochs", "2", "--project", str(tmp_path), *FIT]
    done = subprocess.run(
        _command("launch", "--workers", "2", "--servers", "1", "--", *common, "--name", "two"),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = CliRunner().invoke(main, [*common, "--name", "one", "--device", "cpu:0,cpu:1"])
    assert result.exit_code == 0, result.output
    assert _losses(tmp_path / "two") == pytest.approx(_losses(tmp_path / "one"), rel=1e-4)


def test_two_workers_resume_together_and_one_of_them_keeps_the_books(
    shapes: Path, tmp_path: Path
) -> None:
    common = ["fit", "--data", str(shapes), "--epochs", "1", "--project", str(tmp_path), *FIT]
    result = CliRunner().invoke(main, [*common, "--seed", "2"])
    assert result.exit_code == 0, result.output
    run = tmp_path / "exp"
    options = run / "opt.yaml"
    options.write_text(options.read_text().replace("epochs: 1\n", "epochs: 2\n"))
    done = subprocess.run(
        _command("launch", "--", "fit", "--resume", str(run)),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((run / "results.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    with np.load(run / "weights" / "last.state.npz") as state:
        best = float(state["best"])
    fitness = [
        0.1 * float(row["metrics/mAP_0.5"]) + 0.9 * float(row["metrics/mAP_0.5:0.95"])
        for row in rows
    ]
    assert best == pytest.approx(max(fitness), rel=1e-4)
    assert done.stdout.count("epoch 1: box") == 1


def test_hosts_are_reached_by_ssh_and_work_in_the_same_folder(shapes: Path, tmp_path: Path) -> None:
    # An ssh that notes the host and stays on this machine.
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\necho "$4" >> {tmp_path}/hosts\nshift 4\ncd /\nexec sh -c "$*"\n')
    ssh.chmod(0o755)
    places = (str(ssh.parent), os.path.dirname(sys.executable), os.environ["PATH"])
    done = subprocess.run(
        _command("launch", "--hosts", "near,far", "--address", "127.0.0.1", "--", "fit", "--data",
                 str(shapes), "--epochs", "1", "--project", "runs", *FIT),
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
        env={**os.environ, "PATH": os.pathsep.join(places)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted((tmp_path / "hosts").read_text().split()) == ["far", "near"]
    assert (tmp_path / "runs" / "exp" / "weights" / "best.yaml").exists()


def _children(pid: int) -> Any:
    """Process ids of the children of a process."""
    path = f"/proc/{pid}/task/{pid}/children"
    with open(path) as file:
        return [int(word) for word in file.read().split()]


def _environment(pid: int) -> Any:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return dict(item.split(b"=", 1) for item in file.read().split(b"\0") if b"=" in item)


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs /proc to find workers")
@pytest.mark.parametrize("role", [b"worker", b"server", b"scheduler"])
def test_a_dead_process_ends_the_job_with_a_message(
    shapes: Path, tmp_path: Path, role: bytes
) -> None:
    process = subprocess.Popen(
        _command("launch", "--", "fit", "--data", str(shapes), "--epochs", "500",
                 "--project", str(tmp_path), *FIT),
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 180
        while not list(tmp_path.glob("exp/results.csv")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = _children(process.pid)
        victims = [pid for pid in children if _environment(pid).get(b"DMLC_ROLE") == role]
        os.kill(victims[0], signal.SIGKILL)
        _, said = process.communicate(timeout=30)
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert process.returncode == 2
    assert f"{role.decode()} " in said.splitlines()[-1]
    assert "ended with code -9" in said.splitlines()[-1]
    assert not any(os.path.exists(f"/proc/{pid}") for pid in children)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--", "shapes"], "fit"),
        (["--workers", "0", "--", "fit"], "--workers"),
        (["--servers", "999", "--", "fit"], "--servers"),
        (["--hosts", "a,,b", "--", "fit"], "--hosts"),
        (["--hosts", "-oProxyCommand=x", "--", "fit"], "--hosts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_launch_is_one_line(words: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["launch", *words])
    assert result.exit_code == 2
    assert said in result.output
