"""A prepared plan as one file: what the compiled library needs to run a model, and no more.

It is for hosts without Python, such as the page of `nox -s browser`: they hand words and constants
to the library, which checks every word before it runs. A plan says of which model it is; nobody
can tell from the file that it computes that model, so a node runs models and not plans.

    the line `yolo-cvm plan 1`
    length of the header, 4 bytes
    the header, canonical JSON, zeros to a multiple of 8
    words, int64
    every constant, int8 or int32, zeros to a multiple of 8
    SHA-256 of all before

Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_write
from yolo_core.graph.costs.gas import gas
from yolo_cvm.engine import planner
from yolo_cvm.engine.planner import PlanningError
from yolo_cvm.model import Model
from yolo_cvm.receipts.digests import canonical, model_root

MAGIC = b"yolo-cvm plan 1\n"


def plan_bytes(model: Model, extension: dict[str, Any] | None = None) -> bytes:
    """The file of a model's plan. extension: the content of `ext` of a detector.

    InputError where the planner has no plan for the model.
    """
    graph = model.graph
    try:
        plan = planner.plan(graph)
    except PlanningError as error:
        raise InputError("the model", f"has no plan: {error}") from None
    header = {
        "symbol": model.symbol_digest,
        "params": model.params_digest,
        "model": model_root(graph),
        "gas": gas(graph),
        "input": list(graph.input_shape),
        "precision": graph.input_precision,
        "outputs": [list(shape) for shape in plan.outputs],
        "heads": list(plan.heads),
        "words": int(plan.words.size),
        "constants": [[array.itemsize, int(array.size)] for array in plan.constants],
        "ext": extension,
    }
    text = canonical(header).encode("ascii")
    parts = [MAGIC, len(text).to_bytes(4, "little"), text]
    parts.append(bytes(-sum(map(len, parts)) % 8))
    parts.append(plan.words.astype("<i8").tobytes())
    for array in plan.constants:
        data = array.astype(f"<i{array.itemsize}", copy=False).tobytes()
        parts += [data, bytes(-len(data) % 8)]
    whole = b"".join(parts)
    return whole + hashlib.sha256(whole).digest()


def write_plan(path: PathLike, model: Model, extension: dict[str, Any] | None = None) -> int:
    """Write the file of a model's plan, whole or not at all; returns its size in bytes."""
    content = plan_bytes(model, extension)
    atomic_write(path, content)
    return len(content)
