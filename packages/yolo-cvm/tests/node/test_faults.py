"""Clients that behave badly, disks that fail, stores that change: what each is answered."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from node_samples import BIG, RUNTIME, Client, name_of, put, running

from yolo_core.errors import InputError
from yolo_core.graph import RuntimeFault
from yolo_cvm.cli import main
from yolo_cvm.node import requests
from yolo_cvm.node.http import Limits
from yolo_cvm.node.server import parse_listen
from yolo_cvm.node.serving import Budget
from yolo_cvm.node.work import Workers

BODY = requests.failure("request body read error")


def head(length: int, extra: str = "") -> bytes:
    return f"POST /infer HTTP/1.1\r\nHost: x\r\n{extra}Content-Length: {length}\r\n\r\n".encode()


def all_of(connection: socket.socket) -> bytes:
    data = b""
    while part := connection.recv(1 << 16):
        data += part
    return data


def gas_body(sample: Any) -> bytes:
    return json.dumps({"type": 3, "model": sample.model, "modelSize": BIG}).encode()


def test_a_half_closed_connection_gets_its_answer(client: Client, sample: Any) -> None:
    body = gas_body(sample)
    with client.raw() as connection:
        connection.sendall(head(len(body)) + body)
        connection.shutdown(socket.SHUT_WR)
        answer = all_of(connection)
    assert answer.endswith(b'"info":"ok"}')


def test_a_body_that_ends_too_early_is_told(client: Client, sample: Any) -> None:
    with client.raw() as connection:
        connection.sendall(head(100) + b'{"type":3')
        connection.shutdown(socket.SHUT_WR)
        answer = all_of(connection)
    assert answer.endswith(BODY)
    assert client.ask("POST", "/infer", gas_body(sample))[2].endswith(b'"info":"ok"}')


def test_slow_clients_are_cut_off_and_harm_nobody(sample: Any) -> None:
    limits = Limits(request_seconds=0.6, idle_seconds=0.6, connections=8)
    with running(sample.root, limits=limits) as client:
        slow = [client.raw() for _ in range(20)]
        for number, connection in enumerate(slow):
            connection.sendall(b"POST /inf" if number % 2 else head(100) + b"{")
        answer = client.ask("POST", "/infer", gas_body(sample))
        assert answer[2].endswith(b'"info":"ok"}')
        for connection in slow:
            left = b""
            while True:
                try:
                    part = connection.recv(4096)
                except ConnectionError:
                    break
                if not part:
                    break
                left += part
            assert left == b"" or left.endswith(BODY)
            connection.close()


def test_a_body_that_is_too_large_is_told_and_not_kept(sample: Any) -> None:
    with running(sample.root, limits=Limits(body_bytes=1 << 20)) as client:
        size = 8 << 20
        with client.raw() as connection:
            connection.sendall(head(size, "Connection: close\r\n"))
            for _ in range(8):
                connection.sendall(bytes(1 << 20))
            assert all_of(connection).endswith(BODY)
        assert client.ask("POST", "/detect", bytes(2 << 20))[0] == 413


def test_bodies_together_have_a_limit(sample: Any) -> None:
    with running(sample.root, limits=Limits(held_bytes=1000)) as client:
        padded = gas_body(sample) + b" " * 2000
        assert client.ask("POST", "/infer", padded)[2] == BODY
        assert client.ask("POST", "/infer", gas_body(sample))[2].endswith(b'"info":"ok"}')


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00", b"GET / SPAM/9\r\n\r\n", b"A" * 1_100_000, b"POST\r\n\r\n"]
)
def test_what_is_no_http_gets_400(client: Client, data: bytes) -> None:
    with client.raw() as connection:
        connection.sendall(data + b"\r\n\r\n")
        assert all_of(connection).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))


def test_one_connection_serves_many_requests_and_pipelines(client: Client, sample: Any) -> None:
    body = gas_body(sample)
    with client.raw() as connection:
        connection.sendall((head(len(body)) + body) * 3)
        connection.shutdown(socket.SHUT_WR)
        assert all_of(connection).count(b'"info":"ok"}') == 3


def test_long_bodies_and_what_follows_them(client: Client, sample: Any) -> None:
    """A long body of a told length is read another way than a short one."""
    body = gas_body(sample)
    long = body + b" " * 300_000
    with client.raw() as connection:
        connection.sendall((head(len(long)) + long + head(len(body)) + body) * 2)
        connection.shutdown(socket.SHUT_WR)
        assert all_of(connection).count(b'"info":"ok"}') == 4
    with client.raw() as connection:
        connection.sendall(head(len(long), "Expect: 100-continue\r\n"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(long)
        assert b'"info":"ok"}' in connection.recv(4096)
        connection.sendall(head(len(long), "Connection: close\r\n") + long)
        assert all_of(connection).endswith(b'"info":"ok"}')
    for cut in (100, 200_000):
        with client.raw() as connection:
            connection.sendall(head(len(long)) + long[:cut])
            connection.shutdown(socket.SHUT_WR)
            assert all_of(connection).endswith(BODY)
    few = Limits(held_bytes=100_000)
    with running(sample.root, limits=few) as small, small.raw() as connection:
        connection.sendall(head(len(long)) + long + head(len(body)) + body)
        connection.shutdown(socket.SHUT_WR)
        answers = all_of(connection)
    assert answers.index(BODY) < answers.index(b'"info":"ok"}')


def test_expectation_chunks_and_head_requests(client: Client, sample: Any) -> None:
    body = gas_body(sample)
    with client.raw() as connection:
        connection.sendall(head(len(body), "Expect: 100-continue\r\n"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert b'"info":"ok"}' in connection.recv(4096)
        connection.sendall(
            b"POST /infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        )  # fmt: skip
        assert b'"info":"ok"}' in connection.recv(4096)
    status, _, data = client.ask("HEAD", "/infer")
    assert (status, data) == (200, b"")


@pytest.mark.parametrize(
    ("first", "more"),
    [
        ("POST /infer HTTP/1.0\r\n", ""),
        ("POST /infer HTTP/1.0\r\nHost: x\r\n", "Connection: keep-alive\r\n"),
        ("POST /infer HTTP/1.1\nHost: x\n", "X-Long: " + "x" * 1_000_000 + "\n"),
        ("POST /infer HTTP/1.1\r\nHost: x\r\n", "x:\r\n" * 20_000),
        ("POST /infer HTTP/1.1\r\nHost: x\r\n", "Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        ("POST /infer HTTP/1.1\r\nHOST: x\r\n", "Content-Encoding: gzip\r\n"),
    ],
)
def test_other_versions_and_headers(client: Client, sample: Any, first: str, more: str) -> None:
    body = gas_body(sample)
    with client.raw() as connection:
        end = "\n" if "\r" not in first else "\r\n"
        connection.sendall(f"{first}{more}Content-Length: {len(body)}{end}{end}".encode() + body)
        connection.shutdown(socket.SHUT_WR)
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:100]
    assert answer.endswith(b'"info":"ok"}')


def test_chunks_with_extensions_and_trailers(client: Client, sample: Any) -> None:
    body = gas_body(sample)
    begin = b"POST /infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = b"".join(b"1;name=value\r\n%c\r\n" % byte for byte in body)
    for rest, expected in (
        (pieces + b"0\r\nTrailer: x\r\n\r\n", b'"info":"ok"}'),
        (pieces + b"zz\r\n", BODY),
        (pieces, BODY),
    ):
        with client.raw() as connection:
            connection.sendall(begin + rest)
            connection.shutdown(socket.SHUT_WR)
            assert all_of(connection).endswith(expected)


def test_a_client_that_reads_nothing_is_dropped(sample: Any) -> None:
    with running(sample.root, limits=Limits(request_seconds=0.5)) as client:
        connection = client.raw()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(200):
            try:
                connection.sendall(b"GET /page.js HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            except OSError:
                break
        assert client.ask("GET", "/healthz")[0] == 200
        connection.close()


def test_disk_errors_are_runtime(
    client: Client, sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def failing(path: Any, *arguments: Any, **options: Any) -> int:
        if path == "symbol":
            raise OSError(5, "Input/output error")
        return real(path, *arguments, **options)

    monkeypatch.setattr("yolo_cvm.node.store.os.open", failing)
    assert client.infer(type=3, model=sample.model, modelSize=BIG) == RUNTIME
    monkeypatch.undo()
    assert client.infer(type=3, model=sample.model, modelSize=BIG).endswith(b'"info":"ok"}')
    assert "Input/output error" in client.log.getvalue()


def test_a_store_that_changes_is_old_or_new_or_runtime(sample: Any) -> None:
    budget = Budget(model_bytes=0, result_bytes=0, parallel=2, waiting=16, threads=1)
    with running(sample.root, budget=budget) as client:
        body = "0x" + sample.values.tobytes().hex()
        asked = {"type": 2, "model": sample.model, "input": body, "modelSize": BIG}
        right = client.infer(**asked)
        link = sample.root / sample.model
        stop = threading.Event()

        def change() -> None:
            while not stop.is_set():
                link.unlink()
                time.sleep(0.002)
                put(sample.root, sample.model, {})
                os.symlink(f".tmp/{sample.model}", link) if not link.is_symlink() else None
                time.sleep(0.002)

        thread = threading.Thread(target=change)
        thread.start()
        seen = {client.infer(**asked) for _ in range(60)}
        stop.set()
        thread.join()
        assert seen <= {right, RUNTIME}
        assert client.infer(**asked) == right


def test_two_servers_on_one_store(sample: Any) -> None:
    with running(sample.root) as one, running(sample.root) as other:
        asked = {"type": 1, "model": sample.model, "input": sample.stored}
        sizes = {"modelSize": BIG, "inputSize": BIG}
        assert one.infer(**asked, **sizes) == other.infer(**asked, **sizes)


def test_a_full_queue_refuses_at_once() -> None:
    workers = Workers(parallel=1, waiting=1)
    hold = threading.Event()
    threads = [
        threading.Thread(target=workers.run, args=(key, hold.wait)) for key in ("a", "b", "a")
    ]
    for thread in threads:
        thread.start()
    while workers.load < 2:
        time.sleep(0.001)
    with pytest.raises(RuntimeFault, match="queue is full"):
        workers.run("c", hold.wait)
    hold.set()
    for thread in threads:
        thread.join()
    workers.close()


def test_nobody_waits_longer_than_a_node_does_and_the_work_goes_on() -> None:
    workers = Workers(parallel=1, waiting=1)
    done = threading.Event()

    def job() -> None:
        time.sleep(0.2)
        done.set()

    with pytest.raises(RuntimeFault, match="took longer"):
        workers.run("slow", job, patience=0.02)
    assert done.wait(10)
    workers.close()


def test_many_clients_get_every_answer(client: Client, sample: Any) -> None:
    body = "0x" + sample.values.tobytes().hex()
    asked = [
        {"type": 3, "model": sample.model, "modelSize": BIG},
        {"type": 2, "model": sample.model, "input": body, "modelSize": BIG},
        {"type": 1, "model": sample.model, "input": sample.stored, "modelSize": BIG,
         "inputSize": BIG},
        {"type": 3, "model": name_of("absent"), "modelSize": BIG},
    ]  # fmt: skip
    right = [client.infer(**each) for each in asked]
    wrong: list[int] = []

    def work(first: int) -> None:
        for number in range(first, first + 25):
            if client.infer(**asked[number % 4]) != right[number % 4]:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("text", ["4321", ":4321", "127.0.0.1:", "127.0.0.1:x", "[::1]:70000"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="not an address"):
        parse_listen(text, anywhere=False)


def test_only_the_loopback_unless_told_otherwise(tmp_path: Path) -> None:
    assert parse_listen("[::1]:80", anywhere=False) == ("::1", 80)
    assert parse_listen("0.0.0.0:80", anywhere=True) == ("0.0.0.0", 80)
    words = ["serve", "--store", str(tmp_path), "--listen", "0.0.0.0:0"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "--anywhere" in result.output
    result = CliRunner().invoke(main, ["serve", "--store", str(tmp_path / "absent")])
    assert result.exit_code == 2
    assert "is not a folder" in result.output


def test_the_systemd_unit_is_understood(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze")
    unit = Path(__file__).parents[2] / "deploy" / "yolo-cvm.service"
    text, count = re.subn(r"ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text())
    assert count == 1
    (tmp_path / unit.name).write_text(text)
    words = [program, "verify", "--man=no", str(tmp_path / unit.name)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    told = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, told) == (0, []), done.stderr
    (tmp_path / unit.name).write_text(text.replace("Type=exec", "Typ=exec"))
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert "Typ" in done.stderr
