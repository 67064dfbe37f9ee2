"""The transaction payloads: the vectors of spec section 10 and the chain's rules."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_core.errors import InputError
from yolo_cvm.bundle import rlp
from yolo_cvm.bundle.chain import (
    TRANSACTION_GAS_CAP,
    call_cost,
    memory_gas,
    push_count,
    quota_blocks,
)
from yolo_cvm.bundle.payload import NO_AUTHOR, InputMeta, ModelMeta, parse_address

MODEL = ModelMeta("demo", "11" * 20, 2_000_000, (1, 3, 640, 640), (1, 25200, 85), 0, "22" * 20)
MODEL_HEX = (
    "0001 f844 8464656d6f 94 1111111111111111111111111111111111111111 831e8480"
    "c80103820280820280 c50182627055 80 94 2222222222222222222222222222222222222222 80"
)
INPUT = InputMeta("in", "33" * 20, 1_228_928, (1, 3, 640, 640))
INPUT_HEX = (
    "0002 e6 82696e 94 3333333333333333333333333333333333333333 8312c080c80103820280820280 80"
)


def test_model_vector() -> None:
    assert MODEL.encode() == bytes.fromhex(MODEL_HEX)
    assert ModelMeta.decode(bytes.fromhex(MODEL_HEX), "x") == MODEL


def test_input_vector() -> None:
    assert INPUT.encode() == bytes.fromhex(INPUT_HEX)
    assert InputMeta.decode(bytes.fromhex(INPUT_HEX), "x") == INPUT


def test_no_author_is_twenty_zero_bytes() -> None:
    payload = dataclasses.replace(MODEL, author=NO_AUTHOR).encode()
    assert payload.endswith(b"\x94" + bytes(20) + b"\x80")


@given(
    st.text(max_size=40),
    st.binary(min_size=20, max_size=20),
    st.integers(1, 1 << 30),
    st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=6),
    st.integers(0, 20_000),
)
def test_round_trip(comment: str, digest: bytes, size: int, sides: list[int], royalty: int) -> None:
    shape = tuple(sides)
    model = ModelMeta(comment, digest.hex(), size, shape, shape, royalty, digest.hex())
    assert ModelMeta.decode(model.encode(), "x") == model
    stored = InputMeta(comment, digest.hex(), size, shape)
    assert InputMeta.decode(stored.encode(), "x") == stored


@pytest.mark.parametrize("royalty", [20_001, 400_000, 400_001, -1])
def test_royalty_that_kills_the_model_is_refused_with_the_reason(royalty: int) -> None:
    with pytest.raises(InputError, match=r"refuses every call.*expected 0 to 20000"):
        dataclasses.replace(MODEL, royalty=royalty)


def test_largest_royalty_is_taken() -> None:
    assert dataclasses.replace(MODEL, royalty=20_000).encode() != MODEL.encode()


@pytest.mark.parametrize(
    "change",
    [
        {"raw_size": 0},
        {"raw_size": (1 << 30) + 1},
        {"info_hash": "11" * 19},
        {"info_hash": "AA" * 20},
        {"author": "zz" * 20},
        {"input_shape": ()},
        {"input_shape": (1, 0)},
        {"output_shape": (1, 2**64)},
        {"comment": "x" * 24_500},
        {"comment": "\ud800"},
    ],
)
def test_fields_out_of_range(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        dataclasses.replace(MODEL, **change)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"demo"] * 7,
        [b"demo"] * 8,
        [b"demo", b"\x11" * 20, b"\1", [b"\1"], [b"\1"], b"", b"\x22" * 20, b"\5"],
        [b"demo", b"\x11" * 19, b"\1", [b"\1"], [b"\1"], b"", b"\x22" * 20, b""],
        [b"demo", b"\x11" * 20, b"\0\1", [b"\1"], [b"\1"], b"", b"\x22" * 20, b""],
        [b"demo", b"\x11" * 20, b"\1", [[b"\1"]], [b"\1"], b"", b"\x22" * 20, b""],
        [b"\xff", b"\x11" * 20, b"\1", [b"\1"], [b"\1"], b"", b"\x22" * 20, b""],
        [b"demo", b"\x11" * 20, b"\1", b"\1", [b"\1"], b"", b"\x22" * 20, b""],
    ],
)
def test_malformed_model_payloads(fields: list[Any]) -> None:
    with pytest.raises(InputError):
        ModelMeta.decode(b"\0\1" + rlp.encode(fields), "x")


def test_payloads_longer_than_code_are_refused() -> None:
    with pytest.raises(InputError, match=r"longer than the chain stores; expected 24576 bytes"):
        InputMeta("x" * 24_600, "33" * 20, 5, (1,))
    with pytest.raises(InputError, match=r"x: the payload is longer"):
        ModelMeta.decode(b"\0\1" + rlp.encode([b"\1"] * 30_000), "x")


def test_the_type_is_checked() -> None:
    with pytest.raises(InputError, match="type 0x0001; expected 0x0002"):
        InputMeta.decode(MODEL.encode(), "x")
    with pytest.raises(InputError, match="type 0x; expected 0x0001"):
        ModelMeta.decode(b"", "x")


@pytest.mark.parametrize("text", ["0x" + "aB" * 20, "ab" * 20, "0X" + "AB" * 20])
def test_address(text: str) -> None:
    assert parse_address(text) == "ab" * 20


@pytest.mark.parametrize("text", ["", "0x", "0x" + "ab" * 19, "xy" * 20])
def test_no_address(text: str) -> None:
    with pytest.raises(InputError, match="40 hexadecimal"):
        parse_address(text)


@pytest.mark.parametrize(("size", "pushes"), [(1, 1), (524_288, 1), (524_289, 2), (1_900_000, 4)])
def test_pushes(size: int, pushes: int) -> None:
    assert push_count(size) == pushes


def test_quota_of_a_full_push() -> None:
    assert quota_blocks(524_288) == 8


def test_call_cost_of_the_original_yolov5n() -> None:
    """Spec 5.2: about 0.38 M gas, raised to the floor for INFERARRAY."""
    cost = call_cost(7_663_403_785, royalty=5)
    assert (cost.infer, cost.inferarray, cost.fits) == (383_175, 1_000_005, True)


def test_cap_of_a_transaction() -> None:
    assert call_cost(TRANSACTION_GAS_CAP * 20_000, 0).fits
    assert not call_cost((TRANSACTION_GAS_CAP + 1) * 20_000, 0).fits


@pytest.mark.parametrize(
    ("size", "gas"),
    [(2_400, 235), (7_200, 773), (24_000, 3_348), (2_142_000, 8_952_173), (8_568_000, 140_822_903),
     (1_228_800, 2_995_200), (9_796_800, 183_980_603)],
)  # fmt: skip
def test_memory_of_a_contract(size: int, gas: int) -> None:
    assert memory_gas(size) == gas


def test_the_output_can_make_a_model_uncallable() -> None:
    """The rows of a 640 model against its boxes; input and output together where both count."""
    rows = call_cost(7_867_646_182, 0, 8_568_000, 1_228_800)
    assert (rows.infer, rows.fits, rows.both_memory) == (393_382, False, 183_980_603)
    boxes = call_cost(7_878_000_000, 0, 2_400, 1_228_800)
    assert (boxes.fits, boxes.fits_with_input, boxes.call) == (True, True, 1_000_235)
