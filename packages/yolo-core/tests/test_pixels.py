"""One picture, one answer: recorded digests of what each kind of file decodes to.

`pixels.json` holds small files of every kind with size and SHA-256 of their RGB pixels, or with the
words that refuse them. The digests were the same with OpenCV 4.8.1, 4.9, 4.10, 4.11, 4.12, 4.13,
4.14 and 5.0; whichever is installed here is held to them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from yolo_core.errors import InputError
from yolo_core.media import picture
from yolo_core.yolo.letterbox import decode_image, read_image

RECORDED = json.loads((Path(__file__).parent / "pixels.json").read_text())


def file_of(name: str) -> bytes:
    return zlib.decompress(base64.b64decode(RECORDED[name]["file"]))


@pytest.mark.parametrize("name", [name for name in RECORDED if "pixels" in RECORDED[name]])
def test_pixels_are_those_recorded(name: str) -> None:
    image = decode_image(file_of(name), "x")
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.flags.c_contiguous
    found = f"{image.shape[1]}x{image.shape[0]} {hashlib.sha256(image.tobytes()).hexdigest()}"
    assert found == RECORDED[name]["pixels"]


@pytest.mark.parametrize("name", [name for name in RECORDED if "refused" in RECORDED[name]])
def test_what_versions_read_differently_is_refused(name: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_image(file_of(name), "x")
    assert caught.value.cause == RECORDED[name]["refused"]


@pytest.mark.parametrize("name", [n for n in RECORDED if n.startswith("jpeg progressive")])
def test_a_progressive_jpeg_needs_all_of_its_scans(name: str) -> None:
    """A cut one with an end marker is blurred differently by each version."""
    data = file_of(name)
    ends = [at for at in range(2, len(data)) if data[at : at + 2] == b"\xff\xda"]
    for end in ends[1:]:
        with pytest.raises(InputError, match="ends too early"):
            decode_image(data[:end] + b"\xff\xd9", "x")


@pytest.mark.parametrize("name", [n for n in RECORDED if "pixels" in RECORDED[n]])
def test_the_header_is_read_before_the_pixels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(picture.LIMIT_VARIABLE, "50")
    with pytest.raises(InputError, match=r"pixels in .* more than the limit of 50; expected a"):
        decode_image(file_of(name), "x")


def solid_webp(side: int) -> bytes:
    """A lossless WebP of one colour: about forty bytes, whatever its size."""
    bits = f"{0:01b}" + f"{0:03b}"  # no alpha is used; version 0
    size = f"{side - 1:014b}"[::-1] * 2
    head = sum(int(bit) << at for at, bit in enumerate(size + bits))
    # No transform, no cache, no groups; then five codes of one symbol each.
    body = "0" + "0" + "0" + "1000" + ("1" + "0" + "1" + "00000000"[:8]) * 4
    packed = sum(int(bit) << at for at, bit in enumerate(body))
    content = b"\x2f" + head.to_bytes(4, "little") + packed.to_bytes(12, "little")
    chunk = b"VP8L" + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


def test_a_file_of_a_kilobyte_cannot_ask_for_a_gigabyte() -> None:
    bomb = solid_webp(16_000)
    with pytest.raises(InputError, match=r"16000x16000 pixels in \d+ bytes, more than the limit"):
        decode_image(bomb, "x")


def test_fifty_kilobytes_cannot_ask_for_half_a_gigabyte() -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 6000, 6000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    with pytest.raises(InputError, match=r"6000x6000 pixels in 50029 bytes, more than the limit"):
        decode_image(data + bytes(50_000), "x")


def test_the_limit_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.png").write_bytes(file_of("png rgb"))
    monkeypatch.setenv(picture.LIMIT_VARIABLE, str(24 * 17))
    assert read_image(tmp_path / "x.png").shape == (17, 24, 3)
    monkeypatch.setenv(picture.LIMIT_VARIABLE, str(24 * 17 - 1))
    with pytest.raises(InputError, match=r"YOLO_MAX_PIXELS=408$"):
        read_image(tmp_path / "x.png")
    monkeypatch.setenv(picture.LIMIT_VARIABLE, "many")
    with pytest.raises(InputError, match="YOLO_MAX_PIXELS: is 'many'; expected a number"):
        read_image(tmp_path / "x.png")


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_bombs_take_little_memory(tmp_path: Path) -> None:
    """A JPEG 2000 of 674 bytes took 959 MB of memory."""
    siz = struct.pack(">HHIIIIIIIIH", 47, 0, 9000, 9000, 0, 0, 9000, 9000, 0, 0, 3)
    (tmp_path / "j2k").write_bytes(b"\xff\x4f\xff\x51" + siz + bytes(600))
    (tmp_path / "webp").write_bytes(solid_webp(16_000))
    code = (
        "import sys, resource\nfrom yolo_core.yolo.letterbox import opencv, read_image\n"
        "from yolo_core.errors import InputError\nopencv()\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n        read_image(path)\n    except InputError:\n        continue\n"
        "    sys.exit(7)\n"
        "print(peak() - before)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "j2k"), str(tmp_path / "webp")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 32 << 10  # in KiB
