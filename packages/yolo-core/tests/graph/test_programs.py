"""Properties of whole programs: codecs, gas, storage plans, proven ranges, hostile mutations."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.programs import inputs, programs
from yolo_core.arrays import Array
from yolo_core.graph import (
    Entry,
    Graph,
    GraphBuilder,
    GraphError,
    Limits,
    LogicError,
    Ref,
    RuntimeFault,
    interpret,
    load,
    load_program,
)
from yolo_core.graph.costs import storage
from yolo_core.graph.costs.cost import cost, peak_bytes, steps
from yolo_core.graph.costs.gas import gas
from yolo_core.graph.files import params, symbol
from yolo_core.graph.files.json_reader import JsonReader
from yolo_core.graph.integers import elements
from yolo_core.graph.proof import bounds, ranges
from yolo_core.graph.proof.bounds import certify

MINIMAL = (
    b'{"nodes":[{"op":"null","name":"data","inputs":[]},{"op":"null","name":"w","inputs":[]},'
    b'{"op":"cvm_op","name":"dense_0","inputs":[[0,0,0],[1,0,0]],"attrs":{"func_name":"dense",'
    b'"flatten_data":"0","num_inputs":"2","num_outputs":"1"}}],'
    b'"arg_nodes":[0,1],"node_row_ptr":[0,1,2,3],"heads":[[2,0,0]],"version":"cvm_1.0.0",'
    b'"attrs":{"shape":["list_shape",[[1,4],[3,4],[1,3]]],"storage_id":["list_int",[0,1,2]],'
    b'"dltype":["list_str",["int32","int32","int32"]],"precision":["list_int",[8,8,-1]],'
    b'"op_attrs":["list_str",["{}","{}","{\\"units\\": \\"3\\", \\"use_bias\\": \\"False\\"}"]]}}'
)
PARAMS = bytes.fromhex(
    "b79c04054f8de5f7 0000000000000000 0100000000000000 0100000000000000 77 0100000000000000"
    "3fa1b496f0405edd 0000000000000000 01000000 00000000 02000000 00 08 0100"
    "0200000000000000 0200000000000000 0400000000000000 01fe0381"
)


def test_minimal_symbol_of_the_specification() -> None:
    graph = load_program(MINIMAL)
    assert gas(graph) == 131
    assert graph.nodes[2].precisions == (8 + 8 + 3,)
    assert storage.storage_bytes(graph) == 4 * (4 + 12 + 3)


def test_params_bytes_of_the_specification() -> None:
    ((name, array),) = params.decode(PARAMS)
    assert name == "w"
    assert array.tolist() == [[1, -2], [3, -127]]
    assert params.encode_arrays({"w": np.array([[1, -2], [3, -127]], np.int8)}) == PARAMS


@settings(max_examples=120, deadline=None)
@given(programs(), st.integers(0, 2**32 - 1))
def test_a_written_program_is_the_program_that_was_built(graph: Graph, seed: int) -> None:
    again = load(symbol.encode(graph), params.encode(graph))
    assert again.nodes == graph.nodes
    assert again.heads == graph.heads
    assert gas(again) == gas(graph)
    assert cost(again) == cost(graph)
    assert storage.storage_bytes(again) == storage.storage_bytes(graph)
    x = inputs(graph, seed)
    for one, other in zip(interpret.run(graph, x), interpret.run(again, x)):
        assert one.dtype == np.int32
        assert np.array_equal(one, other)


@settings(max_examples=150, deadline=None)
@given(programs(), st.integers(0, 2**32 - 1))
def test_values_stay_in_their_proven_ranges(graph: Graph, seed: int) -> None:
    try:
        certificate = certify(graph)
    except LogicError:
        return
    extreme = np.sign(inputs(graph, seed)) * (2 ** (graph.input_precision - 1) - 1)
    for x in (inputs(graph, seed), extreme):
        for index, outputs in interpret.trace(graph, x):
            for number, array in enumerate(outputs):
                found = certificate.range(Entry(index, number))
                assert found.lo.ndim == array.ndim
                assert (array >= found.lo).all(), graph.nodes[index]
                assert (array <= found.hi).all(), graph.nodes[index]


@settings(max_examples=80, deadline=None)
@given(programs(), st.integers(0, 2**32 - 1))
def test_a_storage_plan_never_overwrites_what_is_needed(graph: Graph, seed: int) -> None:
    """Run in the pool that the plan describes; the heads must come out the same."""
    x = inputs(graph, seed)
    pool: dict[int, Array] = {}
    place = dict(zip(storage.entries(graph.nodes), graph.storage))
    outputs: tuple[Array, ...]
    for index, node in enumerate(graph.nodes):
        if node.is_variable:
            outputs = (graph.parameters[node.name] if node.name != "data" else x.astype(np.int32),)
        else:
            outputs = node.operator.meaning(
                [pool[place[e]].reshape(graph.shape(e)) for e in node.inputs], node.attributes
            )
        for number, array in enumerate(outputs):
            pool[place[Entry(index, number)]] = np.array(array).ravel()
    for head, expected in zip(graph.heads, interpret.run(graph, x)):
        assert np.array_equal(pool[place[head]].reshape(expected.shape), expected)


@settings(max_examples=60, deadline=None)
@given(programs())
def test_budgets_refuse_before_anything_runs(graph: Graph) -> None:
    text = symbol.encode(graph)
    assert load_program(text, Limits(max_gas=gas(graph), max_memory=peak_bytes(graph)))
    with pytest.raises(LogicError, match="gas"):
        load_program(text, Limits(max_gas=gas(graph) - 1))
    with pytest.raises(LogicError, match="memory"):
        load_program(text, Limits(max_memory=peak_bytes(graph) - 1))
    largest = max(elements(shape) for node in graph.nodes for shape in node.shapes)
    assert peak_bytes(graph) >= 4 * largest


@settings(max_examples=150, deadline=None)
@given(programs(), st.data())
def test_a_mutated_file_is_refused_or_still_sound(graph: Graph, data: st.DataObject) -> None:
    """Any bytes may change; nothing but the two errors may come, and what loads must run."""
    files = [bytearray(symbol.encode(graph)), bytearray(params.encode(graph))]
    for _ in range(data.draw(st.integers(1, 3))):
        file = data.draw(st.sampled_from(files))
        position = data.draw(st.integers(0, max(len(file) - 1, 0)))
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "repeat"]))
        if kind == "set" and file:
            file[position] = data.draw(st.sampled_from(b'0123456789-[]{}",:\x00\xff\x7f a'))
        elif kind == "cut":
            del file[position:]
        elif kind == "insert":
            file[position:position] = data.draw(st.binary(min_size=1, max_size=9))
        else:
            file[position:position] = file[position : position + 40]
    compat = data.draw(st.booleans())
    refusal: GraphError | None = None
    try:
        changed = load(
            bytes(files[0]),
            bytes(files[1]),
            compat=compat,
            limits=Limits(max_gas=10**8, max_memory=10**7),
        )
        for head in interpret.run(changed, inputs(changed, 0)):
            assert head.dtype == np.int32
    except GraphError as error:
        refusal = error
    assert refusal is None or (refusal.code in (1, 2) and "\n" not in str(refusal))


@settings(max_examples=150, deadline=None)
@given(programs(), st.data())
def test_a_mutated_field_is_refused_or_still_sound(graph: Graph, data: st.DataObject) -> None:
    """One value of the JSON document becomes another; the text stays well-formed."""
    document = json.loads(symbol.encode(graph))
    holder, key = document, data.draw(st.sampled_from(sorted(document)))
    while isinstance(holder[key], (dict, list)) and holder[key] and data.draw(st.booleans()):
        holder = holder[key]
        keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
        key = data.draw(st.sampled_from(keys))
    strange = [
        -1,
        0,
        1,
        2,
        7,
        33,
        2**24 + 1,
        2**31 - 1,
        2**31,
        2**63,
        10**30,
        "",
        "x",
        "32",
        "(1, 1)",
        None,
        True,
        [],
        {},
        [0],
        [[0, 0, 0]],
        "relu",
        1.5,
    ]
    holder[key] = data.draw(st.sampled_from(strange))
    refusal: GraphError | None = None
    try:
        changed = load(
            json.dumps(document).encode(),
            params.encode(graph),
            limits=Limits(max_gas=10**8, max_memory=10**7),
        )
        interpret.run(changed, inputs(changed, 0))
    except GraphError as error:
        refusal = error
    assert refusal is None or refusal.code in (1, 2)


def test_certificate_names_the_node_that_can_leave_its_precision() -> None:
    b = GraphBuilder()
    x = b.input("data", (2, 3), 8)
    flags = b.parameter("flags", np.ones((2, 3), int), 2)
    y = b.operator("where", [flags, x, x], name="unsound")
    graph = b.build([y])
    with pytest.raises(LogicError, match=r"'unsound' \(where\).*-127\.\.127.*2 bits"):
        certify(graph)


def test_certificate_knows_the_weights() -> None:
    """The lossless clip of spec 6.8a: the proof is far tighter than the declared precision."""
    b = GraphBuilder()
    x = b.input("data", (1, 2, 4, 4), 8)
    w = b.parameter("w", np.array([[3, -5], [0, 1]]).reshape(2, 2, 1, 1), 8)
    bias = b.parameter("bias", np.array([10, -7]), 8)
    y = b.operator("conv2d", [x, w, bias], channels=2, kernel_size=(1, 1))
    scale = b.parameter("scale", np.array([2, 100]).reshape(1, 2, 1, 1), 8)
    z = b.operator("broadcast_mul", [y, scale])
    graph = b.build([b.operator("cvm_right_shift", [z], precision=13, shift_bit=1)])
    certificate = certify(graph)
    conv, product = certificate.range(y.entry), certificate.range(z.entry)
    assert conv.lo.ravel().tolist() == [-127 * 8 + 10, -127 - 7]
    assert conv.hi.ravel().tolist() == [127 * 8 + 10, 127 - 7]
    assert (product.low, product.high) == (-13400, 12000)
    assert certificate.bits(z.entry) == 15
    assert z.precision == 8 + 8 + 2 + 1 + 8


def test_the_limits_of_gas_hold_to_the_unit() -> None:
    """Spec 4.5, 5.1: base ops up to 2^30, ops and memory up to 2^40. Nothing is allocated."""
    terms = (2**30 - 1) // 3
    shape = (1, terms // 231, 21, 11)

    def wide_convolution(bias: bool) -> Graph:
        b = GraphBuilder()
        x = b.input("data", shape, 1)
        operands = [x, x, b.parameter("bias", np.array([0]), 1)] if bias else [x, x]
        y = b.operator("conv2d", operands, channels=1, kernel_size=(21, 11), use_bias=bias)
        return b.build([y])

    assert gas(wide_convolution(bias=True)) == 2**30 + 5 * (terms + 1 + 1)
    shape = (1, terms // 231 + 1, 21, 11)
    with pytest.raises(LogicError, match="gas base 1073742516"):
        wide_convolution(bias=False)

    def one(b: GraphBuilder, x: Ref) -> Ref:
        ones = (1,) * len(x.shape)
        return b.operator("strided_slice", [x], begin=(0,) * len(ones), end=ones)

    b = GraphBuilder()
    x = b.input("data", (1, 1, 4351, 4351), 8)
    y = b.operator("max_pool2d", [x], pool_size=(4096, 4096))
    assert gas(b.build([y])) == 2**40 + 5 * (4351**2 + 2**16)
    with pytest.raises(LogicError, match=f"{2**40 + 1} operations"):
        b.build([y, one(b, x)])

    b = GraphBuilder()
    y = b.input("data", (2**14, 2**14), 8)
    for _ in range(818):
        y = b.operator("relu", [y])
    rows = b.operator("strided_slice", [y], begin=(0,), end=(3276,))
    columns = b.operator("strided_slice", [y], begin=(0, 0), end=(1, 13107))
    graph = b.build([rows, columns])
    assert gas(graph) == 2**40 - 1 + 818 * 2**28 + 3276 * 2**14 + 13107
    with pytest.raises(LogicError, match=f"{2**40 + 4} for memory"):
        b.build([rows, columns, one(b, y)])


@pytest.mark.parametrize("length", [254, 255, 256, 257, 600])
def test_values_of_any_length_are_read_whole(length: int) -> None:
    """The reader looks at a short piece first; a number must not end where the piece does."""
    number = int("7" * length)
    for value in (number, -number, [number], "x" * length, {"k": [[number]]}):
        reader = JsonReader(json.dumps(value) + " ]", "test", 2000)
        assert reader.value("it") == value
        with pytest.raises(RuntimeFault, match="text after"):
            reader.end()


def test_compat_checks_what_it_ignores() -> None:
    """Of a name given twice the first array must fit too, and `data` must have its shape."""
    b = GraphBuilder()
    x = b.input("data", (2,), 8)
    w = b.parameter("w", np.array([1, 2]), 4)
    graph = b.build([b.operator("broadcast_mul", [x, w])])

    def given_first(name: str, array: list[Any]) -> Graph:
        arrays = {"?" * len(name): np.array(array, np.int8), "w": np.array([3, 4], np.int8)}
        blob = params.encode_arrays(arrays).replace(b"?" * len(name), name.encode(), 1)
        return load(symbol.encode(graph), blob, compat=True)

    assert given_first("w", [5, 6]).parameters["w"].tolist() == [3, 4]
    assert given_first("data", [-128, 0]).parameters["w"].tolist() == [3, 4]
    with pytest.raises(LogicError, match="beyond its 4 bits"):
        given_first("w", [8, 0])
    with pytest.raises(LogicError, match="shape"):
        given_first("data", [1, 2, 3])


def test_a_refused_parameter_leaves_nothing_behind() -> None:
    b = GraphBuilder()
    x = b.input("data", (1,), 8)
    with pytest.raises(LogicError, match="beyond its 4 bits"):
        b.parameter("w", np.array([8]), 4)
    w = b.parameter("w", np.array([7]), 4)
    graph = b.build([b.operator("broadcast_add", [x, w])])
    assert load(symbol.encode(graph), params.encode(graph)).parameters["w"].tolist() == [7]


def test_certificate_keeps_no_more_intervals_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    b = GraphBuilder()
    x = b.input("data", (1,), 8)
    w = b.parameter("w", np.arange(20), 8)
    y = b.operator("broadcast_add", [x, w])
    graph = b.build([y])
    assert certify(graph).range(y.entry).lo.tolist() == list(range(-127, -107))
    monkeypatch.setattr(bounds, "MAX_KEPT", 3 * 19)
    assert certify(graph).range(y.entry).lo.tolist() == [-127]


def test_certificate_looks_at_no_more_of_a_table_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    b = GraphBuilder()
    x = b.input("data", (2,), 1)
    offsets = b.parameter("offsets", np.array([0, 2]), 8)
    table = b.parameter("table", np.array([5, -9, 7]), 8)
    index = b.operator("broadcast_add", [x, offsets])
    y = b.operator("cvm_lut", [index, table], in_dim=3)
    graph = b.build([y])
    assert certify(graph).range(y.entry).lo.tolist() == [5, 7]
    monkeypatch.setattr(ranges, "MAX_LOOKED_AT", 5)
    assert certify(graph).range(y.entry).lo.tolist() == [-9]


def test_storage_aliases_are_refused_and_in_place_is_not() -> None:
    b = GraphBuilder()
    x = b.input("data", (1, 4), 8)
    w = b.parameter("w", np.ones((4, 4), int), 8)
    y = b.operator("dense", [x, w], units=4, use_bias=False)
    z = b.operator("relu", [y])
    total = b.operator("elemwise_add", [z, x])
    graph = b.build([total])
    document = json.loads(symbol.encode(graph))

    def with_storage(*ids: int) -> Graph:
        document["attrs"]["storage_id"][1] = list(ids)
        return load(json.dumps(document).encode(), params.encode(graph))

    assert with_storage(0, 1, 2, 2, 2).storage == (0, 1, 2, 2, 2)
    assert with_storage(0, 1, 2, 2, 0)
    for wrong in ((0, 1, 0, 2, 3), (0, 1, 2, 0, 3), (0, 1, 2, 1, 3), (1, 1, 2, 3, 4)):
        with pytest.raises(LogicError, match="storage"):
            with_storage(*wrong)


@pytest.mark.parametrize(
    ("top_k", "most"), [(-1, -1), (-1, 5), (30, -1), (30, 7), (30, 40), (0, 3), (9, 0)]
)
def test_steps_of_suppression_are_those_of_its_worst_case(top_k: int, most: int) -> None:
    """Counted one by one: boxes that never overlap are all compared, until enough are kept."""
    b = GraphBuilder()
    x = b.input("data", (2, 50, 6), 8)
    valid = b.parameter("valid", np.array([50, 50]), 8)
    y = b.operator("non_max_suppression", [x, valid], top_k=top_k, max_output_size=most)
    node = b.build([y]).nodes[-1]
    look = 50 if top_k < 0 else min(50, top_k)
    keep = look if most < 0 else min(look, most)
    overlaps = sum(min(row, keep) for row in range(look))
    sort = 50 * 6
    assert steps(b.build([y]), node) == 2 * (20 * overlaps + sort) + 2 * 50 * 6
