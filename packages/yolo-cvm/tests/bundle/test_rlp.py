"""RLP: one spelling per value, and nothing else is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_core.errors import InputError
from yolo_cvm.bundle import rlp

SPELLINGS = [
    (b"", "80"),
    (b"\x00", "00"),
    (b"\x7f", "7f"),
    (b"\x80", "8180"),
    (b"dog", "83646f67"),
    ([b"cat", b"dog"], "c88363617483646f67"),
    ([], "c0"),
    ([[], [[]], [[], [[]]]], "c7c0c1c0c3c0c1c0"),
    (b"a" * 55, "b7" + "61" * 55),
    (b"a" * 56, "b838" + "61" * 56),
    (b"a" * 1024, "b90400" + "61" * 1024),
    ([b"a"] * 55, "f7" + "61" * 55),
    ([b"a"] * 56, "f838" + "61" * 56),
]

NUMBERS = [(0, "80"), (15, "0f"), (127, "7f"), (128, "8180"), (1024, "820400")]

REFUSED = [
    "",  # nothing
    "8100",  # a small byte in long form
    "817f",
    "83646f",  # cut short
    "b8",  # no length
    "b837" + "61" * 55,  # long form of a short string
    "b90038" + "61" * 56,  # length with a leading zero
    "bfffffffffffffffff",  # 2^64 bytes
    "c883636174",  # a list cut short
    "c18363",  # an item beyond its list
    "f800",
    "f8",
    "0000",  # bytes after the value
    "c000",
]

values = st.recursive(
    st.binary(max_size=80), lambda inner: st.lists(inner, max_size=5), max_leaves=15
)


@pytest.mark.parametrize(("value", "spelling"), SPELLINGS)
def test_spelling(value: object, spelling: str) -> None:
    assert rlp.encode(value).hex() == spelling
    assert rlp.decode(bytes.fromhex(spelling), "x") == value


@pytest.mark.parametrize(("value", "spelling"), NUMBERS)
def test_numbers(value: int, spelling: str) -> None:
    assert rlp.encode(value).hex() == spelling
    assert rlp.bytes_to_number(rlp.decode(bytes.fromhex(spelling), "x"), "x") == value


def test_leading_zeros_are_refused() -> None:
    with pytest.raises(InputError, match="leading zeros"):
        rlp.bytes_to_number(b"\0\1", "x")


@pytest.mark.parametrize("spelling", REFUSED, ids=lambda s: s[:24])
def test_refused(spelling: str) -> None:
    with pytest.raises(InputError, match=r"^x: byte \d+: "):
        rlp.decode(bytes.fromhex(spelling), "x")


def test_deep_nesting_is_refused() -> None:
    value: list[Any] = []
    for _ in range(20):
        value = [value]
    with pytest.raises(InputError, match="deeper than 16"):
        rlp.decode(rlp.encode(value), "x")


@pytest.mark.parametrize("value", [None, "text", 1.5, True])
def test_foreign_types_are_not_encoded(value: object) -> None:
    with pytest.raises(TypeError):
        rlp.encode(value)


def test_negative_numbers_are_not_encoded() -> None:
    with pytest.raises(ValueError, match="negative"):
        rlp.encode(-1)


@given(values)
def test_round_trip(value: object) -> None:
    assert rlp.decode(rlp.encode(value), "x") == value


@given(values, st.data())
def test_what_is_read_is_canonical(value: object, data: st.DataObject) -> None:
    """Whatever a damaged spelling still means, it is the only spelling of that meaning."""
    spelling = bytearray(rlp.encode(value))
    at = data.draw(st.integers(0, len(spelling) - 1))
    spelling[at] = data.draw(st.integers(0, 255))
    try:
        read = rlp.decode(bytes(spelling), "x")
    except InputError:
        return
    assert rlp.encode(read) == spelling


@given(values)
def test_the_rlp_package_agrees(value: object) -> None:
    peer = pytest.importorskip("rlp", reason="the rlp package is not installed")
    assert peer.encode(value) == rlp.encode(value)
    assert peer.decode(rlp.encode(value), strict=True) == value
