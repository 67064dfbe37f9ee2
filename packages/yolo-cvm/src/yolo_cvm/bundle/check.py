"""Checking a bundle that came from anywhere: what is damaged is found and named.

Every byte of a bundle is compared with something: the model's files with the torrent and the
manifest, the torrent and the manifest with what the model's files give, the card with the
manifest, the manifest with its own digest. Nothing outside the bundle's own few names is opened,
and links are not followed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_bytes
from yolo_core.graph import load
from yolo_core.graph.proof.bounds import certify
from yolo_core.yolo.model_folder import PARAMS, PARAMS_LIMIT, SYMBOL, SYMBOL_LIMIT
from yolo_cvm.bundle import layout as layouts
from yolo_cvm.bundle import manifest, torrent
from yolo_cvm.bundle.build import (
    CARD,
    DATA,
    INFO_HASH,
    MANIFEST,
    TORRENT,
    run_self_test,
)
from yolo_cvm.bundle.card import write_card
from yolo_cvm.bundle.manifest import Model

TORRENT_LIMIT = 64 << 20
CARD_LIMIT = 4 << 20


@dataclass(frozen=True)
class Passed:
    """One check that passed: its name, and what it found."""

    name: str
    found: str


def check_bundle(path: PathLike) -> Iterator[Passed]:
    """Check a bundle in any layout, or a folder `<info hash>` alone; yields what passed.

    InputError names the first damaged file. A folder alone has no manifest, so that there the
    figures, the card and the self-test are not checked; the last item says so. Nothing happens
    before the first item is asked for.
    """
    folder = Path(path)
    if not os.path.isdir(folder):
        raise InputError(path, "is not a folder", "a bundle")
    if not os.path.lexists(folder / MANIFEST):
        if INFO_HASH.fullmatch(folder.resolve().name):
            return _check_home_alone(_behind_link(folder))
        if _hashes(folder) and not os.path.lexists(folder / CARD):
            return _check_root(folder)
    return _check_whole(folder)


def _check_root(root: Path) -> Iterator[Passed]:
    """Every model of a node's storage, or of a root of the seeding tool."""
    layout = layouts.NODE if os.path.isdir(root / layouts.HIDDEN) else layouts.SEEDING
    for info_hash in _hashes(root):
        yield Passed(layout, info_hash)
        if layout == layouts.NODE and not (root / info_hash).is_symlink():
            raise InputError(
                root / info_hash, "is not a link: a node reads the model and never seeds it",
                f"a link to {layouts.HIDDEN}/{info_hash}",
            )  # fmt: skip
        home = _behind_link(root / info_hash)
        about = root / layouts.manifest_beside(info_hash)
        if os.path.lexists(about):
            yield from _check_model(home, about, root / layouts.card_beside(info_hash), info_hash)
        else:
            yield from _check_home_alone(home)


def _hashes(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir() if INFO_HASH.fullmatch(entry.name))


def _behind_link(home: Path) -> Path:
    """The folder of a hash; a node's own link to it is followed, no other."""
    if home.is_symlink() and os.readlink(home) == f"{layouts.HIDDEN}/{home.name}":
        return home.parent / layouts.HIDDEN / home.name
    return home


def _check_whole(folder: Path) -> Iterator[Passed]:
    source = str(folder / MANIFEST)
    _require_file(folder / MANIFEST)
    content = manifest.decode(read_bytes(folder / MANIFEST, manifest.LIMIT), source)
    info_hash = content.get("info_hash")
    if not isinstance(info_hash, str) or not INFO_HASH.fullmatch(info_hash):
        raise InputError(source, "states no info hash", "40 hexadecimal digits")
    _require_entries(folder, {MANIFEST, CARD, info_hash})
    yield from _check_model(folder / info_hash, folder / MANIFEST, folder / CARD, info_hash)


def _check_model(home: Path, about: Path, card: Path, info_hash: str) -> Iterator[Passed]:
    """One model with its manifest and card. info_hash: what the manifest has to be about."""
    source = str(about)
    _require_file(about)
    content = manifest.decode(read_bytes(about, manifest.LIMIT), source)
    choices = manifest.choices_of(content, source)
    if content.get("info_hash") != info_hash:
        raise InputError(source, "is about another info hash", info_hash)
    _require_file(card)
    yield Passed("manifest", "matches its own digest")

    files = _read_home(home)
    _check_digest(home / TORRENT, files[TORRENT], _stated(content, TORRENT))
    info = torrent.decode(files[TORRENT], str(home / TORRENT))
    _check_sizes(home, files, info)
    for name in (PARAMS, SYMBOL):
        _check_digest(home / DATA / name, files[name], _stated(content, f"{DATA}/{name}"))
    _check_pieces(home, files, info)
    matched = f"{info.raw_size:,} bytes match the torrent {info_hash} and the manifest"
    yield Passed("files", f"{matched}; {_otherwise(files, info)}")

    model = _load(files, content.get("extension"))
    extension = model.detection(source)
    yield Passed("model", f"{len(model.graph.nodes)} nodes load strictly, no value can overflow")

    rewritten, torrent_bytes = manifest.describe(model, choices)
    # The self-test runs last; until then the manifest's own word stands for its outcome.
    test = content.get("self_test")
    stated = test.get("output_digest") if isinstance(test, dict) else None
    rewritten["self_test"]["output_digest"] = stated
    if torrent_bytes != files[TORRENT]:
        raise InputError(home / TORRENT, "is not what the choices in the manifest give")
    difference = manifest.first_difference(content, rewritten)
    if difference:
        raise InputError(source, difference)
    _check_card(card, write_card(content, extension))
    yield Passed("figures", "gas, costs and payloads recomputed; the card agrees")

    outcome = run_self_test(model)
    if outcome != stated:
        raise InputError(source, f"the self-test gives {outcome}", f"{stated}")
    yield Passed("self-test", f"output digest {outcome}")


def _check_home_alone(home: Path) -> Iterator[Passed]:
    """A folder `<info hash>` without manifest, as a node or a download has it."""
    files = _read_home(home)
    info = torrent.decode(files[TORRENT], str(home / TORRENT))
    _check_sizes(home, files, info)
    _check_pieces(home, files, info)
    matched = f"{info.raw_size:,} bytes match the torrent {info.info_hash}"
    yield Passed("files", f"{matched}; {_otherwise(files, info)}")
    model = _load(files)
    yield Passed("model", f"{len(model.graph.nodes)} nodes load strictly, no value can overflow")
    yield Passed("no manifest", "figures, card and self-test were not checked")


def _otherwise(files: dict[str, bytes], info: torrent.Info) -> str:
    """Tells the info hash that the same files get from the other usual piece length (C5)."""
    other = {torrent.PIECE_LENGTH: torrent.NODE_PIECE_LENGTH}.get(
        info.piece_length, torrent.PIECE_LENGTH
    )
    found = torrent.model_info(files[SYMBOL], files[PARAMS], other).info_hash
    return f"pieces of {other} bytes give another hash, {found}"


def _read_home(home: Path) -> dict[str, bytes]:
    """Content of the three files of a folder `<info hash>` that holds nothing else."""
    for folder, names in ((home, {TORRENT, DATA}), (home / DATA, {PARAMS, SYMBOL})):
        if folder.is_symlink() or not folder.is_dir():
            raise InputError(folder, "is not a folder of its own", "a folder, not a link")
        _require_entries(folder, names)
    limits = {
        TORRENT: (home / TORRENT, TORRENT_LIMIT),
        PARAMS: (home / DATA / PARAMS, PARAMS_LIMIT),
        SYMBOL: (home / DATA / SYMBOL, SYMBOL_LIMIT),
    }
    for path, _ in limits.values():
        _require_file(path)
    return {name: read_bytes(path, limit) for name, (path, limit) in limits.items()}


def _check_sizes(home: Path, files: dict[str, bytes], info: torrent.Info) -> None:
    for name, length in info.lengths.items():
        if len(files[name]) != length:
            raise InputError(home / DATA / name, f"has {len(files[name])} bytes", f"{length}")


def _check_pieces(home: Path, files: dict[str, bytes], info: torrent.Info) -> None:
    """Compare the files and the folder's name with the torrent."""
    stretches: dict[int, list[str]] = {}
    for piece, name, start, stop in torrent.broken_pieces(info, files):
        stretches.setdefault(piece, []).append(f"{name} within bytes {start} to {stop - 1}")
    for parts in stretches.values():
        # A piece may hold the end of one file and the start of the next.
        raise InputError(home / DATA, f"differs from the torrent in {' or '.join(parts)}")
    if info.info_hash != home.resolve().name:
        raise InputError(
            home, "does not have the name of its torrent", f"info hash {info.info_hash}"
        )


def _load(files: dict[str, bytes], extension: Any = None) -> Model:
    graph = load(files[SYMBOL], files[PARAMS])
    certify(graph)
    return Model(files[SYMBOL], files[PARAMS], graph, extension)


def _stated(content: dict[str, Any], name: str) -> Any:
    files = content.get("files")
    entry = files.get(name) if isinstance(files, dict) else None
    return entry.get("sha256") if isinstance(entry, dict) else None


def _check_digest(path: Path, data: bytes, stated: Any) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != stated:
        raise InputError(path, f"has the SHA-256 {found}", f"{stated}, as the manifest states")


def _check_card(path: Path, expected: str) -> None:
    found = read_bytes(path, CARD_LIMIT).split(b"\n")
    lines = expected.encode().split(b"\n")
    for number, (theirs, ours) in enumerate(zip(found, lines), 1):
        if theirs != ours:
            raise InputError(path, f"line {number} does not say what the manifest says")
    if len(found) != len(lines):
        raise InputError(path, f"has {len(found) - 1} lines", f"{len(lines) - 1}")


def _require_entries(folder: Path, names: set[str]) -> None:
    """The folder holds just these names."""
    found = {entry.name for entry in os.scandir(folder)}
    for name in sorted(found - names):
        raise InputError(folder / name, "does not belong to the bundle")
    for name in sorted(names - found):
        raise InputError(folder / name, "is missing")


def _require_file(path: Path) -> None:
    """The path is a file itself: no link, no device."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise InputError(path, "is missing") from None
    if not stat.S_ISREG(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "no regular file"
        raise InputError(path, f"is {kind}", "a file")
