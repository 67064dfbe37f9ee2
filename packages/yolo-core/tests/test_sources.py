"""Which pictures and videos a command's words mean, and what their results are called."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from yolo_core.detecting.sources import PICTURE, STREAM, VIDEO, find_sources
from yolo_core.errors import InputError
from yolo_core.files import atomic_write
from yolo_core.media.film import VIDEO_ENDINGS, container_of, opened_file
from yolo_core.yolo.dataset import DETECTIONS, IMAGE_ENDINGS


def names(words: Sequence[object], out: Path | None = None) -> list[str]:
    return [source.name.as_posix() for source in find_sources([str(word) for word in words], out)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of every ending that is meant, and others; the process works beside them."""
    for name in ("a/x.jpg", "b/x.jpg", "b/x.png", "b/clip.avi", "b/notes.txt", "b/.hidden.png",
                 ".ipynb_checkpoints/x.jpg", "big.JPG"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_with_all_that_is_in_it(place: Path) -> None:
    assert names([place]) == ["a/x.jpg", "b/clip.avi", "b/x.jpg", "b/x_2.png", "big.JPG"]


@pytest.mark.parametrize("ending", [*IMAGE_ENDINGS, *VIDEO_ENDINGS])
def test_every_ending_that_yolov5_takes(place: Path, ending: str) -> None:
    (place / "c").mkdir()
    (place / f"c/x{ending}").write_bytes(b"")
    (source,) = find_sources(["c"])
    assert source.kind == (PICTURE if ending in IMAGE_ENDINGS else VIDEO)
    assert source.place == Path(f"c/x{ending}")


def test_results_of_one_name_never_collide(place: Path) -> None:
    assert names(["a/x.jpg", "b/x.jpg", "b/x.png"]) == ["x.jpg", "x_2.jpg", "x_3.png"]
    assert names(["*/x.*"]) == ["a/x.jpg", "b/x.jpg", "b/x_2.png"]
    assert names(["b/x.jpg", "b/../b/x.jpg"]) == ["x.jpg"]
    (place / "b/X_2.JPG").write_bytes(b"")
    assert names(["b"]) == ["X_2.JPG", "clip.avi", "x.jpg", "x_3.png"]


def test_a_picture_called_like_a_frame_takes_the_name(place: Path) -> None:
    (place / "b/clip_1.jpg").write_bytes(b"")
    assert names(["b/clip.avi", "b/clip_1.jpg"]) == ["clip_2.avi", "clip_1.jpg"]


def test_globs_keep_what_is_below_their_fixed_part(place: Path) -> None:
    assert names(["b/*.jpg", str(place / "?/x.png")]) == ["x.jpg", "b/x.png"]
    assert names(["**/x.jpg"]) == ["a/x.jpg", "b/x.jpg"]
    (place / "cam[1].jpg").write_bytes(b"")
    assert names(["cam[1].jpg"]) == ["cam[1].jpg"]


def test_lists_name_anything(place: Path) -> None:
    (place / "b/list.txt").write_text("./x.png\na/x.jpg\n\nb/*.avi\ngone.jpg\n")
    assert names(["b/list.txt"]) == ["x.png", "x_2.jpg", "clip.avi", "gone.jpg"]


def test_the_output_folder_is_no_source(place: Path) -> None:
    (place / "b/out/labels").mkdir(parents=True)
    (place / "b/out/x.jpg").write_bytes(b"")
    (place / "b/out/labels/y.jpg").write_bytes(b"")
    assert names(["b"], place / "b/out") == ["clip.avi", "x.jpg", "x_2.png"]
    assert names(["b/**/*.jpg"], place / "b/out") == ["x.jpg"]
    for out in ("b", "."):
        with pytest.raises(InputError, match="lies where its result would go"):
            find_sources(["b"], out)
    with pytest.raises(InputError, match="lies where its result would go"):
        find_sources(["b/out/x.jpg"], "b/out")


def test_earlier_results_are_passed_over_unless_named(place: Path) -> None:
    (place / "b/day1/labels").mkdir(parents=True)
    (place / "b/day1/x.jpg").write_bytes(b"")
    (place / "b/day1/crops").mkdir()
    (place / "b/day1/crops/y.jpg").write_bytes(b"")
    atomic_write(place / "b/day1" / DETECTIONS, "{}")
    assert names(["b"]) == ["clip.avi", "x.jpg", "x_2.png"]
    assert names(["b/**/*.jpg"]) == ["x.jpg"]
    assert names(["b/day1"]) == ["crops/y.jpg", "x.jpg"]


@pytest.mark.parametrize(
    ("word", "cause"),
    [
        ("none.jpg", "does not exist"),
        ("*.webp", "matches no file"),
        ("empty", "holds no picture and no video"),
        ("empty.txt", "is empty"),
        ("https://example.org/a%20b.JPG?size=2", "is the address of a file"),
        ("ftp://example.org/x", "is an address of the kind ftp"),
        ("file:///etc/passwd", "is an address of the kind file"),
        ("1234", "does not exist"),
    ],
)
def test_what_names_nothing_is_refused(place: Path, word: str, cause: str) -> None:
    (place / "empty").mkdir()
    (place / "empty.txt").write_text("\n")
    with pytest.raises(InputError) as caught:
        find_sources([word])
    assert cause in str(caught.value)
    assert caught.value.source == word


def test_cameras_and_streams(place: Path) -> None:
    camera, picture = find_sources(["0", "a/x.jpg"])[::-1]
    assert (camera.place, camera.kind, camera.name.name) == (0, STREAM, "camera0.mp4")
    assert picture.kind == PICTURE
    (stream,) = find_sources(["rtsp://me:secret@10.0.0.7:554/ch/1"])
    assert stream.name.name == "10_0_0_7_ch_1.mp4"
    assert stream.shown == "rtsp://10.0.0.7:554/ch/1"
    with pytest.raises(InputError, match="one camera or stream too many"):
        find_sources(["0", "1"])
    (place / "0").mkdir()
    (place / "0/x.png").write_bytes(b"")
    assert names(["0"]) == ["x.png"]


def test_a_file_of_another_ending_is_told_by_its_bytes(place: Path) -> None:
    (place / "film").write_bytes(b"\x1a\x45\xdf\xa3")
    (place / "photo.jfif").write_bytes(b"\xff\xd8")
    assert [source.kind for source in find_sources(["film", "photo.jfif"])] == [VIDEO, PICTURE]
    # AVIF and HEIC lie in the same kind of file as MP4, and are refused by name as pictures.
    for number, brand in enumerate((b"avif", b"heic", b"mif1", b"isom")):
        (place / f"{number}.bin").write_bytes(bytes(4) + b"ftyp" + brand + bytes(99))
    kinds = [source.kind for source in find_sources([f"{number}.bin" for number in range(4)])]
    assert kinds == [PICTURE, PICTURE, PICTURE, VIDEO]


#: Three frames of 16 by 12 pixels.
GIF = base64.b64decode(
    "R0lGODlhEAAMAIIAANC+AIi+ALB4ADC+ADB4ALA8ALAKADAoACH/C05FVFNDQVBFMi4wAwEAAAAh+QQACgAAACwA"
    "AAAAEAAMAAAITwAPCBx4wIDBgwcJDkTIUOHAAhAjQnR4QKJFihYlEtjIkYCAjyBBduQYsuTIjQEClBQAYIDLlylj"
    "sgRA8yXMmAFo6rTpEmdOnS15+gQKICAAIfkEAQoACAAsAAAAABAADACC2L5akL5auHhaOL5aOHhauDxauApaOCha"
    "CFEADwgUaKCgQYMDEx5cmDBhgYcQHzYUGLHixAMVIwokwJGjgI8gQXYcGbLkyI4BApQUAIDjgJcDUspkCaAmTJgy"
    "U9bcefNlzgA7bfb8GRTAy4AAIfkEAQoACAAsAAAAABAADACC0L60iL60sHi0ML60MHi0sDy0sAq0MCi0CE8ADxww"
    "QLBgQYEIBRpcmDBhgYcQHzYUGLHixAMVIzYkQECAx48fOYrkCLLkSJEBApQUAODkgJQwWQKYOaCmTZgpZ+q0eROn"
    "Tpo8X/r8GTQgADs="
)


def test_a_gif_is_a_video_of_the_same_pixels_everywhere(tmp_path: Path) -> None:
    """Recorded with OpenCV 4.9, 4.11 and 5.0."""
    (tmp_path / "x.gif").write_bytes(GIF)
    with opened_file(tmp_path / "x.gif") as film:
        frames = list(film.frames())
    assert [frame.shape for frame in frames] == [(12, 16, 3)] * 3
    digest = hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest()
    assert digest == "7e3ba36958c363fe452af1ae5d0143971939008b24bcf13e32ab40a7afa7dd57"


PLAYLISTS = {
    "HLS": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfilm.avi\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile film.avi\n",
    "DASH": b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
    "SDP": b"v=0\no=- 0 0 IN IP4 127.0.0.1\n",
    "text": b"no film",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_plays_no_other_file(kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "evil.mp4").write_bytes(PLAYLISTS[kind])
    before = os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS")
    with pytest.raises(InputError, match=r"evil.mp4: is not a video"):
        opened_file(tmp_path / "evil.mp4").__enter__()
    # FFmpeg itself is told as well, should a file pass for a container that it is not.
    monkeypatch.setattr("yolo_core.media.film.container_of", lambda path: "avi")
    with pytest.raises(InputError, match=r"evil.mp4: is not a video"):
        opened_file(tmp_path / "evil.mp4").__enter__()
    assert os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS") == before


def test_a_gif_of_a_few_bytes_cannot_ask_for_gigabytes(tmp_path: Path) -> None:
    """Its canvas is looked at before FFmpeg takes the memory for it (1.8 GB for these 35 bytes)."""
    canvas = struct.pack("<HHBBB", 11_000, 12_000, 0x80, 0, 0) + bytes(6)
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, 1, 1, 0) + b"\x02\x02D\x01\0"
    (tmp_path / "x.gif").write_bytes(b"GIF89a" + canvas + frame + b";")
    with pytest.raises(InputError, match=r"11000x12000 pixels in 35 bytes, more than the limit"):
        opened_file(tmp_path / "x.gif").__enter__()


@pytest.mark.parametrize(
    ("head", "container"),
    [
        (b"\0\0\0\x18ftypisom", "mov,mp4,m4a,3gp,3g2,mj2"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
        (b"GIF89a", "gif"),
        (b"\0\0\x01\xba\x44", "mpeg"),
        ((b"\x47" + bytes(187)) * 5, "mpegts"),
        ((b"\0\0\0\0\x47" + bytes(187)) * 5, "mpegts"),
        (b"\x47\0\0\0", None),
    ],
)
def test_containers_are_told_by_their_first_bytes(
    head: bytes, container: str | None, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(head)
    assert container_of(tmp_path / "x") == container
