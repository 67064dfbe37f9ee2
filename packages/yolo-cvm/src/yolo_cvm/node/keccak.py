"""Keccak-256 with the original padding, which names models and inputs in the node's tables.

Source: spec A15. The padding differs from that of SHA3-256, so `hashlib` has it not; PyCryptodome
computes it, which only the server needs.
"""

from __future__ import annotations

from Crypto.Hash import keccak

from yolo_cvm.bundle import rlp


def keccak256_of_string(data: bytes) -> str:
    """Digest of the RLP of one byte string, 64 lower-case hexadecimal digits."""
    state = keccak.new(digest_bits=256, data=rlp.string_head(data))
    # The string itself may be a picture, which is not copied to put its head before it.
    result: str = state.update(data).hexdigest()
    return result
