"""Training on several machines: start MXNet's scheduler, its parameter servers and the workers.

All of them talk over TCP. Scheduler and servers run on this machine, workers here too or, with
hosts, over ssh there; a host needs the same working folder (a shared file system), the same
Python environment and a key that lets ssh in. If one process dies, all are ended.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

import click

from yolo_core.errors import InputError

_LOOK_EVERY = 0.2
#: Seconds that servers get to end by themselves when the workers are done.
_PATIENCE = 10.0
_MAX_PROCESSES = 256
_COMMAND = ("-c", "from yolo_train.cli import main; main()")
# Ctrl-C reaches all processes of a terminal; these leave it to the launcher, which ends them.
_ROLE_COMMAND = (
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "from yolo_core.mxnet.importing import mxnet; mxnet()",
)


@dataclass(frozen=True)
class _Started:
    name: str
    process: subprocess.Popen[bytes]
    reader: threading.Thread


def launch(
    words: Sequence[str], workers: int, servers: int, hosts: Sequence[str] = (), address: str = ""
) -> None:
    """Run `yolo-train <words>` as so many workers that train together.

    words: begins with `fit`. servers: processes that share the adding up. hosts: machines of the
    workers in turn, empty for this one. address: of this machine as the hosts see it.
    InputError when a process dies; the others are ended then.
    """
    if list(words[:1]) != ["fit"]:
        raise InputError("launch", f"got {' '.join(words) or 'nothing'!r}", "fit … behind --")
    for option, count in (("--workers", workers), ("--servers", servers)):
        if not 1 <= count <= _MAX_PROCESSES:
            raise InputError(option, f"is {count}", f"1 to {_MAX_PROCESSES}")
    if any(not host or host.startswith("-") for host in hosts):
        raise InputError("--hosts", f"is {','.join(hosts)!r}", "names separated by commas")
    settings = _settings(workers, servers, address or _own_address(bool(hosts)))
    if not hosts and "OMP_NUM_THREADS" not in os.environ:
        settings["OMP_NUM_THREADS"] = str(max((os.cpu_count() or 1) // workers, 1))
    started: list[_Started] = []
    # A plain `kill` of the launcher must reach the `finally` below.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        helpers = [_start("scheduler", [sys.executable, *_ROLE_COMMAND], settings, "scheduler")]
        started += helpers
        for number in range(servers):
            server = _start(
                f"server {number}", [sys.executable, *_ROLE_COMMAND], settings, "server"
            )
            helpers.append(server)
            started.append(server)
        team = []
        for number in range(workers):
            host = hosts[number % len(hosts)] if hosts else ""
            name = f"worker {number}" + (f" on {host}" if host else "")
            command = _remote(host, words, settings) if host else _local(words)
            team.append(_start(name, command, settings, "worker"))
            started.append(team[-1])
        _watch(team, helpers)
    finally:
        signal.signal(signal.SIGTERM, before)
        for each in started:
            if each.process.poll() is None:
                each.process.kill()
            each.process.wait()
            each.reader.join(_PATIENCE)


def _settings(workers: int, servers: int, address: str) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    return {
        "DMLC_PS_ROOT_URI": address,
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NUM_WORKER": str(workers),
        "DMLC_NUM_SERVER": str(servers),
    }


def _own_address(seen_from_outside: bool) -> str:
    if not seen_from_outside:
        return "127.0.0.1"
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError as error:
        raise InputError("--address", "cannot be found out", "this machine's address") from error


def _local(words: Sequence[str]) -> list[str]:
    return [sys.executable, *_COMMAND, *words]


def _remote(host: str, words: Sequence[str], settings: Mapping[str, str]) -> list[str]:
    """The ssh command of a worker; -tt ends it there when ssh ends here."""
    values = [f"{key}={value}" for key, value in {**settings, "DMLC_ROLE": "worker"}.items()]
    there = shlex.join(["env", *values, "yolo-train", *words])
    return [
        "ssh",
        "-tt",
        "-o",
        "BatchMode=yes",
        host,
        f"cd {shlex.quote(os.getcwd())} && exec {there}",
    ]


def _start(name: str, command: Sequence[str], settings: Mapping[str, str], role: str) -> _Started:
    environment = {**os.environ, **settings, "DMLC_ROLE": role, "PYTHONUNBUFFERED": "1"}
    try:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    except OSError as error:
        raise InputError(command[0], f"cannot be started ({error.strerror})") from error
    reader = threading.Thread(target=_pass_on, args=(process.stdout,), daemon=True)
    reader.start()
    return _Started(name, process, reader)


def _pass_on(lines: IO[bytes]) -> None:
    """Print what a process prints, so that it goes where this command's own lines go."""
    for line in lines:
        click.echo(line.decode("utf-8", "replace").rstrip("\n"))


def _watch(team: Sequence[_Started], helpers: Sequence[_Started]) -> None:
    """Wait for the workers. InputError as soon as a process ends that should not have."""
    while True:
        # Scheduler and servers end with code 0 when the workers say good-bye.
        for each in (*team, *helpers):
            if each.process.poll() not in (None, 0):
                code = each.process.returncode
                raise InputError("launch", f"{each.name} ended with code {code}, so all were ended")
        if all(each.process.poll() == 0 for each in team):
            break
        time.sleep(_LOOK_EVERY)
    for each in helpers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            each.process.wait(_PATIENCE)
