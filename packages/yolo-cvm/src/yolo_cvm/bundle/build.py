"""Making a bundle: a model folder in, the layout that nodes share out (spec 7.1).

    DIR/manifest.json             everything a chain or a reader asks
    DIR/MODEL_CARD.md             the same in words
    DIR/<info hash>/torrent       announces the two files below
    DIR/<info hash>/data/symbol   the model's own bytes, untouched
    DIR/<info hash>/data/params

The same model and choices give the same bytes everywhere: no clock, no machine, no path enters.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core import outputs
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_folder, atomic_write, read_bytes, read_json
from yolo_core.graph.proof.bounds import certify
from yolo_core.yolo.model_folder import (
    EXT,
    PARAMS,
    SYMBOL,
    Extension,
    model_sources,
    read_model_folder,
)
from yolo_cvm.bundle import layout as layouts
from yolo_cvm.bundle import manifest, selftest, torrent
from yolo_cvm.bundle.announce import announcement, input_announcement
from yolo_cvm.bundle.card import write_card
from yolo_cvm.bundle.manifest import Choices, Model
from yolo_cvm.chain_io import join
from yolo_cvm.engine import select
from yolo_cvm.model import detector_digest, model_files
from yolo_cvm.receipts.digests import tensor_digest

MANIFEST, CARD, TORRENT, DATA = "manifest.json", "MODEL_CARD.md", "torrent", "data"
INPUT_LIMIT = 1 << 30
INFO_HASH = re.compile("[0-9a-f]{40}")


def write_bundle(
    model: PathLike, out: PathLike, choices: Choices, layout: str = layouts.PLAIN
) -> dict[str, Any]:
    """Bundle the model folder `model` into the folder `out`; returns the manifest's content.

    layout: one of `layout.LAYOUTS`; in those of a node and of the seeding tool the model is added
    to what `out` holds, else an existing `out` is replaced only when it is empty or holds nothing
    but an earlier bundle. The folder's `ext`, where it has one, enters the manifest, never the
    torrent. InputError when the model does not load, may overflow, has outputs of different row
    counts, or asks what the chain refuses.
    """
    if layout == layouts.PLAIN:
        _check_target(Path(out))
        outputs.check_outputs(inputs=model_sources(model), folders=[out])
    loaded = read_model(model)
    extension = loaded.detection(str(Path(model) / EXT))
    content, torrent_bytes = manifest.describe(loaded, choices)
    _check_accuracy(choices.accuracy, content["files"], extension)
    certify(loaded.graph)
    content["self_test"]["output_digest"] = run_self_test(loaded)
    home = {
        TORRENT: torrent_bytes,
        f"{DATA}/{SYMBOL}": loaded.symbol,
        f"{DATA}/{PARAMS}": loaded.params,
    }
    info_hash, about = content["info_hash"], manifest.encode(content)
    card = write_card(content, extension)
    if layout != layouts.PLAIN:
        names = layouts.manifest_beside(info_hash), layouts.card_beside(info_hash)
        layouts.place(Path(out), info_hash, layout, home, dict(zip(names, (about, card))))
        return content
    with atomic_folder(out) as folder:
        for name, data in home.items():
            atomic_write(folder / info_hash / name, data)
        atomic_write(folder / MANIFEST, about)
        atomic_write(folder / CARD, card)
    return content


def announce(
    model: PathLike, choices: Choices, stored_input: PathLike | None = None
) -> dict[str, Any]:
    """What a chain asks of the model folder or bundle `model`, without writing anything.

    stored_input: a `.npy` file to announce with it. Keys as in the manifest: `creation`,
    `upload`, `gas`, and `stored_input` when asked for.
    """
    loaded = read_model(model_files(model)[0].parent)
    info = torrent.model_info(loaded.symbol, loaded.params, choices.piece_length)
    record = announcement(loaded.graph, info, choices.comment, choices.royalty, choices.author)
    if stored_input is not None:
        content = read_bytes(stored_input, INPUT_LIMIT)
        record["stored_input"] = input_announcement(
            loaded.graph, content, choices.comment, str(stored_input)
        )
    return record


def read_model(path: PathLike) -> Model:
    """A model folder, strictly loaded, with its `ext` where it has one."""
    folder = read_model_folder(path)
    source = Path(path) / EXT
    extension = read_json(source) if source.exists() else None
    try:
        json.dumps(extension, allow_nan=False)
    except ValueError as error:
        # Python reads NaN and Infinity as JSON; a manifest cannot carry them.
        raise InputError(source, "holds a number that is none", "finite numbers") from error
    return Model(folder.symbol, folder.params, folder.graph, extension)


def run_self_test(model: Model) -> str:
    """Digest of what the model returns for the self-test's input, several heads joined by rows."""
    values = selftest.make_input(model.graph.input_shape, model.graph.input_precision)
    return tensor_digest(join(select(model.graph).run(values.astype(np.int32))))


def creation_date(wish: str | None) -> int | None:
    """Unix seconds for the torrent. wish: None for no date, a number, or "now".

    "now" is `SOURCE_DATE_EPOCH` where that variable is set, else the clock.
    """
    if wish is None:
        return None
    source, text = "creation date", wish
    if wish == "now":
        source, text = "SOURCE_DATE_EPOCH", os.environ.get("SOURCE_DATE_EPOCH", "")
        if not text:
            return int(time.time())
    if not (text.isascii() and text.isdigit() and len(text) < 13):
        raise InputError(source, f"{text!r} is not a date", "Unix seconds")
    return int(text)


def _check_accuracy(
    rows: Sequence[dict[str, Any]], files: dict[str, Any], extension: Extension | None
) -> None:
    """Refuse the figures of another integer model; those of a float model stand for its origin."""
    if extension is None:
        return
    symbol, params = (files[f"{DATA}/{name}"]["sha256"] for name in (SYMBOL, PARAMS))
    own = detector_digest(symbol, params, extension)
    for row in rows:
        if row["kind"] == "integer" and row["digest"] not in (own, None):
            raise InputError(
                "metrics", f"are about another integer model, {row['digest']}", f"{own}"
            )


def _check_target(out: Path) -> None:
    """Refuse to replace a folder that holds anything but a bundle."""
    if not os.path.isdir(out):
        return
    names = {entry.name for entry in out.iterdir()} - {outputs.LIST}
    homes = [name for name in names - {MANIFEST, CARD} if INFO_HASH.fullmatch(name)]
    if names and names != {MANIFEST, CARD, *homes[:1]}:
        raise InputError(out, "holds other files", "a new folder, an empty one, or a bundle")


def tiers(trackers: Sequence[str], with_default: bool) -> tuple[tuple[str, ...], ...]:
    """Tracker tiers: the chain's own unless told otherwise, then one per address."""
    own = Choices().tiers if with_default else ()
    return own + tuple((tracker,) for tracker in trackers)
