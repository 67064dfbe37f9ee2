"""One inference from files to files, for the command line."""

from __future__ import annotations

from pathlib import Path

from yolo_core.arrays import Array
from yolo_core.files import PathLike, atomic_files, read_bytes
from yolo_core.graph.integers import limit
from yolo_core.outputs import check_outputs
from yolo_core.words import shown
from yolo_core.yolo.dataset import is_image_name
from yolo_core.yolo.model_folder import model_sources
from yolo_cvm import chain_io
from yolo_cvm.arrays import encode_array, read_array
from yolo_cvm.model import Model
from yolo_cvm.receipts import run_with_receipt, tensor_digest

# The chain cuts an input that is too long, so more than it needs may come.
_EXCESS = 1 << 20


def run_file(
    model: Model,
    path: PathLike,
    input_file: PathLike,
    out: PathLike | None = None,
    dialect: str | None = None,
    receipt: PathLike | None = None,
) -> list[str]:
    """Run a model on an input file; returns what to tell about each head, and what was written.

    path: where the model lies. input_file: see `read_input`. dialect: None for .npy files (further
    heads go to `<out>_1.npy`, ..), "c" or "chain" for the bytes of `chain_io`. receipt: where the
    receipt goes, None for none. Raises InputError.
    """
    files = [] if out is None else _files(Path(out), len(model.graph.heads), dialect)
    check_outputs([*model_sources(path), input_file], [*files, receipt])
    if dialect is None:
        data = read_input(model, path, input_file)
    else:
        most = chain_io.input_length(model.graph) + _EXCESS
        data = chain_io.read_input(model.graph, read_bytes(input_file, most), dialect)
    clamped = model.beyond(data)
    if receipt is None:
        heads = model.run(data)
    else:
        heads, proof = run_with_receipt(model, data)
    lines = [
        f"head {number}  {'x'.join(map(str, head.shape))}  {head.min()}..{head.max()}  "
        f"sha256 {tensor_digest(head)}"
        for number, head in enumerate(heads)
    ]
    contents: dict[Path, str | bytes] = {}
    if out is not None:
        contents.update(zip(files, _contents(model, heads, dialect)))
        lines += [f"wrote {shown(place)}" for place in files]
    if receipt is not None:
        contents[Path(receipt)] = proof.to_json()
        lines.append(f"wrote {shown(receipt)}, {proof.told()}")
    if clamped:
        bound = limit(model.graph.input_precision)
        lines.append(f"note: {clamped} values of the input were clamped to -{bound}..{bound}")
    atomic_files(contents)
    return lines


def read_input(model: Model, path: PathLike, source: PathLike) -> Array:
    """The input of a model: the integers of a .npy file, or a picture as `encode` has it.

    path: where the model lies, whose `ext` says how pictures become integers. A picture is known
    by its ending. Raises InputError.
    """
    if not is_image_name(Path(source)):
        return read_array(source)
    from yolo_core.yolo.letterbox import read_image
    from yolo_cvm.predictor import IntegerPredictor, read_extension

    values, _ = IntegerPredictor(model, read_extension(path, model)).encode(read_image(source))
    return values


def _files(out: Path, heads: int, dialect: str | None) -> list[Path]:
    """Where the heads go: one file each, or one for all where they are raw bytes."""
    if dialect is not None:
        return [out]
    return [out, *(out.with_name(f"{out.stem}_{k}{out.suffix}") for k in range(1, heads))]


def _contents(model: Model, heads: list[Array], dialect: str | None) -> list[bytes]:
    """What `_files` hold."""
    if dialect is not None:
        return [chain_io.write_output(model.graph, heads, dialect)]
    return [encode_array(head) for head in heads]
