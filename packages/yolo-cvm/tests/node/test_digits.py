"""Digits of the protocol: the same on every instruction set and without the compiled library."""

from __future__ import annotations

import string

import numpy as np
import pytest

from yolo_cvm.engine import ARCH_VARIABLE, library
from yolo_cvm.node import digits
from yolo_cvm.node.digits import Digits


@pytest.mark.parametrize("arch", ["", *library.instruction_sets()])
@pytest.mark.parametrize("kind", [np.int8, np.int32])
@pytest.mark.parametrize("count", [0, 1, 5, (1 << 15) - 1, (1 << 16) + 3])
def test_digits_are_those_of_the_bytes(
    kind: type, count: int, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ARCH_VARIABLE, arch)
    held = np.iinfo(kind)
    values = np.random.default_rng(count).integers(held.min, held.max, count, kind, endpoint=True)
    spelled = Digits(values, b"<", b">")
    expected = values.astype(np.dtype(kind).newbyteorder(">")).tobytes().hex().encode()
    assert bytes(spelled) == b"<" + expected + b">"
    assert len(spelled) == len(expected) + 2


@pytest.mark.parametrize("arch", ["", "python", *library.instruction_sets()])
def test_digits_of_either_case_are_read_and_nothing_else(
    arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if arch == "python":
        monkeypatch.setattr(library, "opened", lambda: None)
    monkeypatch.setenv(ARCH_VARIABLE, arch)
    for count in (0, 1, 1023, 1024, 3001):
        content = np.random.default_rng(count).bytes(count)
        assert digits.read(memoryview(content.hex().encode())) == content
        assert digits.read(memoryview(content.hex().upper().encode())) == content
    spelled = content.hex().encode()
    assert digits.read(memoryview(spelled[1:])) is None
    for code in range(256):
        for at in (0, 2047, 2048, len(spelled) - 1):
            changed = bytearray(spelled)
            changed[at] = code
            found = digits.read(memoryview(changed))
            right = bytes.fromhex(changed.decode()) if chr(code) in string.hexdigits else None
            assert found == right, (code, at)
