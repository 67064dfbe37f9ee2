"""What a server keeps in memory, and for what it never waits (spec A16, A25, A26, A28)."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cvm_samples import small_graph, write_model
from node_samples import BIG, BUDGET, RUNTIME, Client, name_of, npy, put, running

from yolo_core.graph import GraphBuilder, RuntimeFault
from yolo_cvm.node import machine, server
from yolo_cvm.node.caches import ByteCache
from yolo_cvm.node.serving import Budget, Serving
from yolo_cvm.node.store import Store

GIB = 1 << 30


def test_the_least_recently_used_goes_first() -> None:
    cache: ByteCache[bytes] = ByteCache(10, len)
    for name, size in (("a", 4), ("b", 4), ("c", 2)):
        cache.put(name, bytes(size))
    assert cache.get("a") is not None
    cache.put("d", bytes(3))
    assert [name for name in "abcd" if cache.get(name) is not None] == ["a", "c", "d"]
    assert cache.bytes == 9
    cache.put("d", bytes(1))
    assert (cache.bytes, len(cache)) == (7, 3)
    cache.put("e", bytes(11))
    assert (cache.get("e"), cache.bytes) == (None, 7)


@pytest.mark.parametrize(
    ("machine_bytes", "budget"),
    [
        (64 * GIB, 4 * GIB - GIB // 2),
        (6 * GIB, 3 * GIB - GIB // 2),
        (1 * GIB, 2 * GIB - GIB // 2),
    ],
)
def test_memory_for_models_is_the_original_s(
    monkeypatch: pytest.MonkeyPatch, machine_bytes: int, budget: int
) -> None:
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": machine_bytes // 4096}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    assert server.model_budget() == budget


def three_models(sample: Any) -> int:
    """Models `m0` to `m2` that cost the same, in the sample's store; that cost."""
    for k in range(3):
        put(sample.root, name_of(f"m{k}"), sample.files)
    return machine.memory(machine.load(sample.files["symbol"], lambda: sample.files["params"])[0])


def test_models_beyond_the_budget_are_read_again(sample: Any) -> None:
    cost = three_models(sample)
    serving = Serving(Store([sample.root]), Budget(2 * cost, 0, 1, 16, 1))
    data = sample.values.tobytes()

    def ask(number: int, size: int) -> bytes:
        return serving.infer_content(name_of(f"m{number}"), data, size, 21).tobytes()

    right = ask(0, BIG)
    for number in (1, 0, 2):  # the third drops the one that was asked for longest ago
        assert ask(number, BIG) == right
    assert (len(serving.models), serving.models.bytes) == (2, 2 * cost)
    # Sizes are looked at where a model is read, and only there.
    assert ask(0, 0) == ask(2, 0) == right
    with pytest.raises(RuntimeFault):
        ask(1, 0)
    assert ask(1, BIG) == right
    serving.close()


def test_a_model_larger_than_the_budget_still_answers(sample: Any) -> None:
    serving = Serving(Store([sample.root]), Budget(0, 0, 1, 16, 1))
    answers = {serving.infer_content(sample.model, sample.values.tobytes(), BIG, 21).tobytes()
               for _ in range(3)}  # fmt: skip
    assert len(answers) == 1
    assert len(serving.models) == len(serving.results) == 0
    serving.close()


def test_a_result_is_kept_though_its_client_has_left(client: Client, sample: Any) -> None:
    body = (
        f'{{"type":2,"model":"{sample.model}","input":"0x{sample.values.tobytes().hex()}",'
        f'"modelSize":{BIG}}}'
    ).encode()
    with client.raw() as connection:
        connection.sendall(
            f"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
    until = time.monotonic() + 30
    while b"yolo_cvm_results 1.0" not in client.ask("GET", "/metrics")[2]:
        assert time.monotonic() < until
    shutil.rmtree(sample.root)
    sample.root.mkdir()
    assert client.ask("POST", "/infer", body)[2].endswith(b'"info":"ok"}')


def test_what_is_absent_is_not_waited_for(sample: Any) -> None:
    """Absent inputs, and gas of absent models, are answered while no inference could be."""
    serving = Serving(Store([sample.root]), BUDGET)
    hold = threading.Event()
    busy = [
        threading.Thread(target=serving.workers.run, args=(k, hold.wait))
        for k in range(BUDGET.parallel)
    ]
    for thread in busy:
        thread.start()
    for call in (
        lambda: serving.infer_stored(sample.model, name_of("later"), BIG, BIG, 21),
        lambda: serving.gas(name_of("later"), BIG, 21),
    ):
        with pytest.raises(RuntimeFault, match="not in the store"):
            call()
    hold.set()
    for thread in busy:
        thread.join()
    serving.close()


def test_what_has_come_since_is_found(client: Client, sample: Any) -> None:
    asked = {"type": 1, "model": name_of("later"), "input": name_of("input later"),
             "modelSize": BIG, "inputSize": BIG}  # fmt: skip
    assert client.infer(**asked) == RUNTIME
    put(sample.root, name_of("input later"), {"data": npy(sample.values)})
    assert client.infer(**asked) == RUNTIME
    put(sample.root, name_of("later"), sample.files)
    assert client.infer(**asked) == client.infer(**{**asked, "model": sample.model})


def test_a_model_of_a_bundle_and_one_of_a_node_are_read_side_by_side(
    sample: Any, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "plain" / name_of("other") / "data", small_graph(bits=7))
    gas = machine.gas((folder / "symbol").read_bytes())
    with running(sample.root, tmp_path / "plain") as client:
        answer = client.infer(type=3, model=name_of("other"), modelSize=BIG)
    assert answer.endswith(f'{gas:016x}","info":"ok"}}'.encode())


def test_contents_of_one_sample_are_told_apart(tmp_path: Path) -> None:
    """A content is compared by its digest, and by a sample only to see whether that is needed."""
    b = GraphBuilder()
    folder = write_model(
        tmp_path / "m", b.build([b.operator("abs", [b.input("data", (1, 4096), 8)])])
    )
    put(tmp_path, name_of("m"), {n: (folder / n).read_bytes() for n in ("symbol", "params")})
    serving = Serving(Store([tmp_path]), BUDGET)
    contents = [bytes(4096), bytes([0, 1]) + bytes(4094), bytes([0, 2]) + bytes(4094)]
    for _ in range(2):
        for content in contents:
            assert serving.infer_content(name_of("m"), content, BIG, 21).tobytes() == content
    assert (len(serving.results), serving.results.hits) == (3, 3)
    serving.close()


def test_equal_contents_that_wait_are_one_inference(sample: Any) -> None:
    serving = Serving(Store([sample.root]), Budget(BIG, 0, 1, 2, 1))
    hold = threading.Event()
    answers: list[bytes] = []

    def ask() -> None:
        data = sample.values.tobytes()
        answers.append(serving.infer_content(sample.model, data, BIG, 21).tobytes())

    threads = [threading.Thread(target=serving.workers.run, args=("busy", hold.wait))]
    threads += [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 30
    while serving.workers.load < 2 and time.monotonic() < until:
        time.sleep(0.001)
    assert serving.workers.load == 2
    hold.set()
    for thread in threads:
        thread.join()
    assert (len(answers), len(set(answers))) == (6, 1)
    serving.close()
