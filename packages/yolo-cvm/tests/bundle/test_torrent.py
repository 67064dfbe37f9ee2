"""The torrent: the vectors of spec section 10, one layout, no way out of it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_core.errors import InputError
from yolo_cvm.bundle import bencode, torrent

SYMBOL, PARAMS = b"A" * 5000, b"B" * 5000
INFO = torrent.model_info(SYMBOL, PARAMS)


@pytest.mark.parametrize(
    ("piece_length", "info_hash"),
    [
        (4096, "3a741a4a0b8af0becf99f6dcf69756ed77b1e6e5"),
        (262144, "155a099bda1480b37829f3a8b522fed3b3459608"),
    ],
)
def test_vectors(piece_length: int, info_hash: str) -> None:
    assert torrent.model_info(SYMBOL, PARAMS, piece_length).info_hash == info_hash


def test_torrent_file_says_what_the_original_says() -> None:
    outer = bencode.decode(torrent.encode(INFO, torrent.Envelope()), "x")
    assert outer == {
        b"announce-list": [[b"udp://tracker.cortexlabs.ai:5008"]],
        b"created by": b"github.com/CortexFoundation/torrentfs",
        b"info": {
            b"files": [
                {b"length": 5000, b"path": [b"params"]},
                {b"length": 5000, b"path": [b"symbol"]},
            ],
            b"name": b"data",
            b"piece length": 4096,
            b"pieces": INFO.pieces,
        },
    }
    content = PARAMS + SYMBOL
    digests = [hashlib.sha1(content[at : at + 4096]).digest() for at in range(0, 10_000, 4096)]
    assert INFO.pieces == b"".join(digests)


def test_envelope_does_not_touch_the_hash() -> None:
    envelope = torrent.Envelope((("udp://a:1", "http://b/announce"), ("udp://c:2",)), 1, "note")
    data = torrent.encode(INFO, envelope)
    outer = bencode.decode(data, "x")
    assert outer[b"announce-list"] == [[b"udp://a:1", b"http://b/announce"], [b"udp://c:2"]]
    assert (outer[b"creation date"], outer[b"comment"]) == (1, b"note")
    assert torrent.decode(data, "x") == INFO


def test_no_tracker_at_all() -> None:
    outer = bencode.decode(torrent.encode(INFO, torrent.Envelope(tiers=())), "x")
    assert set(outer) == {b"created by", b"info"}


def test_stored_input_is_a_single_file() -> None:
    info = torrent.input_info(b"npy" * 2000)
    outer = bencode.decode(torrent.encode(info, torrent.Envelope()), "x")
    assert outer[b"info"][b"length"] == 6000
    assert outer[b"info"][b"name"] == b"data"
    assert b"files" not in outer[b"info"]


@given(st.binary(min_size=1, max_size=9000), st.binary(min_size=1, max_size=9000))
def test_libtorrent_agrees(symbol: bytes, params: bytes) -> None:
    libtorrent = pytest.importorskip("libtorrent", reason="libtorrent is not installed")
    info = torrent.model_info(symbol, params, 1024)
    theirs = libtorrent.torrent_info(libtorrent.bdecode(torrent.encode(info, torrent.Envelope())))
    assert str(theirs.info_hash()) == info.info_hash
    assert theirs.num_pieces() * 20 == len(info.pieces)
    assert theirs.total_size() == info.raw_size


def damage(**changes: object) -> bytes:
    """The good torrent with entries of the info dictionary replaced, or removed where None."""
    outer = bencode.decode(torrent.encode(INFO, torrent.Envelope()), "x")
    for key, value in changes.items():
        name = key.replace("_", " ").encode()
        if value is None:
            del outer[b"info"][name]
        else:
            outer[b"info"][name] = value
    return bencode.encode(outer)


def files(*entries: tuple[list[bytes], object]) -> list[dict[bytes, object]]:
    return [{b"length": length, b"path": path} for path, length in entries]


GOOD = ([b"params"], 5000), ([b"symbol"], 5000)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"files": files(([b"..", b"params"], 5000), GOOD[1])}, "holds the path"),
        ({"files": files(([b"../params"], 5000), GOOD[1])}, "holds the path"),
        ({"files": files(([b"/etc/passwd"], 5000), GOOD[1])}, "holds the path"),
        ({"files": files(([b"params\0"], 5000), GOOD[1])}, "holds the path"),
        ({"files": files(([b"PARAMS"], 5000), GOOD[1])}, "holds the path"),
        ({"files": files(([], 5000), GOOD[1])}, "holds the path"),
        ({"files": files(*GOOD, ([b"ext"], 1))}, "holds the path"),
        ({"files": files(GOOD[1], GOOD[0])}, "params, then symbol"),
        ({"files": files(GOOD[0])}, "params, then symbol"),
        ({"files": files(GOOD[0], GOOD[0])}, "params, then symbol"),
        ({"files": files(GOOD[0], ([b"symbol"], -5000))}, "has the length"),
        ({"files": files(GOOD[0], ([b"symbol"], 0))}, "has the length"),
        ({"files": files(GOOD[0], ([b"symbol"], b"5"))}, "has the length"),
        ({"files": files(GOOD[0], ([b"symbol"], 1 << 60))}, "piece digests do not fit"),
        ({"files": [b"params"]}, "malformed"),
        ({"files": None, "length": 10_000}, "has the key b'length'"),
        ({"files": None}, "single file"),
        ({"name": b"../data"}, "is named"),
        ({"name": None}, "is named"),
        ({"piece_length": 0}, "piece length"),
        ({"piece_length": 4095}, "piece length"),
        ({"piece_length": [1]}, "piece length"),
        ({"pieces": INFO.pieces[:-1]}, "piece digests do not fit"),
        ({"pieces": INFO.pieces + bytes(20)}, "piece digests do not fit"),
        ({"pieces": 5}, "piece digests do not fit"),
        ({"pieces": None}, "piece digests do not fit"),
        ({"private": 1}, "has the key b'private'"),
        ({"meta version": 2}, "has the key b'meta version'"),
    ],
)
def test_hostile_info(changes: dict[str, Any], cause: str) -> None:
    with pytest.raises(InputError, match=f"^evil: .*{cause}"):
        torrent.decode(damage(**changes), "evil")


@pytest.mark.parametrize("data", [b"le", b"de", b"d4:infolee", b"i1e", b"", b"\x80" * 50])
def test_no_torrent(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^evil: "):
        torrent.decode(data, "evil")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (0, [(0, "params", 0, 4096)]),
        (4999, [(1, "params", 4096, 5000), (1, "symbol", 0, 3192)]),
        (5000, [(1, "params", 4096, 5000), (1, "symbol", 0, 3192)]),
        (9999, [(2, "symbol", 3192, 5000)]),
    ],
)
def test_broken_piece_is_located(at: int, expected: list[Any]) -> None:
    content = bytearray(PARAMS + SYMBOL)
    content[at] ^= 1
    found = {"params": bytes(content[:5000]), "symbol": bytes(content[5000:])}
    assert list(torrent.broken_pieces(INFO, found)) == expected


def test_whole_files_have_no_broken_piece() -> None:
    assert not list(torrent.broken_pieces(INFO, {"params": PARAMS, "symbol": SYMBOL}))


@pytest.mark.parametrize("piece_length", [0, -4096, 512, 4095, 1 << 25])
def test_piece_length_out_of_range(piece_length: int) -> None:
    with pytest.raises(InputError, match="power of two"):
        torrent.model_info(SYMBOL, PARAMS, piece_length)


@pytest.mark.parametrize(
    "tracker",
    ["", "tracker", "file:///etc", "udp://", "udp://a b", "udp://\ud800", "udp://é", "udp://a\n"],
)
def test_no_tracker_address(tracker: str) -> None:
    with pytest.raises(InputError, match="not a tracker address"):
        torrent.Envelope(tiers=((tracker,),))


def test_date_out_of_range() -> None:
    with pytest.raises(InputError, match="out of range"):
        torrent.Envelope(creation_date=-1)
