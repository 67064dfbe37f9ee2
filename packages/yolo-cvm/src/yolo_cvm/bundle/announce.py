"""What a chain asks of a model: payloads, uploads, the gas of a call (spec 5.2, 7.3 to 7.5)."""

from __future__ import annotations

import dataclasses
from typing import Any

from yolo_core.errors import InputError
from yolo_core.graph import Graph
from yolo_core.graph.costs.gas import gas
from yolo_core.graph.integers import elements
from yolo_cvm import chain_io
from yolo_cvm.bundle import chain, npy, torrent
from yolo_cvm.bundle.payload import InputMeta, ModelMeta

#: Precision up to which an input element is one byte; only then the chain reads a stored input
#: as it was written (spec 4.4: bytes of wider elements are reversed).
BYTE = 8
#: The original counts the bytes of an output in a signed integer of 32 bits (spec 4.2).
_MOST_BYTES = 2**31 - 1


def output_shape(graph: Graph) -> tuple[int, ...]:
    """Shape of what a contract receives: the one output, or several joined row by row.

    InputError for models that a chain cannot call (spec 4.3): outputs of different row counts or of
    2 GiB and more, or an output that is processed after the program.
    """
    if graph.postprocess:
        raise InputError("the model", f"asks to postprocess by {graph.postprocess!r}", "raw output")
    counts = {elements(shape[:-1]) for shape in graph.head_shapes}
    if len(counts) > 1:
        raise InputError(
            "the model",
            f"has {len(graph.heads)} outputs of {', '.join(map(str, sorted(counts)))} rows",
            "equally many rows in each, or no chain runs it",
        )
    length = chain_io.output_length(graph)
    if length > _MOST_BYTES:
        raise InputError("the model", f"returns {length} bytes", f"at most {_MOST_BYTES}")
    return chain_io.joined_shape(graph.head_shapes)


def announcement(
    graph: Graph, info: torrent.Info, comment: str, royalty: int, author: str
) -> dict[str, Any]:
    """Payload, upload and call costs of a model, as the manifest holds them.

    info: the model's torrent. royalty: gas per call. author: 40 hexadecimal digits.
    InputError where the chain would refuse the model, or take it and never run it.
    """
    meta = ModelMeta(
        comment, info.info_hash, info.raw_size, graph.input_shape, output_shape(graph),
        royalty, author,
    )  # fmt: skip
    model_gas = gas(graph)
    output_bytes, input_bytes = chain_io.output_length(graph), chain_io.input_length(graph)
    cost = chain.call_cost(model_gas, royalty, output_bytes, input_bytes)
    pushes = chain.push_count(info.raw_size)
    return {
        "creation": _record(meta),
        "upload": {
            "pushes": pushes,
            "push_bytes": chain.PUSH_BYTES,
            "gas_per_push": chain.PUSH_GAS,
            "gas": pushes * chain.PUSH_GAS,
            "first_push_after_blocks": chain.SEEDING_BLOCKS,
            "quota_blocks": chain.quota_blocks(info.raw_size),
            "callable_after_blocks": chain.MATURE_BLOCKS,
        },
        "gas": {
            "model": model_gas,
            "infer": cost.infer,
            "inferarray": cost.inferarray,
            "transaction_cap": chain.TRANSACTION_GAS_CAP,
            "output_bytes": output_bytes,
            "output_memory": cost.output_memory,
            "call": cost.call,
            "fits_transaction": cost.fits,
            "input_bytes": input_bytes,
            "input_and_output_memory": cost.both_memory,
            "call_with_input": cost.call_with_input,
            "fits_with_input": cost.fits_with_input,
            "verdict": _verdict(cost, output_bytes, input_bytes),
        },
    }


def _verdict(cost: chain.CallCost, output_bytes: int, input_bytes: int) -> list[str]:
    """What fits a transaction and what does not, and why, in sentences."""
    cap = chain.TRANSACTION_GAS_CAP
    received = f"receiving {output_bytes:,} bytes takes {cost.output_memory:,} gas of memory"
    if not cost.fits:
        return [
            f"No contract can call this model: {received}, a call {cost.call:,}, and the cap is "
            f"{cap:,}.",
            "A detector of rows becomes one of boxes, which are a few thousand bytes: "
            "yolo-mrt boxes MODEL --out DIR.",
        ]
    fits = "fits" if cost.fits_with_input else "does not fit"
    return [
        f"A call fits: {received}, a call {cost.call:,}, and the cap is {cap:,}.",
        f"With the input of {input_bytes:,} bytes in memory too it {fits}: "
        f"{cost.call_with_input:,}. A stored input (INFER) or one in storage (INFERARRAY) takes "
        "no memory.",
    ]


def input_announcement(graph: Graph, content: bytes, comment: str, source: str) -> dict[str, Any]:
    """Payload of a stored input, the bytes of a `.npy` file, for this model.

    InputError where INFER would refuse it or compute on other numbers.
    """
    if graph.input_precision > BYTE:
        raise InputError(
            "the model", f"takes {graph.input_precision} bits, which the chain reads from a file "
            "with reversed bytes", "call it by INFERARRAY",
        )  # fmt: skip
    shape = npy.int8_shape(content, source)
    if shape != graph.input_shape:
        raise InputError(source, f"has the shape {shape}", f"the model's {graph.input_shape}")
    info = torrent.input_info(content)
    return _record(InputMeta(comment, info.info_hash, info.raw_size, shape))


def _record(meta: ModelMeta | InputMeta) -> dict[str, Any]:
    return {**dataclasses.asdict(meta), "payload": "0x" + meta.encode().hex()}
