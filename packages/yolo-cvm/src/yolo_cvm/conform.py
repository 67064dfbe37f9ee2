"""Conformance vectors: run a folder of them and say which pass.

The layout is described in vectors/README.md; another implementation can use the same files. A
vector is a folder with `symbol` and `params` and one of

    meta.json with `op`        an operator: outputs, gas, storage and sizes must agree
    meta.json with `expect`    a model to refuse or to accept
    node_crc.json              a network: the checksum of every operator's output, the bytes of
                               the C interface, and the figures of meta.json where it is there
    verdict.json               a dispute: receipt, witness and verdict, byte for byte
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_bytes, read_json
from yolo_core.graph import GraphError, Limits, chain_gas
from yolo_core.graph.costs.gas import gas
from yolo_core.graph.costs.storage import storage_bytes
from yolo_core.graph.integers import INT32_MAX, limit
from yolo_cvm import dispute
from yolo_cvm.arrays import read_array
from yolo_cvm.chain_io import input_type_size, output_type_size, write_output
from yolo_cvm.model import SYMBOL, Model, load
from yolo_cvm.receipts import run_with_receipt
from yolo_cvm.receipts.reader import read_version_2

PASSED, FAILED, KNOWN = "passed", "failed", "known divergence"

#: Inputs of one network whose recorded bytes are looked for.
_MOST_INPUTS = 100
_SHIFT_REASON = (
    "the original overflows for shift 1 on 2147483647; the mathematical value is followed"
)


@dataclass(frozen=True)
class Outcome:
    """What one vector gave. name: its folder below the root; note: why, or what was refused."""

    name: str
    status: str
    note: str = ""


def shipped() -> Path:
    """The folder of our own vectors: in the installed package, or in the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "vectors"
    return installed if installed.is_dir() else package.parents[1] / "vectors"


def conform(path: PathLike, engine: str | None = None) -> Iterator[Outcome]:
    """The outcome of every vector below a folder, in order of name.

    engine: as for `load`. InputError where there is no vector at all or one cannot be read.
    """
    root = Path(path)
    folders = sorted(file.parent for file in root.rglob(SYMBOL) if file.is_file())
    if not folders:
        raise InputError(root, "holds no vectors", "folders with symbol, params and meta.json")
    for folder in folders:
        name = folder.relative_to(root).as_posix()
        status, note = _judge(folder, engine)
        yield Outcome(name, status, note)


def _judge(folder: Path, engine: str | None) -> tuple[str, str]:
    if (folder / "node_crc.json").is_file():
        return _network(folder, engine)
    if (folder / "verdict.json").is_file():
        return _dispute(folder, engine)
    meta = read_json(folder / "meta.json")
    if not isinstance(meta, dict) or not ({"op", "expect"} & set(meta)):
        raise InputError(folder / "meta.json", "says neither `op` nor `expect`", "one of them")
    if "expect" in meta:
        wrong = _wrong_code(folder, meta)
        if wrong:
            return FAILED, wrong
        if meta["expect"] == "accept":
            return _accept(folder, meta, engine)
        return _refuse(folder, engine)
    try:
        model = load(folder, engine=engine)
        found = model.run(read_array(folder / "input.npy"))
    except GraphError as error:
        return FAILED, str(error)
    return _figures(model, meta) or _heads(model, found, folder)


def _figures(model: Model, meta: dict[str, Any]) -> tuple[str, str] | None:
    """Gas, storage, precision and sizes against meta.json; None where all agree."""
    graph = model.graph
    for name, ours in (
        ("gas", gas(graph)),
        ("storage", storage_bytes(graph)),
        ("output_precision", max(graph.head_precisions)),
        ("input_bytes", input_type_size(graph)),
        ("output_bytes", output_type_size(graph)),
    ):
        if name in meta and meta[name] != ours:
            return FAILED, f"{name} is {ours}, the vector has {meta[name]}"
    return None


def _heads(model: Model, found: list[Array], folder: Path) -> tuple[str, str]:
    """Every head against output.npy, output_1.npy, .. element by element."""
    status = PASSED
    for number, ours in enumerate(found):
        file = folder / ("output.npy" if number == 0 else f"output_{number}.npy")
        theirs = read_array(file)
        if theirs.shape != ours.shape:
            return FAILED, f"{file.name}: shape {ours.shape}, the vector has {theirs.shape}"
        wrong = np.flatnonzero(ours != theirs)
        if not wrong.size:
            continue
        if not _overflowing_shift(model, folder, ours, wrong):
            first = wrong[0]
            return FAILED, (
                f"{file.name}: {wrong.size} elements differ, first [{first}] is "
                f"{ours.flat[first]}, the vector has {theirs.flat[first]}"
            )
        status = KNOWN
    return status, _SHIFT_REASON if status == KNOWN else ""


def _overflowing_shift(model: Model, folder: Path, ours: Array, wrong: Array) -> bool:
    """Whether the wrong elements are those that the original itself gets wrong (README)."""
    graph = model.graph
    last = graph.nodes[graph.heads[0].node]
    if last.op != "cvm_right_shift" or last.attributes.shift_bit != 1 or len(graph.heads) > 1:
        return False
    data = model.prepare(read_array(folder / "input.npy"))
    if last.inputs[0].node != graph.input_index:
        return False
    right = min(2**30, limit(last.attributes.precision))
    return bool(np.all(data.flat[wrong] == INT32_MAX) and np.all(ours.flat[wrong] == right))


def _accept(folder: Path, meta: dict[str, Any], engine: str | None) -> tuple[str, str]:
    """Must load; a sloppy file only under `compat`. Its figures and outputs must agree."""
    note = ""
    try:
        try:
            model = load(folder, engine=engine)
        except GraphError as error:
            model = load(folder, engine=engine, compat=True)
            note = f"only with --compat: {error}"
        found = model.run(read_array(folder / "input.npy"))
    except GraphError as error:
        return FAILED, str(error)
    status, reason = _figures(model, meta) or _heads(model, found, folder)
    return status, reason or note


def _refuse(folder: Path, engine: str | None) -> tuple[str, str]:
    """Must be refused when it is loaded or, at the latest, when it gets its input."""
    try:
        model = load(folder, engine=engine)
        if (folder / "input.npy").is_file():
            model.run(read_array(folder / "input.npy"))
    except GraphError as error:
        return PASSED, str(error)
    return FAILED, "was accepted"


def _wrong_code(folder: Path, meta: dict[str, Any]) -> str:
    """Which of the codes that meta.json states is another one here; empty where none is.

    `codes` has the codes of two calls: `gas`, from the symbol file alone, and `load`.
    """
    stated = meta.get("codes", {})
    if not isinstance(stated, dict) or not set(stated) <= {"gas", "load"}:
        raise InputError(folder / "meta.json", "has unusable codes", "`gas` and `load`")
    symbol = read_bytes(folder / SYMBOL, Limits().symbol_bytes)
    for name, call in (
        ("gas", lambda: chain_gas(symbol)),
        ("load", lambda: load(folder, engine="reference")),
    ):
        if name not in stated:
            continue
        code = 0
        try:
            call()
        except GraphError as error:
            code = error.code
        if code != stated[name]:
            return f"{name} gives the code {code}, the vector has {stated[name]}"
    return ""


def _network(folder: Path, engine: str | None) -> tuple[str, str]:
    """Every operator's checksum, every head, and the bytes of the C interface for every input."""
    meta = read_json(folder / "meta.json") if (folder / "meta.json").is_file() else {}
    if not isinstance(meta, dict):
        raise InputError(folder / "meta.json", "is not an object", "figures by name")
    try:
        model = load(folder, engine=engine)
    except GraphError as error:
        return FAILED, str(error)
    data = read_array(folder / "input.npy")
    wrong = _figures(model, meta) or _nodes(model, data, folder) or _outputs(model, data, folder)
    return wrong or (PASSED, "")


def _dispute(folder: Path, engine: str | None) -> tuple[str, str]:
    """The receipt and the witness that this runtime writes, and what the judge says of them."""
    model = load(folder, engine=engine)
    data = read_array(folder / "input.npy")
    _, receipt = run_with_receipt(model, data)
    if receipt.to_json().encode("ascii") != (folder / "receipt.json").read_bytes():
        return FAILED, "the receipt differs"
    false = read_version_2(folder / "false_receipt.json")
    verdict: dispute.Verdict | dispute.ModelVerdict
    if (folder / "model_witness.json").is_file():
        shown = dispute.make_model_witness(model.graph)
        if shown.to_json() != (folder / "model_witness.json").read_bytes():
            return FAILED, "the witness of the model differs"
        verdict = dispute.judge_file(folder / "model_witness.json", receipt, false)
        return _verdict(verdict, folder)
    claim = dispute.read_claim(folder / "claim.json")
    witness = dispute.make_witness(dispute.observe_node(model, data, claim.node), claim)
    if witness.to_json() != (folder / "witness.json").read_bytes():
        return FAILED, "the witness differs"
    verdict = dispute.judge_file(folder / "witness.json", receipt, false)
    return _verdict(verdict, folder)


def _verdict(verdict: dispute.Verdict | dispute.ModelVerdict, folder: Path) -> tuple[str, str]:
    """A verdict against the recorded one."""
    if json.loads(json.dumps(asdict(verdict))) != read_json(folder / "verdict.json"):
        return FAILED, f"the verdict is {verdict}"
    return PASSED, ""


def _nodes(model: Model, data: Array, folder: Path) -> tuple[str, str] | None:
    """The recorded checksums of the operators; None where all agree."""
    records = _records(folder / "node_crc.json")
    for number, outputs in model.trace(data):
        record = records.pop(number, None)
        if record is None:
            continue
        array = np.ascontiguousarray(outputs[0], "<i4")
        ours = {
            "shape": list(array.shape),
            "min": int(array.min()),
            "max": int(array.max()),
            "sum": int(array.sum(dtype=np.int64)),
            "crc32": zlib.crc32(array.tobytes()),
        }
        for key, value in ours.items():
            if key in record and record[key] != value:
                name = model.graph.nodes[number].name
                return FAILED, f"node {number} {name!r}: {key} is {value}, not {record[key]}"
    if records:
        return FAILED, f"nodes {sorted(records)[:5]} are no operators"
    return None


def _outputs(model: Model, data: Array, folder: Path) -> tuple[str, str] | None:
    """The heads of the first input, and the bytes of every input that has them recorded."""
    heads = model.run(data)
    for number, ours in enumerate(heads):
        if not np.array_equal(read_array(folder / f"out_formal_{number}.npy"), ours):
            return FAILED, f"head {number} differs"
    for number in range(_MOST_INPUTS):
        recorded = folder / f"output_c_{number}.npy"
        if not recorded.is_file():
            break
        if number:
            heads = model.run(read_array(folder / f"input_{number}.npy"))
        theirs = read_array(recorded)
        if (
            write_output(model.graph, heads)
            != theirs.astype(theirs.dtype.newbyteorder("<")).tobytes()
        ):
            return FAILED, f"the bytes of the C interface for input {number} differ"
    return None


def _records(path: Path) -> dict[int, dict[str, Any]]:
    """The records of a network by node number. InputError where the file holds no records."""
    listed = read_json(path)
    if not isinstance(listed, list) or not all(
        isinstance(record, dict) and isinstance(record.get("nid"), int) for record in listed
    ):
        raise InputError(path, "is not a list of node records", "objects with `nid`")
    return {record["nid"]: record for record in listed}


def count(outcomes: Sequence[Outcome]) -> str:
    """How many passed and failed, as one line."""
    numbers = [sum(one.status == status for one in outcomes) for status in (PASSED, FAILED, KNOWN)]
    return "{} passed, {} failed, {} known divergences from the original".format(*numbers)
