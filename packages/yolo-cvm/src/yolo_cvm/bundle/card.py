"""`MODEL_CARD.md`: the manifest in words, for the person who decides whether to use the model.

Everything in it comes from the manifest, so the card is checked by writing it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from yolo_core.words import markdown
from yolo_core.yolo.model_folder import Extension
from yolo_cvm.bundle.accuracy import INTERVALS, LOST, PERCENT, nothing_found
from yolo_cvm.bundle.convention import input_lines, output_lines, to_picture
from yolo_cvm.bundle.manifest import STATED
from yolo_cvm.bundle.payload import NO_AUTHOR
from yolo_cvm.bundle.torrent import NODE_PIECE_LENGTH

_CLASSES_SHOWN = 100
_HEADS_SHOWN = 16


def write_card(manifest: dict[str, Any], extension: Extension | None) -> str:
    """The card's text. extension: what the integers mean, None for a model that is no detector."""
    sections = [
        _what(manifest, extension),
        _convention(manifest, extension),
        _classes(extension),
        _weights(manifest["choices"]),
        _accuracy(manifest["choices"]["accuracy"]),
        _chain(manifest),
        _digests(manifest),
        _verify(manifest),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _what(manifest: dict[str, Any], extension: Extension | None) -> str:
    model = manifest["model"]
    if extension is None:
        title, kind = "Integer model", "A network"
    else:
        architecture = extension.architecture
        title = f"{markdown(architecture.model_name)}, integers only"
        kind = f"A YOLOv5 object detector for {_some(architecture.nc, 'class', 'classes')}"
    comment = manifest["choices"]["comment"]
    quote = f"\n\n> {markdown(comment)}" if comment else ""
    return (
        f"# {title}{quote}\n\n"
        f"{kind} for the Cortex Virtual Machine: {_count(model['nodes'])} nodes and "
        f"{_count(model['parameters'])} parameters, all integers. It returns the same bytes on "
        f"every machine; no value in it can overflow (proven when the bundle was made and again "
        f"by every check)."
    )


def _convention(manifest: dict[str, Any], extension: Extension | None) -> str:
    model = manifest["model"]
    limit = (1 << (model["input_precision"] - 1)) - 1
    lines = [
        f"- shape {_shape(model['input_shape'])}, integers from -{limit} to {limit} "
        f"({model['input_precision']} bits)"
    ]
    if extension is not None:
        lines += [f"- {line}" for line in input_lines(extension)]
    text = "## Input\n\n" + "\n".join(lines) + "\n\n## Output\n\n"
    text += f"- shape {_shape(model['output_shape'])}, integers"
    if "heads" in model:
        text += (
            f"\n- {len(model['heads'])} outputs joined row by row, row i of each in turn: "
            + _listed(_shape(shape) for shape in model["heads"])
        )
    boxes = getattr(extension, "boxes", None)
    if boxes is not None:
        conf, labels = f"{boxes.conf:g}", {"best": "its best class", "multi": "every class"}
        text += (
            "\n- a box per row, best first, -1 in all columns behind the last; columns class, "
            "score, x1, y1, x2, y2"
            f"\n- score = integer / 2^{boxes.score_bits}; corners in 1/{1 << boxes.pixel_bits} "
            "pixel of the input"
            f"\n- decided by the graph: score above {conf}, boxes that overlap by {boxes.iou} % or "
            f"more suppressed{' whatever their class' if boxes.agnostic else ''}, "
            f"{labels[boxes.labels]} of the {boxes.select} rows of best objectness"
        )
    elif extension is not None:
        text += "".join(f"\n- {line}" for line in output_lines(extension))
    if extension is not None:
        text += f"\n- {to_picture(extension)}"
    return text


def _classes(extension: Extension | None) -> str:
    if extension is None:
        return ""
    names = [markdown(name) for name in extension.architecture.names]
    rest = len(names) - _CLASSES_SHOWN
    tail = f" and {rest} more (see `manifest.json`)" if rest > 0 else ""
    return "## Classes\n\n" + ", ".join(names[:_CLASSES_SHOWN]) + tail


def _weights(choices: Mapping[str, Any]) -> str:
    """What the publisher states about the weights; nothing where that is nothing."""
    rows = [[label, markdown(choices[name])] for name, label in STATED.items() if name in choices]
    if not rows:
        return ""
    return f"## Weights\n\n{_table(['what', 'as the publisher states'], rows)}"


#: What the quantizer's own figure is.
_ESTIMATED = (
    f" {LOST} is what quantization costs, estimated by the quantizer without labels, from the "
    "float network's detections on so many pictures."
)


def _accuracy(rows: Sequence[dict[str, Any]]) -> str:
    """The publisher's figures in the form of yolo-eval: percent, AP with its interval."""
    if not rows:
        return "## Accuracy\n\nNot stated by the publisher."
    figures = [dict(row["figures"]) for row in rows]
    names = list(dict.fromkeys(name for own in figures for name in own))
    ends = {end for pair in INTERVALS.values() for end in pair}
    names = [name for name in names if name not in ends]
    told = []
    for key in ("data", "settings"):
        texts = [markdown(row.get(key, "")) for row in rows]
        told += [[key, *texts]] if any(texts) else []
    table = _table(
        ["figure", *(markdown(f"{row['model']} {row['kind']}".strip()) for row in rows)],
        [*told, *([markdown(name), *(_figure(name, own) for own in figures)] for name in names)],
    )
    warnings = "".join(f"\n\n**{markdown(text)}**" for text in map(nothing_found, rows) if text)
    return (
        f"## Accuracy\n\n{table}{warnings}\n\nAs stated by the publisher, by pycocotools; AP, AR, "
        "precision, recall and F1 in percent, AP with its 95 % interval over the pictures."
        + (_ESTIMATED if LOST in names else "")
    )


def _chain(manifest: dict[str, Any]) -> str:
    creation, upload, gas = manifest["creation"], manifest["upload"], manifest["gas"]
    author = creation["author"]
    royalty = f"{_count(creation['royalty'])} gas per call"
    if author != NO_AUTHOR:
        royalty += f", credited to 0x{author}"
    rows = [
        ["size", f"{_count(manifest['raw_size'])} bytes"],
        [
            "upload",
            f"{_some(upload['pushes'], 'push', 'pushes')}, {_count(upload['gas'])} gas in all",
        ],
        ["gas of the model", _count(gas["model"])],
        [
            "gas of the opcode",
            f"{_count(gas['infer'])} (INFER), {_count(gas['inferarray'])} (INFERARRAY)",
        ],
        [
            "memory of the output",
            f"{_count(gas['output_bytes'])} bytes, {_count(gas['output_memory'])} gas",
        ],
        [
            "memory of output and input",
            f"{_count(gas['output_bytes'] + gas['input_bytes'])} bytes, "
            f"{_count(gas['input_and_output_memory'])} gas",
        ],
        ["gas of a call", f"{_count(gas['call'])} (INFERARRAY with the output's memory)"],
        ["transaction cap", _count(gas["transaction_cap"])],
        ["royalty", royalty],
    ]
    stored = manifest["stored_input"]
    note = (
        ""
        if stored
        else "\n\nA stored input of this precision is read with its bytes reversed by the chain: "
        "call the model by INFERARRAY."
    )
    told = " ".join(gas["verdict"])
    if not gas["fits_transaction"]:
        told = f"**{told}**"
    return "## On the chain\n\n" + _table(["what", "figure"], rows) + f"\n\n{told}{note}"


def _digests(manifest: dict[str, Any]) -> str:
    rows = [["info hash (SHA-1)", f"`{manifest['info_hash']}`"]]
    rows += [
        [f"`{name}` (SHA-256)", f"`{file['sha256']}`"]
        for name, file in sorted(manifest["files"].items())
    ]
    test = manifest["self_test"]
    rows += [
        ["self-test input", f"`{test['input_digest']}`"],
        ["self-test output", f"`{test['output_digest']}`"],
    ]
    return "## Digests\n\n" + _table(["of", "digest"], rows)


def _verify(manifest: dict[str, Any]) -> str:
    return (
        "## How to verify\n\n"
        "In the folder that holds this file:\n\n"
        "```\nyolo-cvm bundle --check .\n```\n\n"
        "hashes every file again, loads the model strictly, proves that nothing overflows, and "
        "runs the self-test.\n\n"
        "## How to publish\n\n"
        f"1. Seed this torrent, and no other: its pieces of "
        f"{_count(manifest['choices']['piece_length'])} bytes give the info hash "
        f"`{manifest['info_hash']}`. A node that is told to seed the two files makes pieces of "
        f"{_count(NODE_PIECE_LENGTH)} bytes and with them another hash, which no transaction "
        f"names.\n"
        f"   - By a node: it seeds only what lies in `.tmp/{manifest['info_hash']}` of its storage "
        f"with a link beside `.tmp`, as `yolo-cvm bundle MODEL --layout node --out STORAGE` "
        f"writes it.\n"
        f"   - By the seeding tool: `seeding -dataDir=ROOT`, where ROOT is the folder that holds "
        f"`{manifest['info_hash']}`; `--layout seeding` adds it to one with other models.\n"
        "2. Create the model: a transaction without recipient and value, whose data is "
        "`creation.payload` of `manifest.json`.\n"
        f"3. From {manifest['upload']['first_push_after_blocks']} blocks later on, send "
        f"{_some(manifest['upload']['pushes'], 'empty transaction', 'empty transactions')} of "
        f"{_count(manifest['upload']['gas_per_push'])} gas to it."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _count(number: int) -> str:
    return f"{number:,}"


def _some(number: int, one: str, many: str) -> str:
    return f"{_count(number)} {one if number == 1 else many}"


def _shape(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def _listed(words: Iterable[str]) -> str:
    """The first words of a list that may be long."""
    shown = list(words)
    rest = len(shown) - _HEADS_SHOWN
    tail = f" and {rest} more (see `manifest.json`)" if rest > 0 else ""
    return ", ".join(shown[:_HEADS_SHOWN]) + tail


def _figure(name: str, figures: Mapping[str, float]) -> str:
    value = figures.get(name)
    if value is None:
        return "n/a"
    if not PERCENT.fullmatch(name):
        return _count(value) if isinstance(value, int) else f"{value:g}"
    told = f"{100 * value:.2f}"
    low, high = (figures.get(end) for end in INTERVALS.get(name, ("", "")))
    if low is not None and high is not None:
        told += f" ({100 * low:.2f} to {100 * high:.2f})"
    return told
