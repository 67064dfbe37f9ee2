"""Two hosts, each a network namespace of this machine, train together over a cable between them."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from yolo_train.cli import main

FIT = ("--imgsz", "64", "--batch-size", "8", "--nominal-batch", "8", "--workers", "0",
       "--no-plots")  # fmt: skip
#: The address of the first host, as the second one sees it.
ADDRESS = "10.213.77.1"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[str, str]]:
    """Names of two network namespaces that reach each other and nothing else."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need `ip` and root")
    names = (f"yolo-{os.getpid()}-a", f"yolo-{os.getpid()}-b")
    ends = (f"ya{os.getpid()}", f"yb{os.getpid()}")
    try:
        try:
            for name in names:
                _ip("netns", "add", name)
            _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine makes no network namespaces: {error.stderr.decode()}")
        for name, end, address in zip(names, ends, (ADDRESS, "10.213.77.2")):
            _ip("link", "set", end, "netns", name)
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            _ip("-n", name, "link", "set", end, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def _start(hosts: tuple[str, str], shapes: Path, project: Path, epochs: int) -> Any:
    """Launch on both hosts, from the first one, with an ssh that enters the namespace."""
    ssh = project / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text('#!/bin/sh\nhost=$4; shift 4\nexec ip netns exec $host sh -c "$*"\n')
    ssh.chmod(0o755)
    places = (str(ssh.parent), os.path.dirname(sys.executable), os.environ["PATH"])
    command = ["ip", "netns", "exec", hosts[0], sys.executable, "-m", "yolo_train", "launch",
               "--hosts", ",".join(hosts), "--address", ADDRESS, "--", "fit", "--data",
               str(shapes), "--epochs", str(epochs), "--project", str(project), *FIT]  # fmt: skip
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=project,
        env={**os.environ, "PATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def _wait_for_an_epoch(process: Any, run: Path) -> None:
    deadline = time.monotonic() + 120
    while not (run / "results.csv").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _processes(host: str) -> list[int]:
    found = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def _losses(run: Path) -> list[float]:
    rows = list(csv.DictReader((run / "results.csv").open()))
    return [float(row[f"train/{part}_loss"]) for row in rows for part in ("box", "obj", "cls")]


def test_two_hosts_learn_what_one_does_though_one_of_them_is_slow(
    hosts: tuple[str, str], shapes: Path, tmp_path: Path
) -> None:
    process = _start(hosts, shapes, tmp_path, 3)
    try:
        _wait_for_an_epoch(process, tmp_path / "exp")
        slow = _processes(hosts[1])
        assert slow
        for sign, seconds in ((signal.SIGSTOP, 2), (signal.SIGCONT, 0)):
            for pid in slow:
                os.kill(pid, sign)
            time.sleep(seconds)
        _, said = process.communicate(timeout=120)
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert process.returncode == 0, said
    common = ["fit", "--data", str(shapes), "--epochs", "3", "--project", str(tmp_path), *FIT]
    result = CliRunner().invoke(main, [*common, "--name", "one", "--device", "cpu:0,cpu:1"])
    assert result.exit_code == 0, result.output
    assert _losses(tmp_path / "exp") == pytest.approx(_losses(tmp_path / "one"), rel=1e-3)


def test_a_host_that_is_lost_ends_the_job_and_the_run_resumes(
    hosts: tuple[str, str], shapes: Path, tmp_path: Path
) -> None:
    process = _start(hosts, shapes, tmp_path, 500)
    try:
        _wait_for_an_epoch(process, tmp_path / "exp")
        for pid in _processes(hosts[1]):
            os.kill(pid, signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert process.returncode == 2
    assert f"worker 1 on {hosts[1]} ended with code" in said.splitlines()[-1]
    assert not _processes(hosts[0])
    rows = (tmp_path / "exp" / "results.csv").read_text().splitlines()
    options = tmp_path / "exp" / "opt.yaml"
    options.write_text(options.read_text().replace("epochs: 500\n", f"epochs: {len(rows)}\n"))
    result = CliRunner().invoke(main, ["fit", "--resume", str(tmp_path / "exp")])
    assert result.exit_code == 0, result.output
    again = (tmp_path / "exp" / "results.csv").read_text().splitlines()
    # The last line may be of an epoch whose state was not written any more.
    assert again[: len(rows) - 1] == rows[:-1]
    assert len(again) == len(rows) + 1
