"""Bencoding: one spelling per value, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_core.errors import InputError
from yolo_cvm.bundle import bencode

SPELLINGS = [
    (0, b"i0e"),
    (-42, b"i-42e"),
    (b"", b"0:"),
    (b"spam", b"4:spam"),
    ([], b"le"),
    ({}, b"de"),
    ([b"a", 1, [b"b"]], b"l1:ai1el1:bee"),
    ({b"cow": b"moo", b"a": {b"z": 7}}, b"d1:ad1:zi7ee3:cow3:mooe"),
]

REFUSED = [
    b"",
    b"i",
    b"ie",
    b"i-e",
    b"i-0e",
    b"i00e",
    b"i03e",
    b"i+3e",
    b"i 3e",
    b"i3",
    b"i99999999999999999999e",
    b"1",
    b"1:",
    b"01:a",
    b"5:abcd",
    b"-1:a",
    b"99999999999999999999:a",
    b"1 :a",
    b"l",
    b"li1e",
    b"d",
    b"d1:a",
    b"d1:ae",
    b"di1ei2ee",
    b"dle1:ae",
    b"d1:bi1e1:ai2ee",
    b"d1:ai1e1:ai2ee",
    b"i1ei2e",
    b"i1e\n",
    b"x",
    b"l" * 100_000,
    b"l" * 17 + b"e" * 17,
    b"d1:a" * 100_000,
    b"l" + b"le" * 10_000 + b"e",
]

values = st.recursive(
    st.integers(-(10**18), 10**18) | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(("value", "spelling"), SPELLINGS)
def test_spelling(value: object, spelling: bytes) -> None:
    assert bencode.encode(value) == spelling
    assert bencode.decode(spelling, "x") == value


@pytest.mark.parametrize("spelling", REFUSED, ids=lambda s: repr(s[:24]))
def test_refused(spelling: bytes) -> None:
    with pytest.raises(InputError, match=r"^x: byte \d+: "):
        bencode.decode(spelling, "x")


@pytest.mark.parametrize("value", [None, "text", 1.5, True, {"text": 1}])
def test_foreign_types_are_not_encoded(value: object) -> None:
    with pytest.raises(TypeError):
        bencode.encode(value)


@given(values)
def test_round_trip(value: object) -> None:
    assert bencode.decode(bencode.encode(value), "x") == value


@given(values, st.data())
def test_what_is_read_is_canonical(value: object, data: st.DataObject) -> None:
    """Whatever a damaged spelling still means, it is the only spelling of that meaning."""
    spelling = bytearray(bencode.encode(value))
    at = data.draw(st.integers(0, len(spelling) - 1))
    spelling[at] = data.draw(st.integers(0, 255))
    try:
        read = bencode.decode(bytes(spelling), "x")
    except InputError:
        return
    assert bencode.encode(read) == spelling


@given(values)
def test_libtorrent_agrees(value: object) -> None:
    libtorrent = pytest.importorskip("libtorrent", reason="libtorrent is not installed")
    assert libtorrent.bencode(value) == bencode.encode(value)
    assert libtorrent.bdecode(bencode.encode(value)) == value
