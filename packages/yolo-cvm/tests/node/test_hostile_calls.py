"""The library of a node under hostile calls: the fuzzer's sessions, and that they can fail."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from runtime import Runtime, daemons, kill_daemon

from yolo_cvm.node.install import built, install

if not built().is_file():
    pytest.skip("the package was installed without a C compiler", allow_module_level=True)

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "fuzz"))

import calls


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """A copy of the library, whose daemon ends with the test."""
    others = daemons()
    yield Runtime(install(tmp_path / "plugins"))
    kill_daemon(others)


def test_no_hostile_call_is_answered_or_leaves_a_trace(runtime: Runtime, tmp_path: Path) -> None:
    sound = calls.sample(tmp_path / "model")
    session = calls.Session(runtime, sound, random.Random(0))
    assert [wrong for wrong in (session.step() for _ in range(60)) if wrong] == []
    for call in (session.load, session.infer, session.infer_hostile, session.kill, session.infer):
        assert call() == ""

    session.sound = replace(sound, answer=sound.answer[::-1] + b"x")
    assert "other bytes" in session.infer()
    for net in session.alive:
        runtime.free(net)
