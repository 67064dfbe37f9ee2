"""The torrent of a model: which bytes are hashed, in which order, and how the file spells it.

Spec 7.1 and 7.2. A model's torrent is named `data` and holds exactly `params` and `symbol`, in
that order; everything outside the info dictionary (trackers, date, comment) leaves the info
hash alone. Nothing here reads the clock or the file system.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from yolo_core.errors import InputError
from yolo_cvm.bundle import bencode

#: The torrent's name, and the folder (or, for an input, the file) a node reads.
NAME = "data"
#: A model's files in the order in which they are hashed: sorted by name.
FILES = ("params", "symbol")
PIECE_LENGTH = 4096
#: What a node's own seeding takes, whatever the torrent had (spec C5).
NODE_PIECE_LENGTH = 262_144
PIECE_LENGTHS = tuple(1 << k for k in range(10, 25))
#: Trackers of the chain, one tier (spec 7.2).
TIERS = (("udp://tracker.cortexlabs.ai:5008",),)
#: What the original tool writes, so that the same choices give the same torrent file.
CREATED_BY = "github.com/CortexFoundation/torrentfs"

_SHA1_BYTES = 20
_TRACKER = re.compile(r"(udp|http|https|ws|wss)://[!-.0-~]+(/[!-~]*)?")


@dataclass(frozen=True)
class Envelope:
    """What a torrent file says outside the info dictionary; none of it is hashed.

    tiers: tracker addresses, tried tier by tier; empty for none.
    creation_date: Unix seconds, or None for no date.
    comment: free text, or None for none.
    """

    tiers: tuple[tuple[str, ...], ...] = TIERS
    creation_date: int | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        for tier in self.tiers:
            for tracker in tier:
                if not _TRACKER.fullmatch(tracker):
                    raise InputError("tracker", f"{tracker!r} is not a tracker address", "udp://…")
        if self.creation_date is not None and not 0 <= self.creation_date < 1 << 40:
            raise InputError("creation date", f"{self.creation_date} is out of range", "seconds")


@dataclass(frozen=True)
class Info:
    """The hashed part of a torrent.

    lengths: file name → bytes, in hashing order; for a single file the name is `data` itself.
    pieces: SHA-1 digests of consecutive pieces of the concatenated files, 20 bytes each.
    """

    lengths: Mapping[str, int]
    piece_length: int
    pieces: bytes

    @property
    def dictionary(self) -> dict[bytes, Any]:
        """The info dictionary as a value of bencoding."""
        info: dict[bytes, Any] = {
            b"name": NAME.encode(),
            b"piece length": self.piece_length,
            b"pieces": self.pieces,
        }
        if set(self.lengths) == {NAME}:
            info[b"length"] = self.lengths[NAME]
        else:
            info[b"files"] = [
                {b"length": length, b"path": [name.encode()]}
                for name, length in self.lengths.items()
            ]
        return info

    @property
    def info_hash(self) -> str:
        """SHA-1 of the info dictionary: 40 lower-case hexadecimal digits."""
        return hashlib.sha1(bencode.encode(self.dictionary), usedforsecurity=False).hexdigest()

    @property
    def raw_size(self) -> int:
        """Bytes of all files together."""
        return sum(self.lengths.values())


def model_info(symbol: bytes, params: bytes, piece_length: int = PIECE_LENGTH) -> Info:
    """The info of a model folder's two files."""
    return _info({"params": params, "symbol": symbol}, piece_length)


def input_info(content: bytes, piece_length: int = PIECE_LENGTH) -> Info:
    """The info of a stored input: one `.npy` file under the name `data`."""
    return _info({NAME: content}, piece_length)


def encode(info: Info, envelope: Envelope) -> bytes:
    """The content of the torrent file."""
    outer: dict[bytes, Any] = {b"created by": CREATED_BY.encode(), b"info": info.dictionary}
    if envelope.tiers:
        outer[b"announce-list"] = [[t.encode() for t in tier] for tier in envelope.tiers]
    if envelope.creation_date is not None:
        outer[b"creation date"] = envelope.creation_date
    if envelope.comment is not None:
        outer[b"comment"] = envelope.comment.encode()
    return bencode.encode(outer)


def decode(data: bytes, source: str, with_inputs: bool = False) -> Info:
    """The info of a model's torrent file, whoever wrote it.

    with_inputs: take that of a stored input, too, whose one file is `data` itself. Keys outside
    the info dictionary are not looked at, since a node does not either. Inside, only the layout
    of spec 7.1 passes: the name `data` and the files `params` and `symbol`, so that no path of
    the torrent can lead anywhere else.
    """
    outer = bencode.decode(data, source)
    info = outer.get(b"info") if isinstance(outer, dict) else None
    if not isinstance(info, dict):
        raise InputError(source, "has no info dictionary", "a torrent file")
    content = b"length" if with_inputs and b"files" not in info else b"files"
    for key in sorted(set(info) - {content, b"name", b"piece length", b"pieces"}):
        raise InputError(source, f"the info dictionary has the key {key!r}", "none but the four")
    if info.get(b"name") != NAME.encode():
        raise InputError(source, f"is named {info.get(b'name')!r}", f"the name {NAME}")
    piece_length = info.get(b"piece length")
    if piece_length not in PIECE_LENGTHS:
        raise InputError(source, f"has the piece length {piece_length!r}", "a power of two")
    lengths = (
        _lengths(info.get(content), source)
        if content == b"files"
        else {NAME: _length(info.get(content), NAME, source)}
    )
    result = Info(lengths, piece_length, info.get(b"pieces", b""))
    count = -(-result.raw_size // piece_length)
    if not isinstance(result.pieces, bytes) or len(result.pieces) != count * _SHA1_BYTES:
        raise InputError(source, "the piece digests do not fit the file sizes", f"{count} pieces")
    return result


def broken_pieces(info: Info, files: Mapping[str, bytes]) -> Iterator[tuple[int, str, int, int]]:
    """Where files of the right sizes differ from their torrent: (piece, file, first byte, end).

    A piece that spans two files is told once for each.
    """
    found = _piece_digests([files[name] for name in info.lengths], info.piece_length)
    for index, digest in enumerate(found):
        if digest != info.pieces[index * _SHA1_BYTES : (index + 1) * _SHA1_BYTES]:
            first = index * info.piece_length
            base = 0
            for name, length in info.lengths.items():
                start, stop = max(first, base), min(first + info.piece_length, base + length)
                if start < stop:
                    yield index, name, start - base, stop - base
                base += length


def _info(files: Mapping[str, bytes], piece_length: int) -> Info:
    if piece_length not in PIECE_LENGTHS:
        raise InputError(
            "piece length",
            f"{piece_length} is not allowed",
            f"a power of two from {PIECE_LENGTHS[0]} to {PIECE_LENGTHS[-1]}",
        )
    pieces = b"".join(_piece_digests(list(files.values()), piece_length))
    return Info({name: len(data) for name, data in files.items()}, piece_length, pieces)


def _piece_digests(files: list[bytes], piece_length: int) -> Iterator[bytes]:
    """SHA-1 of each piece of the concatenation, which is never built."""
    digest, room = hashlib.sha1(usedforsecurity=False), piece_length
    for content in files:
        data, at = memoryview(content), 0
        while at < len(data):
            part = data[at : at + room]
            digest.update(part)
            at, room = at + len(part), room - len(part)
            if room == 0:
                yield digest.digest()
                digest, room = hashlib.sha1(usedforsecurity=False), piece_length
    if room < piece_length:
        yield digest.digest()


def _lengths(files: Any, source: str) -> dict[str, int]:
    """File name → length of a multi-file torrent that holds `params` and `symbol` alone."""
    if not isinstance(files, list):
        raise InputError(source, "holds a single file", "the files params and symbol")
    lengths: dict[str, int] = {}
    for entry in files:
        if not isinstance(entry, dict) or set(entry) != {b"length", b"path"}:
            raise InputError(source, "a file entry is malformed", "length and path")
        path, length = entry[b"path"], entry[b"length"]
        if path not in [[name.encode()] for name in FILES]:
            raise InputError(source, f"holds the path {path!r}", "params and symbol alone")
        name = path[0].decode()
        lengths[name] = _length(length, name, source)
    if tuple(lengths) != FILES or len(files) != len(FILES):
        raise InputError(source, "does not list params, then symbol", "each of them once")
    return lengths


def _length(value: Any, name: str, source: str) -> int:
    if not isinstance(value, int) or value <= 0:
        raise InputError(source, f"{name} has the length {value!r}", "bytes")
    return value
