"""Bytes in and out as spec 4.2 to 4.4 has them."""

from __future__ import annotations

import numpy as np
import pytest
from cvm_samples import heads_of, small_graph

from yolo_core.graph import LogicError
from yolo_cvm import chain_io


@pytest.mark.parametrize(("bits", "size"), [(1, 1), (8, 1), (9, 4), (32, 4)])
def test_element_sizes_follow_the_precision(bits: int, size: int) -> None:
    assert chain_io.input_type_size(small_graph(bits=min(bits, 8))) == 1
    assert chain_io.output_type_size(heads_of((2,), bits=bits)) == size
    for word in ("argmax", "detection"):
        assert chain_io.output_type_size(heads_of((2,), bits=bits, postprocess=word)) == 4


def test_input_byte_orders_and_lengths() -> None:
    graph = heads_of((1,))
    x = np.array([[1, -2, 300], [-2047, 2047, 0]], np.int32)
    little, big = x.astype("<i4").tobytes(), x.astype(">i4").tobytes()
    assert np.array_equal(chain_io.read_input(graph, little), x)
    assert np.array_equal(chain_io.read_input(graph, big, "chain"), x)
    assert np.array_equal(chain_io.read_input(graph, big + b"more", "chain"), x)
    for data, dialect in ((little + b"\0", "c"), (little[:-1], "c"), (big[:-1], "chain")):
        with pytest.raises(LogicError, match="bytes"):
            chain_io.read_input(graph, data, dialect)
    assert chain_io.input_length(graph) == 24


def test_one_head_is_written_as_it_is() -> None:
    graph = heads_of((2, 2))
    head = np.array([[1, -1], [127, -127]], np.int32)
    assert chain_io.write_output(graph, [head]) == bytes([1, 255, 127, 129])
    assert chain_io.write_output(graph, [head], "chain") == bytes([1, 255, 127, 129])
    wide = heads_of((2, 2), bits=9)
    assert chain_io.write_output(wide, [head]) == head.astype("<i4").tobytes()
    assert chain_io.write_output(wide, [head], "chain") == head.astype(">i4").tobytes()


def test_rows_of_several_heads_are_interleaved() -> None:
    graph = heads_of((2, 1, 2), (2, 3))
    a = np.array([[[1, 2]], [[3, 4]]], np.int32)
    b = np.array([[5, 6, 7], [8, 9, 10]], np.int32)
    assert list(chain_io.write_output(graph, [a, b])) == [1, 2, 5, 6, 7, 3, 4, 8, 9, 10]
    assert chain_io.output_length(graph) == 10
    with pytest.raises(LogicError, match="row counts"):
        chain_io.write_output(heads_of((2, 3), (3, 3)), [b, np.zeros((3, 3), np.int32)])


def test_argmax_gives_the_first_maximum_of_every_row() -> None:
    graph = heads_of((2, 2, 3), postprocess="argmax")
    head = np.array([[[1, 5, 5], [300, 2, 44]], [[-3, -2, -9], [0, 0, 0]]], np.int32)
    expected = np.array([1, 0, 1, 0], "<i4").tobytes()
    assert chain_io.write_output(graph, [head]) == expected
    assert chain_io.output_length(graph) == len(expected)
    one_row = heads_of((3,), postprocess="argmax")
    found = chain_io.write_output(one_row, [np.array([2, -1, 7], np.int32)], "chain")
    assert found == bytes([0, 0, 0, 2])


def test_detection_of_one_head_has_no_bytes() -> None:
    """The original knows the length of such an output and never writes one."""
    graph = heads_of((1, 6), postprocess="detection")
    assert chain_io.output_length(graph) == 24
    with pytest.raises(LogicError, match="detection"):
        chain_io.write_output(graph, [np.zeros((1, 6), np.int32)], "chain")
    two = heads_of((1, 2), (1, 1), postprocess="detection")
    heads = [np.array([[1, 2]], np.int32), np.array([[3]], np.int32)]
    assert chain_io.write_output(two, heads, "chain") == np.array([1, 2, 3], ">i4").tobytes()
