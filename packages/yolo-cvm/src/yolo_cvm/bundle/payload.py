"""What a transaction carries to announce a model or an input to the chain (spec 7.3).

Two bytes of type, then an RLP list. A payload that the chain would take but never run is
refused here, with the chain's rule as the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from yolo_core.errors import InputError
from yolo_cvm.bundle import rlp
from yolo_cvm.bundle.chain import MAX_CODE_BYTES, MAX_RAW_SIZE, MAX_ROYALTY

MODEL_TYPE, INPUT_TYPE = b"\x00\x01", b"\x00\x02"
NO_AUTHOR = "0" * 40

_HEX40 = re.compile("[0-9a-f]{40}")
_UINT64 = 1 << 64
#: Room for the block number that the node writes into the stored list in place of the zero.
_BLOCK_NUMBER_BYTES = 8


@dataclass(frozen=True)
class ModelMeta:
    """The eight fields of a model, in order.

    comment: free text. info_hash, author: 40 lower-case hexadecimal digits; the author receives
    the royalty, `NO_AUTHOR` for nobody. raw_size: bytes of symbol and params. input_shape,
    output_shape: as the graph has them. royalty: gas paid per call (the chain's field `Gas`).
    """

    comment: str
    info_hash: str
    raw_size: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    royalty: int = 0
    author: str = NO_AUTHOR

    def __post_init__(self) -> None:
        _check_text(self.comment)
        _check_hex(self.info_hash, "info hash")
        _check_hex(self.author, "author")
        _check_shape(self.input_shape, "input shape")
        _check_shape(self.output_shape, "output shape")
        if not 0 < self.raw_size <= MAX_RAW_SIZE:
            raise InputError("model size", f"{self.raw_size} bytes", f"1 to {MAX_RAW_SIZE}")
        if not 0 <= self.royalty <= MAX_ROYALTY:
            raise InputError(
                "royalty",
                f"the chain refuses every call of a model that asks {self.royalty} gas, "
                f"and the field cannot be changed once the model exists",
                f"0 to {MAX_ROYALTY}",
            )
        _check_room(self.encode(), "comment")

    def encode(self) -> bytes:
        """The data of the creation transaction; the block number is zero, the node fills it."""
        return MODEL_TYPE + rlp.encode(
            [
                self.comment.encode(),
                bytes.fromhex(self.info_hash),
                self.raw_size,
                self.input_shape,
                self.output_shape,
                self.royalty,
                bytes.fromhex(self.author),
                0,
            ]
        )

    @classmethod
    def decode(cls, data: bytes, source: str) -> ModelMeta:
        """The reverse of `encode`, with every rule checked."""
        fields = _fields(data, MODEL_TYPE, 8, source)
        _check_block_number(fields[7], source)
        return cls(
            comment=_text(fields[0], source),
            info_hash=fields[1].hex(),
            raw_size=rlp.bytes_to_number(fields[2], source),
            input_shape=_shape(fields[3], source),
            output_shape=_shape(fields[4], source),
            royalty=rlp.bytes_to_number(fields[5], source),
            author=fields[6].hex(),
        )


@dataclass(frozen=True)
class InputMeta:
    """The five fields of a stored input: a `.npy` file of `raw_size` bytes."""

    comment: str
    info_hash: str
    raw_size: int
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_text(self.comment)
        _check_hex(self.info_hash, "info hash")
        _check_shape(self.shape, "input shape")
        if not 0 < self.raw_size < _UINT64:
            raise InputError("input size", f"{self.raw_size} bytes", "at least 1")
        _check_room(self.encode(), "comment")

    def encode(self) -> bytes:
        """The data of the creation transaction."""
        fields = [self.comment.encode(), bytes.fromhex(self.info_hash), self.raw_size]
        return INPUT_TYPE + rlp.encode([*fields, self.shape, 0])

    @classmethod
    def decode(cls, data: bytes, source: str) -> InputMeta:
        """The reverse of `encode`, with every rule checked."""
        fields = _fields(data, INPUT_TYPE, 5, source)
        _check_block_number(fields[4], source)
        return cls(
            comment=_text(fields[0], source),
            info_hash=fields[1].hex(),
            raw_size=rlp.bytes_to_number(fields[2], source),
            shape=_shape(fields[3], source),
        )


def parse_address(text: str) -> str:
    """An address as people write it, with or without 0x, as 40 lower-case digits."""
    digits = text[2:] if text[:2].lower() == "0x" else text
    _check_hex(digits.lower(), "author")
    return digits.lower()


def _fields(data: bytes, kind: bytes, count: int, source: str) -> list[Any]:
    if data[:2] != kind:
        raise InputError(source, f"has the type 0x{data[:2].hex()}", f"0x{kind.hex()}")
    _check_room(data, source)
    fields = rlp.decode(data[2:], source)
    if not isinstance(fields, list) or len(fields) != count:
        raise InputError(source, "has the wrong number of fields", f"a list of {count}")
    for index, field in enumerate(fields):
        is_shape = index in ((3, 4) if kind == MODEL_TYPE else (3,))
        if isinstance(field, list) != is_shape:
            raise InputError(source, f"field {index + 1} is of the wrong kind")
    return fields


def _text(field: bytes, source: str) -> str:
    try:
        return field.decode()
    except UnicodeDecodeError as error:
        raise InputError(source, "the comment is not UTF-8 text") from error


def _shape(field: list[Any], source: str) -> tuple[int, ...]:
    if not all(isinstance(item, bytes) for item in field):
        raise InputError(source, "a shape holds a list", "numbers")
    return tuple(rlp.bytes_to_number(item, source) for item in field)


def _check_block_number(field: bytes, source: str) -> None:
    if field:
        raise InputError(source, "carries a block number", "zero: the node fills it in")


def _check_room(payload: bytes, source: str) -> None:
    """Refuse a payload that is longer than an account's code, which is where it is stored."""
    if len(payload) + _BLOCK_NUMBER_BYTES > MAX_CODE_BYTES:
        raise InputError(
            source, "the payload is longer than the chain stores", f"{MAX_CODE_BYTES} bytes in all"
        )


def _check_text(comment: str) -> None:
    try:
        comment.encode()
    except UnicodeEncodeError as error:
        raise InputError("comment", "is not text", "UTF-8") from error


def _check_hex(text: str, what: str) -> None:
    if not _HEX40.fullmatch(text):
        raise InputError(what, f"{text!r} is not allowed", "40 hexadecimal digits")


def _check_shape(shape: tuple[int, ...], what: str) -> None:
    if not shape or not all(0 < size < _UINT64 for size in shape):
        raise InputError(what, f"{tuple(shape)} is not allowed", "sizes from 1 up")
