"""Hash trees as in RFC 6962, with a title: their roots, and proofs of some of their leaves.

docs/receipt.md states the trees, docs/witness.md the proofs. Level 0 of a tree are its leaves;
a node of the next level is the digest of two neighbours, and one that is left over at the end of
a level moves up as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

_LEAF, _BRANCH, _ROOT = b"\x00", b"\x01", b"\x02"


def leaf(content: bytes | memoryview) -> bytes:
    """SHA-256 of 0x00 and a leaf's content."""
    digest = hashlib.sha256(_LEAF)
    digest.update(content)
    return digest.digest()


def branch(left: bytes, right: bytes) -> bytes:
    """SHA-256 of 0x01 and the digests of two neighbours."""
    return hashlib.sha256(_BRANCH + left + right).digest()


def tree_levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels of the tree, the leaves first and the top, a list of one, last."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        level = levels[-1]
        pairs = len(level) // 2
        joined = [branch(level[2 * k], level[2 * k + 1]) for k in range(pairs)]
        levels.append(joined + level[2 * pairs :])
    return levels


def tree_top(leaves: Sequence[bytes]) -> bytes:
    """The top of the tree over leaves; SHA-256 of nothing without leaves."""
    return tree_levels(leaves)[-1][0] if leaves else hashlib.sha256().digest()


def tree_root(title: str, leaves: Sequence[bytes]) -> bytes:
    """SHA-256 of 0x02, the title (ASCII) and a line feed, the count of leaves in 8 bytes
    big-endian, and `tree_top`; so trees of two titles or two lengths never share a root."""
    return _titled(title, len(leaves), tree_top(leaves))


def level_width(count: int, level: int) -> int:
    """How many nodes a level has in a tree of `count` leaves."""
    return -(-count >> level) if count else 0


def tree_height(count: int) -> int:
    """The level of the top of a tree of `count` leaves, at least one."""
    return (count - 1).bit_length()


def siblings(
    levels: Sequence[Sequence[bytes]], wanted: Iterable[int], level: int = 0
) -> list[bytes]:
    """The digests that `root_from` needs beside the nodes `wanted` of a level.

    From that level upwards, in each from left to right: the neighbour of every node that is
    known, unless it is known as well.
    """
    found = []
    known = set(wanted)
    for nodes in levels[level:-1]:
        for index in sorted(known):
            other = index ^ 1
            if other < len(nodes) and other not in known:
                found.append(nodes[other])
        known = {index // 2 for index in known}
    return found


def root_from(
    title: str, count: int, known: Mapping[int, bytes], proof: Sequence[bytes], level: int = 0
) -> bytes:
    """The root of a tree of which some nodes of one level are known.

    count: leaves of the tree; known: index to digest, at least one; proof: as `siblings` gives
    it. ValueError where an index is none of the level, or the proof has too few or too many.
    """
    width = level_width(count, level)
    if not known or min(known) < 0 or max(known) >= width:
        raise ValueError(f"no node of a level of {width}")
    rest = iter(proof)
    nodes = dict(known)
    while width > 1:
        above: dict[int, bytes] = {}
        for index in sorted(nodes):
            if index // 2 in above:
                continue
            other = index ^ 1
            if other >= width:
                above[index // 2] = nodes[index]
                continue
            beside = nodes[other] if other in nodes else next(rest, None)
            if beside is None:
                raise ValueError("the proof is too short")
            pair = (nodes[index], beside) if other > index else (beside, nodes[index])
            above[index // 2] = branch(*pair)
        nodes, width = above, (width + 1) // 2
    if next(rest, None) is not None:
        raise ValueError("the proof is too long")
    return _titled(title, count, nodes[0])


def _titled(title: str, count: int, top: bytes) -> bytes:
    head = _ROOT + title.encode("ascii") + b"\n" + count.to_bytes(8, "big")
    return hashlib.sha256(head + top).digest()
