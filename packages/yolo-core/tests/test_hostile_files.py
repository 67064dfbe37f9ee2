"""Files that mean harm: names, sizes and notations that cost more than they look."""

from __future__ import annotations

import contextlib
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_core.errors import LINE_LIMIT, InputError
from yolo_core.files import (
    YAML_LIMIT,
    atomic_folder,
    atomic_write,
    read_bytes,
    read_json,
    read_yaml,
    sha256_file,
)

HOSTILE_NAMES = ["", "/", ".", "..", "a\0b", "a" * 5000, "/dev/null/x", "/proc/self/mem/x"]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: repr(name[:12]))
def test_hostile_names_are_refused(name: str) -> None:
    for read in (lambda: read_bytes(name, 10), lambda: sha256_file(name)):
        with pytest.raises(InputError):
            read()


@pytest.mark.parametrize("name", ["/", ".", "..", "a\0b", "a" * 5000, "/dev/null/x"])
def test_hostile_names_are_not_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        atomic_write(name, b"x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000, "/dev/null/x"])
def test_hostile_folder_names_are_not_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError), atomic_folder(name):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [".", "..", "../.."])
def test_the_folder_one_works_in_is_not_replaced(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(InputError, match="work in"), atomic_folder(name):
        pass
    assert os.listdir(tmp_path) == ["a"]


def test_a_large_limit_costs_no_memory(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x" * 1000)
    tracemalloc.start()
    try:
        assert len(read_bytes(tmp_path / "small", 1 << 30)) == 1000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_large_file_is_refused_without_being_read(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as stream:
        stream.truncate(1 << 40)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="larger than"):
            read_bytes(tmp_path / "sparse", 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        # The scanner reads ahead of us here, and a recent libyaml has a limit of its own.
        ("[" * 500_000, "nested too deep|not valid YAML"),
        ("- " * 100_000, "nested too deep"),
        ("{a: " * 100_000, "nested too deep"),
        ("? " * 100_000, "nested too deep"),
        ("a: " + "9" * 500_000, "word of 500000"),
        ("a: " + ":".join(["59"] * 100_000), "word of"),
        ("a: &a [x]\nb: [*a, *a]", "alias"),
        ("a: &a {x: 1}\nb: {<<: *a}", "alias"),
        ("a: !!python/name:os.system", "not valid YAML"),
        ("a: !!python/object/new:os.system [x]", "not valid YAML"),
        ("!<tag:example.org,2000:x> a", "not valid YAML"),
        ("a: 2024-99-99", "not valid YAML"),
        ("? [a]\n: 1", "not valid YAML"),
        ("a: 1\n---\nb: 1", "not valid YAML"),
        ("a: \x07", "not valid YAML"),
        ("%YAML 9.9\n---\na", "not valid YAML"),
    ],
    ids=lambda value: repr(value[:16]),
)
def test_hostile_yaml(text: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=cause):
        read_yaml(tmp_path / "x.yaml")


def test_yaml_has_its_own_limit(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("#" * (YAML_LIMIT + 1))
    with pytest.raises(InputError, match="larger than"):
        read_yaml(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1,]", b'{"a": }', b"\xff", b"[" * 100_000, b'"\\ud800', b"9" * 5 + b"x"]
)
def test_hostile_json(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(InputError):
        read_json(tmp_path / "x.json")


@given(st.binary(max_size=200))
def test_any_bytes_are_yaml_and_json_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    for read in (read_yaml, read_json):
        with contextlib.suppress(InputError):
            read(path)


def test_an_error_about_megabytes_is_one_readable_line() -> None:
    line = str(InputError("f.txt", "has the word " + "x" * 1_000_000, "a number"))
    assert len(line) <= LINE_LIMIT + 3
    assert line.startswith("f.txt: has the word xxx")
    assert line.endswith("xxx; expected a number")


def test_an_error_cannot_write_to_the_terminal() -> None:
    assert str(InputError("a\x1b[2J", "b\r\u202ec")).isprintable()


def test_devices_are_not_read() -> None:
    for device in ("/dev/zero", "/dev/stdin", "/dev/tty"):
        if os.path.exists(device):
            with pytest.raises(InputError, match="regular file"):
                read_bytes(device, 10)
