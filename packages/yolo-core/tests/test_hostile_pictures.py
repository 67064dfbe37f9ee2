"""Pictures that are cut, bent, or larger than they look."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_core.errors import InputError
from yolo_core.yolo.letterbox import Letterbox, opencv, read_image, resize

ENDINGS = [".jpg", ".png", ".bmp", ".webp", ".tif"]


def encoded(ending: str) -> bytes:
    """A smooth picture of 120x90 pixels."""
    rows, columns = np.mgrid[0:90, 0:120]
    picture = np.stack((rows * 2, columns * 2, rows + columns), axis=-1).astype(np.uint8)
    done, data = opencv().imencode(ending, picture)
    assert done
    return bytes(data)


def png(width: int, height: int) -> bytes:
    """A PNG that announces this size and holds a megabyte of black at most."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1 << 20))
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def bmp(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head + bytes(100)


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_whole_picture_is_read(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{ending}"
    path.write_bytes(encoded(ending))
    assert read_image(path).shape == (90, 120, 3)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.8, 0.95, 0.99])
def test_a_cut_picture_is_refused(ending: str, share: float, tmp_path: Path) -> None:
    data = encoded(ending)
    path = tmp_path / f"x{ending}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match="x"):
        read_image(path)


def chunks(*parts: tuple[bytes, bytes], break_at: int = -1) -> bytes:
    """A PNG of these chunks; the one numbered `break_at` has a wrong checksum."""
    data = b"\x89PNG\r\n\x1a\n"
    for number, (kind, content) in enumerate(parts):
        checksum = zlib.crc32(kind + content) ^ (number == break_at)
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    return data


HEAD = (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
GREY, PALETTE = (
    (b"IHDR", struct.pack(">IIBBBBB", 8, 8, *kind, 0, 0, 0)) for kind in [(7, 0), (8, 3)]
)
WIDE = (b"IHDR", struct.pack(">IIBBBBB", 1_000_001, 1, 8, 0, 0, 0, 0))
BODY, END = (b"IDAT", zlib.compress(bytes(8 * 25))), (b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (chunks(HEAD, BODY, END, break_at=1), "is a PNG with a damaged piece at byte 33"),
        (chunks(HEAD, BODY, END, break_at=0), "is a PNG with a damaged piece at byte 8"),
        (chunks(HEAD, BODY), "ends too early"),
        (chunks(HEAD, HEAD, BODY, END), "unknown or misplaced pieces"),
        (chunks(HEAD, END), "unknown or misplaced pieces"),
        (chunks((b"IDAT", HEAD[1]), BODY, END), "unknown or misplaced pieces"),
        (chunks((b"IHDR", HEAD[1][:12]), BODY, END), "whose header is none"),
        (chunks(HEAD, (b"ABCD", b""), BODY, END), "unknown or misplaced pieces"),
        (chunks(PALETTE, BODY, END), "without its palette"),
        (chunks(GREY, BODY, END), "whose header is none"),
        (chunks(WIDE, BODY, END), "of 1000001x1 pixels; expected sides up to 1000000"),
    ],
)
def test_a_broken_png_is_told_by_its_name_alone(
    data: bytes, told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=told):
        read_image(path)
    assert capfd.readouterr() == ("", "")  # the decoder has nothing to add


@pytest.mark.parametrize("extra", [(b"gAMA", bytes(4)), (b"tEXt", b"a\0b"), (b"abCd", b"")])
def test_what_a_decoder_may_leave_out_may_be_broken(
    extra: tuple[bytes, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(chunks(HEAD, extra, BODY, END, break_at=1) + b"more")
    assert read_image(path).shape == (8, 8, 3)


def photograph() -> bytes:
    """A JPEG with a thumbnail in its first segment, as cameras write it."""
    data = encoded(".jpg")
    thumbnail = b"Exif\0\0" + data
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]


def test_a_jpeg_of_endless_scans_is_refused(tmp_path: Path) -> None:
    """Each scan of a few bytes makes the decoder go over the whole picture again."""
    done, data = opencv().imencode(
        ".jpg", np.zeros((4000, 4000, 3), np.uint8), [opencv().IMWRITE_JPEG_PROGRESSIVE, 1]
    )
    assert done
    whole = bytes(data)
    read_at = whole.rfind(b"\xff\xda")
    (tmp_path / "x.jpg").write_bytes(whole[:-2] + whole[read_at:-2] * 200 + whole[-2:])
    with pytest.raises(InputError, match="scans of 4000x4000 pixels; expected fewer scans"):
        read_image(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").write_bytes(whole)
    assert read_image(tmp_path / "x.jpg").shape == (4000, 4000, 3)


@pytest.mark.parametrize("share", [0.3, 0.55, 0.7, 0.9, 0.999])
def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture(share: float, tmp_path: Path) -> None:
    data = photograph()
    (tmp_path / "x.jpg").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match="ends too early"):
        read_image(tmp_path / "x.jpg")


def test_a_photograph_with_a_film_behind_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(photograph() + bytes(100_000))
    assert read_image(tmp_path / "x.jpg").shape == (90, 120, 3)


HOSTILE = {
    "png of 10^10 pixels": png(100_000, 100_000),
    "png of 2^31 a side": png(2**31 - 1, 2**31 - 1),
    "png without width": png(0, 5),
    "png larger than its data": png(11_000, 11_000),
    "bmp of 2^31": bmp(2**31 - 1, 1),
    "bmp of 10^10": bmp(100_000, 100_000),
    "bmp of nothing": bmp(0, 0),
    "pixmap of 10^16": b"P6 99999999 99999999 255\nabc",
    "radiance": b"#?RADIANCE\n\n-Y 100000 +X 100000\n",
    "jpeg of nothing": b"\xff\xd8\xff\xd9",
    "text": b"hello",
    "empty": b"",
    "script": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_pictures(kind: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(HOSTILE[kind])
    with pytest.raises(InputError, match="x: "):
        read_image(tmp_path / "x")


def test_the_decoder_writes_no_log_of_its_own(tmp_path: Path) -> None:
    """OpenCV would add lines to the one that people are promised."""
    (tmp_path / "x.bmp").write_bytes(bmp(50, 50))
    code = (
        "import sys\nfrom yolo_core.yolo.letterbox import read_image\n"
        "from yolo_core.errors import InputError\n"
        "try:\n    read_image(sys.argv[1])\nexcept InputError:\n    sys.exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.bmp")], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (7, "")


@pytest.mark.parametrize("mode", ["letterbox", "squash"])
@pytest.mark.parametrize("size", [(1, 200_000), (200_000, 1), (200_000, 2), (1, 1)])
def test_extreme_shapes_take_little_memory(mode: str, size: tuple[Any, ...]) -> None:
    picture = np.zeros((*size, 3), np.uint8)
    tracemalloc.start()
    try:
        canvas, placement = Letterbox(320, 320, mode).apply(picture)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert canvas.shape == (320, 320, 3)
    assert min(placement.resized) >= 1


def test_resize_of_part_of_the_rows_equals_resize_of_all() -> None:
    """Leaving out rows that do not count changes nothing: bilinear in closed form."""
    ramp = np.arange(201, dtype=np.uint8)[:, None, None] * np.ones((1, 3, 3), np.uint8)
    small = resize(ramp, 3, 3)
    assert small[:, 0, 0].tolist() == [33, 100, 167]
