"""Inputs that a node stores: which files are read, and as which integers (spec A20, A21)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cvm_samples import some_input, write_model
from node_samples import BIG, LOGIC, RUNTIME, Client, name_of, npy, ok, put, running

from yolo_core.graph import GraphBuilder


def npy_text(header: str, data: bytes, version: bytes = b"\x01\x00") -> bytes:
    text = header.encode()
    size = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + size + text + data


HEADER = "{'descr': '|i1', 'fortran_order': False, 'shape': (1, 2, 4, 5), }"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (HEADER, "ok"),
        (HEADER.replace("|i1", "<i1").replace("False", "True"), "ok"),
        ("'shape': (40) 'descr':   '?i1' 'fortran_order': True", "ok"),
        (HEADER.replace("1, 2, 4, 5", "40, , -7"), "ok"),
        (HEADER.replace("1, 2, 4, 5", "41"), LOGIC),
        (HEADER.replace("1, 2, 4, 5", ""), RUNTIME),
        (HEADER.replace("1, 2, 4, 5", "0"), RUNTIME),
        (HEADER.replace("|i1", "|u1"), LOGIC),
        (HEADER.replace("|i1", "<f4"), LOGIC),
        (HEADER.replace("'descr'", '"descr"'), LOGIC),
        (HEADER.replace("False", "0"), LOGIC),
        (HEADER.replace("shape", "form"), LOGIC),
        (HEADER.replace("1, 2, 4, 5", "1, x"), RUNTIME),
        (HEADER.replace("1, 2, 4, 5", "-40"), RUNTIME),
        (HEADER.replace("|i1", ""), RUNTIME),
        (HEADER.replace("1, 2, 4, 5", "-5, -8"), "ok"),
        (HEADER.replace("1, 2, 4, 5", "4294967296, 4294967296"), RUNTIME),
        (HEADER.replace("1, 2, 4, 5", "9223372036854775808"), RUNTIME),
        (HEADER.replace("1, 2, 4, 5", "1099511627776"), LOGIC),
        (HEADER.replace("1, 2, 4, 5", "4611686018427387904"), RUNTIME),
        (HEADER.replace("1, 2, 4, 5", "(40"), LOGIC),
        (HEADER.replace("1, 2, 4, 5", "40))"), RUNTIME),
    ],
)
def test_headers_of_stored_inputs(
    client: Client, sample: Any, header: str, expected: str | bytes
) -> None:
    put(sample.root, name_of("odd"), {"data": npy_text(header, sample.values.tobytes())})
    answer = client.infer(
        type=1, model=sample.model, input=name_of("odd"), modelSize=BIG, inputSize=BIG
    )
    assert answer == (ok(sample.answer) if expected == "ok" else expected)


@pytest.mark.parametrize("version", [b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x01\x01"])
def test_versions_of_stored_inputs(client: Client, sample: Any, version: bytes) -> None:
    data = npy_text(HEADER, sample.values.tobytes() + b"more", version)
    put(sample.root, name_of("odd"), {"data": data})
    answer = client.infer(
        type=1, model=sample.model, input=name_of("odd"), modelSize=BIG, inputSize=BIG
    )
    assert answer == (ok(sample.answer) if version[1] == 0 and version[0] < 3 else LOGIC)


def test_a_header_longer_than_its_file(client: Client, sample: Any) -> None:
    asked = {"type": 1, "model": sample.model, "input": name_of("odd"), "inputSize": BIG}
    for shape, expected in (("1, 2, 4, 5", LOGIC), ("0", RUNTIME), ("x", RUNTIME)):
        data = npy_text(HEADER.replace("1, 2, 4, 5", shape), b"")
        put(sample.root, name_of("odd"), {"data": data[:8] + b"\xff\xff" + data[10:]})
        assert client.infer(**asked, modelSize=BIG) == expected, shape


def test_a_bad_input_is_told_before_the_model_is_looked_at(client: Client, sample: Any) -> None:
    put(sample.root, name_of("odd"), {"data": b"no array"})
    asked = {"type": 1, "input": name_of("odd"), "inputSize": BIG, "modelSize": BIG}
    assert client.infer(model="ab" * 20, **asked) == LOGIC
    assert client.infer(model="ab" * 19, **asked) == RUNTIME
    assert client.infer(model="ab" * 20, **{**asked, "inputSize": 1}) == RUNTIME


def test_integers_of_four_bytes_pass_as_the_original_passes_them(tmp_path: Path) -> None:
    b = GraphBuilder()
    graph = b.build([b.operator("abs", [b.input("data", (1, 3, 5), 12)])])
    folder = write_model(tmp_path / "model", graph)
    put(tmp_path, name_of("m"), {n: (folder / n).read_bytes() for n in ("symbol", "params")})
    values = some_input(graph)
    big = values.astype(">i4").tobytes()
    forms = {
        "honest": npy(values),
        "big": npy(values.astype(">i4")),
        "reversed": npy(np.frombuffer(big, "<i4").reshape(values.shape)),
        "bytes": npy(np.frombuffer(big, np.int8)),
    }
    for name, data in forms.items():
        put(tmp_path, name_of(name), {"data": data})
    with running(tmp_path) as client:
        asked = {"model": name_of("m"), "modelSize": BIG}
        right = client.infer(type=2, input="0x" + big.hex(), **asked)
        turned = client.infer(type=2, input="0x" + values.astype("<i4").tobytes().hex(), **asked)
        assert right.endswith(b'"ok"}')
        assert turned != right
        for name, expected in (
            ("honest", turned), ("big", turned), ("reversed", right), ("bytes", right),
        ):  # fmt: skip
            stored = client.infer(type=1, input=name_of(name), inputSize=BIG, **asked)
            assert stored == expected, name
