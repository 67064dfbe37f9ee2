"""How a bundle lies on disk, by who is to read it (spec C1, C2, C7, C8).

    plain      DIR/manifest.json, MODEL_CARD.md, <hash>/torrent and <hash>/data/: one model
    seeding    ROOT/<hash>/torrent and <hash>/data/, for the seeding tool: `seeding -dataDir=ROOT`
    node       ROOT/.tmp/<hash>/torrent and data/, and the link ROOT/<hash>: a node's storage

ROOT may hold other models, which are left alone; manifest and card lie beside as
`<hash>.manifest.json` and `<hash>.card.md`, which neither reader looks at. Readers may meet ROOT
while it changes, so that a model's folder comes into place whole, and its link last.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from yolo_core.errors import InputError
from yolo_core.files import atomic_folder, atomic_write

PLAIN, SEEDING, NODE = "plain", "seeding", "node"
LAYOUTS = (PLAIN, SEEDING, NODE)
HIDDEN = ".tmp"


def manifest_beside(info_hash: str) -> str:
    """Name of a model's manifest in a root of several models."""
    return f"{info_hash}.manifest.json"


def card_beside(info_hash: str) -> str:
    """Name of a model's card in a root of several models."""
    return f"{info_hash}.card.md"


def home_in(root: Path, info_hash: str, layout: str) -> Path:
    """Where the torrent and the data of a hash lie."""
    return root / HIDDEN / info_hash if layout == NODE else root / info_hash


def place(
    root: Path,
    info_hash: str,
    layout: str,
    home: Mapping[str, bytes],
    beside: Mapping[str, str | bytes],
) -> None:
    """Put one model into a root in the layout of a node or of the seeding tool.

    home: relative path to content below the folder of the hash. beside: the same below the root.
    InputError where something else is in the way; what is there already and equal stays.
    """
    folder = home_in(root, info_hash, layout)
    if os.path.lexists(folder):
        for name, content in home.items():
            path = folder / name
            if path.is_symlink() or not path.is_file() or path.read_bytes() != content:
                raise InputError(path, "is in the way", "the file of this bundle, or none")
    else:
        with atomic_folder(folder) as fresh:
            for name, content in home.items():
                atomic_write(fresh / name, content)
    for name, text in beside.items():
        atomic_write(root / name, text)
    if layout == NODE:
        _link(root / info_hash, f"{HIDDEN}/{info_hash}")


def _link(path: Path, target: str) -> None:
    if path.is_symlink() and os.readlink(path) == target:
        return
    try:
        os.symlink(target, path)
    except FileExistsError:
        kind = "a link elsewhere" if path.is_symlink() else "a folder, which a node cannot seed"
        raise InputError(path, f"is {kind}", f"a link to {target}") from None
