"""Parameter files and sidecars that lie: refused before anything large is allocated."""

from __future__ import annotations

import hashlib
import struct
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import FORMAT, is_checkpoint, read_checkpoint
from yolo_core.mxnet.params import decode_params, encode_params
from yolo_core.yolo.architecture import Architecture

ARCHITECTURE = Architecture.named("n", nc=1, names=["thing"])
PARAMETERS = {
    f"arg:{name}": np.zeros(shape, np.float32)
    for name, shape in ARCHITECTURE.parameter_shapes(fused=True).items()
}
FIRST = next(iter(PARAMETERS))
SMALL = encode_params({"arg:a": np.ones((2, 3), np.float32), "aux:b": np.zeros(4, np.int8)})


def header(count: int = 1) -> bytes:
    return struct.pack("<QQQ", 0x112, 0, count)


def array(
    shape: tuple[Any, ...],
    data: bytes = b"",
    dtype: int = 0,
    storage: int = 0,
    magic: int = 0xF993FAC9,
) -> bytes:
    sides = struct.pack(f"<{len(shape)}q", *shape)
    lead = struct.pack("<Iii", magic, storage, len(shape))
    return lead + sides + struct.pack("<iii", 1, 0, dtype) + data


def names(*found: bytes) -> bytes:
    return struct.pack("<Q", len(found)) + b"".join(
        struct.pack("<Q", len(name)) + name for name in found
    )


ONE = array((1,), bytes(4))

HOSTILE_PARAMS = {
    "nothing": b"",
    "magic": struct.pack("<QQQ", 0x113, 0, 0) + names(),
    "reserved": struct.pack("<QQQ", 0x112, 1, 0) + names(),
    "2^63 arrays": header(2**63) + ONE + names(b"a"),
    "2^64-1 arrays": header(2**64 - 1),
    "side of 2^62": header() + array((2**62, 4)) + names(b"a"),
    "sides that wrap": header() + array((2**32, 2**32)) + names(b"a"),
    "empty and endless": header() + array((0, 2**62)) + names(b"a"),
    "empty and wrapping": header() + array((0, 2**40, 2**40)) + names(b"a"),
    "negative side": header() + array((-1,)) + names(b"a"),
    "negative ndim": header() + struct.pack("<Iii", 0xF993FAC9, 0, -1) + bytes(40),
    "ndim of 2^31": header() + struct.pack("<Iii", 0xF993FAC9, 0, 2**31 - 1) + bytes(40),
    "array magic": header() + array((1,), bytes(4), magic=7) + names(b"a"),
    "sparse": header() + array((1,), bytes(4), storage=1) + names(b"a"),
    "dtype": header() + array((1,), bytes(4), dtype=99) + names(b"a"),
    "no name": header() + ONE + names(),
    "two names": header() + ONE + names(b"a", b"b"),
    "same name": header(2) + ONE + ONE + names(b"a", b"a"),
    "name of 2^63": header() + ONE + struct.pack("<QQ", 1, 2**63),
    "name not text": header() + ONE + names(b"\xff\xfe"),
    "trailing": header() + ONE + names(b"a") + b"\0",
    "pickle": b"\x80\x04\x95" + bytes(100),
    "zip": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("kind", HOSTILE_PARAMS)
def test_hostile_params(kind: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"^evil: "):
            decode_params(HOSTILE_PARAMS[kind], "evil")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", range(len(SMALL)))
def test_params_cut_anywhere(length: int) -> None:
    with pytest.raises(InputError):
        decode_params(SMALL[:length], "evil")


@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), max_size=4))
def test_params_changed_anywhere_are_read_or_refused(changes: list[Any]) -> None:
    data = bytearray(SMALL)
    for at, value in changes:
        data[at] = value
    try:
        found = decode_params(bytes(data), "evil")
    except InputError:
        return
    assert sum(value.nbytes for value in found.values()) <= len(SMALL)


def write(folder: Path, parameters: dict[str, Any], **changes: Any) -> Path:
    record = {"format": FORMAT, **ARCHITECTURE.to_dict(), "fused": True, "color": "rgb", "meta": {}}
    record.update(changes)
    text = yaml.safe_dump({key: value for key, value in record.items() if value is not ...})
    (folder / "x.yaml").write_text(text)
    (folder / "x-0000.params").write_bytes(encode_params(parameters))
    return folder / "x"


def test_the_whole_checkpoint_is_read(tmp_path: Path) -> None:
    assert read_checkpoint(write(tmp_path, PARAMETERS)).architecture == ARCHITECTURE


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({FIRST: np.full(PARAMETERS[FIRST].shape, np.nan, np.float32)}, "not finite"),
        ({FIRST: np.full(PARAMETERS[FIRST].shape, np.inf, np.float32)}, "not finite"),
        ({FIRST: np.full(PARAMETERS[FIRST].shape, 1e300)}, "not finite"),
        ({FIRST: np.zeros((1, 1), np.float32)}, "of shape"),
        ({FIRST: PARAMETERS[FIRST].T.copy()}, "of shape"),
        ({FIRST.replace("arg:", "aux:"): PARAMETERS[FIRST]}, "each name once"),
        ({"model.99.weight": PARAMETERS[FIRST]}, "each name once"),
        ({"x:" + FIRST: PARAMETERS[FIRST]}, "each name once"),
        ({"arg:model.99.weight": PARAMETERS[FIRST]}, "has model.99.weight"),
        ({"arg:": PARAMETERS[FIRST]}, "its parameters alone"),
    ],
)
def test_parameters_that_do_not_belong(change: dict[str, Any], cause: str, tmp_path: Path) -> None:
    stem = write(tmp_path, {**PARAMETERS, **change})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=cause):
            read_checkpoint(stem)


def test_a_missing_parameter_is_named(tmp_path: Path) -> None:
    rest = {name: value for name, value in PARAMETERS.items() if name != FIRST}
    with pytest.raises(InputError, match=f"lacks {FIRST[4:]}"):
        read_checkpoint(write(tmp_path, rest))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": ...},
        {"fused": "yes"},
        {"fused": ...},
        {"color": ["rgb"]},
        {"color": "cmyk"},
        {"meta": [1]},
        {"names": []},
        {"names": "thing"},
        {"names": {0: "thing"}},
        {"names": ["a"] * 9000, "nc": 9000},
        {"nc": 2},
        {"nc": [1]},
        {"anchors": 5},
        {"anchors": [[[1, 2]], [[1, 2], [3, 4]], [[1, 2]]]},
        {"anchors": [[[float("nan"), 2]] * 3] * 3},
        {"anchors": [[[-1.0, 2]] * 3] * 3},
        {"strides": [8, 16]},
        {"strides": [8, 16, 0]},
        {"size": "q"},
        {"size": ["n"]},
        {"depth_multiple": float("nan")},
        {"depth_multiple": 1e9},
        {"depth_multiple": "deep"},
        {"width_multiple": -1},
        {"width_multiple": float("inf")},
        {"width_multiple": ...},
        {"activation": "gelu"},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_hostile_sidecar(changes: dict[str, Any], tmp_path: Path) -> None:
    stem = write(tmp_path, PARAMETERS, **changes)
    with pytest.raises(InputError, match=r"x\.yaml: "):
        read_checkpoint(stem)


@pytest.mark.parametrize("multiple", [1e-9, 4.0])
def test_a_size_that_the_parameters_contradict(multiple: float, tmp_path: Path) -> None:
    stem = write(tmp_path, PARAMETERS, size="custom", width_multiple=multiple)
    with pytest.raises(InputError, match="of shape"):
        read_checkpoint(stem)


def test_parameters_under_the_sidecar_of_others_are_refused(tmp_path: Path) -> None:
    content = encode_params(PARAMETERS)
    digest = hashlib.sha256(content).hexdigest()
    assert read_checkpoint(write(tmp_path, PARAMETERS, params_sha256=digest)).fused
    other = {name: value + 1 for name, value in PARAMETERS.items()}
    (tmp_path / "x-0000.params").write_bytes(encode_params(other))
    with pytest.raises(InputError, match="SHA-256"):
        read_checkpoint(tmp_path / "x")
    # Parameters of another epoch are others, and named on purpose.
    (tmp_path / "x-0012.params").write_bytes(encode_params(other))
    assert read_checkpoint(tmp_path / "x-0012.params").fused
    wrong: list[Any] = [1, [digest], "0" * 64, {}]
    for stated in wrong:
        with pytest.raises(InputError, match="SHA-256"):
            read_checkpoint(write(tmp_path, PARAMETERS, params_sha256=stated))
    assert read_checkpoint(write(tmp_path, PARAMETERS)).fused


@pytest.mark.parametrize("name", ["", "/", ".", "..", ".yaml", "a\0b", "a" * 5000])
def test_names_that_are_no_checkpoint(name: str) -> None:
    assert not is_checkpoint(name)
    with pytest.raises(InputError):
        read_checkpoint(name)
