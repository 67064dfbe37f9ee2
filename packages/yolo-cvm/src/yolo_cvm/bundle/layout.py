"""How a bundle lies on disk, by who is to read it (spec C1, C2, C7, C8).

    plain      DIR/manifest.json, MODEL_CARD.md, <hash>/torrent and <hash>/data/: one model
    seeding    ROOT/<hash>/torrent and <hash>/data/, for the seeding tool: `seeding -dataDir=ROOT`
    node       ROOT/.tmp/<hash>/torrent and data/, and the link ROOT/<hash>: a node's storage

ROOT may hold other models; manifest and card lie beside as `<hash>.manifest.json` and
`<hash>.card.md`, which neither reader looks at.
"""

from __future__ import annotations

PLAIN, SEEDING, NODE = "plain", "seeding", "node"
LAYOUTS = (PLAIN, SEEDING, NODE)
HIDDEN = ".tmp"


def manifest_beside(info_hash: str) -> str:
    """Name of a model's manifest in a root of several models."""
    return f"{info_hash}.manifest.json"


def card_beside(info_hash: str) -> str:
    """Name of a model's card in a root of several models."""
    return f"{info_hash}.card.md"
