"""Scoring on a Dask cluster gives what one machine gives, whatever becomes of the workers."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import run

distributed = pytest.importorskip("distributed", reason="Dask is not installed (yolo-eval[dask])")


@pytest.fixture(scope="module")
def cluster(_plugin: None) -> Iterator[Any]:
    """Two workers, each a process whose nanny starts it again when it is killed."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as found:
        yield found


def test_the_result_is_that_of_one_machine_to_the_byte(
    cluster: Any, model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    data = ("--data", shapes / "data.yaml")
    one, many = tmp_path / "one", tmp_path / "many"
    where = {one: (), many: ("--dask", cluster.scheduler_address)}
    path = model(shift=2)
    for place, words in where.items():
        result = run("coco", path, *data, "--predictions", f"{place}.json", "--text",
                     f"{place}.txt", "--json", f"{place}.run", *words)  # fmt: skip
        assert result.exit_code == 0, result.output
    for ending in ("json", "txt"):
        assert Path(f"{one}.{ending}").read_bytes() == Path(f"{many}.{ending}").read_bytes()
    first, second = (json.loads(Path(f"{place}.run").read_text()) for place in where)
    for content in (first, second):
        del content["provenance"]
    assert first == second


def test_a_shard_is_done_by_the_cluster_too(
    cluster: Any, model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    parts = []
    for number in (1, 2):
        parts.append(tmp_path / f"{number}.json")
        result = run("coco", model(), "--data", shapes / "data.yaml", "--json", parts[-1],
                     "--shard", f"{number}/2", "--dask", cluster.scheduler_address)  # fmt: skip
        assert result.exit_code == 0, result.output
    assert run("merge", *parts, "--json", tmp_path / "whole.json").exit_code == 0
    run("coco", model(), "--data", shapes / "data.yaml", "--json", tmp_path / "one.json")
    whole, one = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "one"))
    assert whole["predictions"] == one["predictions"]
    assert whole["metrics"] == one["metrics"]


def test_workers_that_are_killed_come_back_and_nothing_is_lost(
    cluster: Any, model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    killed = []

    def kill_all() -> None:
        with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and not any(client.processing().values()):
                time.sleep(0.02)
            killed.extend(client.run(os.getpid).values())
        for worker in killed:
            os.kill(worker, signal.SIGKILL)

    path = model(slow=0.05)
    data = ("--data", shapes / "data.yaml")
    killer = threading.Thread(target=kill_all)
    killer.start()
    result = run("coco", path, *data, "--predictions", tmp_path / "many.json", "--dask",
                 cluster.scheduler_address)  # fmt: skip
    killer.join()
    assert result.exit_code == 0, result.output
    assert len(killed) == 2
    assert run("coco", path, *data, "--predictions", tmp_path / "one.json").exit_code == 0
    assert (tmp_path / "many.json").read_bytes() == (tmp_path / "one.json").read_bytes()


def test_an_error_on_a_worker_is_one_line_and_the_same_command_goes_on(
    cluster: Any, model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    path, out = model(), tmp_path / "run.json"
    words = ("coco", path, "--data", shapes / "data.yaml", "--json", out)
    pictures = shapes / "images/val"
    hidden = pictures / "11.png"
    content = hidden.read_bytes()

    from yolo_eval.runs import cluster as module

    with pytest.MonkeyPatch.context() as patch:
        whole = module._client

        def damaged(address: str) -> Any:
            hidden.write_bytes(b"no picture")
            return whole(address)

        patch.setattr(module, "_client", damaged)
        result = run(*words, "--dask", cluster.scheduler_address)
    hidden.write_bytes(content)
    assert result.exit_code == 2, result.output
    assert "11.png" in result.output.splitlines()[-1]
    again = run(*words, "--dask", cluster.scheduler_address)
    assert again.exit_code == 0, again.output
    assert not out.with_name("run.json.journal").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--dask", "tcp://127.0.0.1:9", "--jobs", "2"), "--jobs: does not go with --dask"),
        (("--dask", "nowhere://x"), "nowhere://x: does not answer as a Dask scheduler"),
    ],
)
def test_what_is_no_cluster_is_refused(
    words: tuple[str, ...], said: str, model: Callable[..., Path], shapes: Path
) -> None:
    result = run("coco", model(), "--data", shapes / "data.yaml", *words)
    assert result.exit_code == 2
    assert said in result.output


def test_without_dask_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, model: Callable[..., Path], shapes: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("coco", model(), "--data", shapes / "data.yaml", "--dask", "tcp://127.0.0.1:9")
    assert result.exit_code == 2
    assert "pip install distributed" in result.output
