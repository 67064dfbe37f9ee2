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
    atomic_folder,
    atomic_write,
    read_bytes,
    read_json,
    sha256_file,
)
from yolo_core.words import NAME_LIMIT, shown, text_fault
from yolo_core.yaml_file import YAML_LIMIT, read_yaml, yaml_text

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
        ("? " * 100_000, "not a word"),
        ("a: " + "9" * 500_000, "number of 500000"),
        ("a: 0x" + "f" * 4090, "number of 4092"),
        ("a: 1." + "5" * 4090, "number of 4092"),
        ("a: &a [x]\nb: [*a, *a]", "alias"),
        ("a: &a {x: 1}\nb: {<<: *a}", "alias"),
        ("a: !!python/name:os.system", "tag"),
        ("a: !!python/object/new:os.system [x]", "tag"),
        ("!<tag:example.org,2000:x> a", "tag"),
        ("a: !!bool foo", "tag"),
        ('a: !!int ""', "tag"),
        ('a: !!int "' + ":".join(["59"] * 100_000) + '"', "tag"),
        ('a: !!timestamp "x"', "tag"),
        ('a: !!float ""', "tag"),
        ("a: !!set [1]", "tag"),
        ("a: !x y", "tag"),
        ("? [a]\n: 1", "not a word"),
        ("{{a: 1}: 2}", "not a word"),
        ("a: 1\na: 2", "twice"),
        ("a: 1\n---\nb: 1", "several documents"),
        ("a: \x07", "not valid YAML"),
        ("%YAML 9.9\n---\na", "not valid YAML"),
    ],
    ids=lambda value: repr(value[:16]),
)
def test_hostile_yaml(text: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=cause):
        read_yaml(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("a:", {"a": None}), ("[yes, no, on, 'true']", ["yes", "no", "on", "true"]),
        ("[True, false, ~, null]", [True, False, None, None]),
        ("[1, -2, 010, 0o17, 0x1F, +3]", [1, -2, 10, 15, 31, 3]),
        ("[1e-3, .5, 1., -1.5E+2]", [0.001, 0.5, 1.0, -150.0]),
        ("[.inf, -.inf]", [float("inf"), float("-inf")]),
        ("[1:59:59, 2024-99-99, 0x_, 1_000]", ["1:59:59", "2024-99-99", "0x_", "1_000"]),
        ("{<<: 1, 2: b}", {"<<": 1, 2: "b"}), ("'1'", "1"), ("|\n 1\n", "1\n"),
    ],
)  # fmt: skip
def test_yaml_is_read_by_the_core_schema(text: str, value: object, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    assert read_yaml(tmp_path / "x.yaml") == value


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=9)
    | st.floats(allow_nan=False)
    | st.sampled_from(["1e5", "0o17", "0x1F", ".5", "1.", "yes", "12:30", "~", ".inf"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=9,
))  # fmt: skip
def test_what_is_written_as_yaml_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, content: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_text(yaml_text(content), "utf-8")
    assert read_yaml(path) == content


def test_keys_of_one_hash_take_no_time(tmp_path: Path) -> None:
    lines = (f"{number * (2**61 - 1)}: x\n" for number in range(1, 30_000))
    (tmp_path / "x.yaml").write_text("".join(lines))
    with pytest.raises(InputError, match="has the key 2305843009213693951; expected at most"):
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


HOSTILE_WORDS = [
    "a\n  99  conv2d  invented", "visible\rOVERWRITTEN", "\x9b2J cleared", "\x9d0;x\x9c", "\x1b[2J",
    "safe\u202etxt.exe", "\u2066isolated\u2028line\u2029paragraph", "\x85x", "nul\0", "\ud800",
    "x" * 40_000,
]  # fmt: skip


@pytest.mark.parametrize("word", HOSTILE_WORDS, ids=lambda word: repr(word[:12]))
def test_a_hostile_word_is_shown_on_one_short_line_and_refused_as_a_name(word: str) -> None:
    line = shown(word)
    assert line.isprintable()
    assert len(line) < 1000
    assert text_fault(word)


@pytest.mark.parametrize("word", ["person", "traffic light", "猫", "1e5", "à", "x" * NAME_LIMIT])
def test_an_honest_name_is_left_alone(word: str) -> None:
    assert shown(word) == word
    assert text_fault(word) is None


def test_json_is_counted_before_it_is_built(tmp_path: Path) -> None:
    file = tmp_path / "bomb.json"
    file.write_text("[" + "[]," * (1 << 20) + "[]]")
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="values"):
            read_json(file)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    file.write_text('["' + ",[{" * 400_000 + '"]')
    assert len(read_json(file)) == 1


def test_half_a_surrogate_pair_in_json_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"a": ["\\ud800"]}')
    with pytest.raises(InputError, match="surrogate"):
        read_json(file)
    file.write_text('{"a": ["\\ud83d\\ude00"]}')
    assert read_json(file) == {"a": ["\U0001f600"]}
