"""What fuzzing found and was mended is read again; the seeds of the fuzzer are sound files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"
sys.path.insert(0, str(FUZZ))

import parsers  # noqa: E402

#: Readers of whole networks: their seeds are the beginning of one.
PARTS = {"pt", "npz", "safetensors", "onnx", "model_yaml", "data_yaml", "sidecar"}
TARGETS = sorted(parsers.targets())


@pytest.mark.parametrize("target", [name for name in TARGETS if name not in PARTS])
def test_the_seeds_are_read(target: str) -> None:
    reader, seeds = parsers.targets()[target], list(parsers.seeds(target))
    assert seeds
    for seed in seeds:
        reader(seed)


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_is_read_or_refused(target: str) -> None:
    reader = parsers.targets()[target]
    for data in (b"", b"\x00" * 64, b"{}", b"[" * 5000, b"\xff\xfe"):
        parsers.check(reader, data)
    for path in sorted((FUZZ / "found" / target).glob("*")):
        parsers.check(reader, path.read_bytes())
