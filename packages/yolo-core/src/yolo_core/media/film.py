"""Videos, cameras and streams, frame by frame; and the annotated video that is written.

A video file is opened only when its first bytes say that it is a container of pictures: FFmpeg
follows what a playlist names, which may be another file of this machine or an address. It is then
told that this container and local files are all that it may read.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.media.picture import check_size
from yolo_core.yolo.letterbox import opencv

#: YOLOv5 takes these for videos, and .webm; what is in them is told from their bytes.
VIDEO_ENDINGS = (".asf", ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts",
                 ".webm", ".wmv")  # fmt: skip

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_MOV = "mov,mp4,m4a,3gp,3g2,mj2"
#: FFmpeg's names of the containers that are read, and how their files begin.
_CONTAINERS = (
    # AVIF and HEIC are pictures in the same kind of file.
    (_MOV, rb".{4}(ftyp(?!avi[fs]|hei|hev|mif1|msf1)|moov|mdat|free|skip|wide|pnot)"),
    ("avi", rb"RIFF.{4}AVI "),
    ("matroska,webm", rb"\x1a\x45\xdf\xa3"),
    ("asf", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    ("gif", rb"GIF8[79]a"),
    ("mpeg", rb"\0\0\x01\xba"),
    ("mpegvideo", rb"\0\0\x01\xb3"),
    ("m4v", rb"\0\0\x01[\xb0\xb5\0\x20]"),
    ("mpegts", rb"\x47.{187}\x47.{187}\x47"),
    ("mpegts", rb".{4}\x47.{191}\x47.{191}\x47"),
)
_HEAD = 1024
_STREAM_PROTOCOLS = "http,https,httpproxy,tcp,tls,udp,rtp,rtsp,rtsps,rtmp,rtmps,srtp,crypto"
#: VP9 plays in every browser, and OpenCV's wheels can write it; other builds may lack it.
_CODECS = ("vp09", "avc1", "mp4v")
_BOX_HEADER = 8
_USUAL_RATE, _MOST_RATE = 25.0, 1000


@dataclass(frozen=True)
class Film:
    """An open video, camera or stream. name: for errors. rate: frames a second.

    capture: OpenCV's `VideoCapture`, which `opened` closes.
    """

    name: str
    rate: float
    capture: Any

    def frames(self) -> Iterator[Array]:
        """The frames that are left, uint8 [H, W, 3] RGB."""
        while True:
            good, frame = self.capture.read()
            if not good:
                return
            yield np.ascontiguousarray(frame[:, :, ::-1])


def container_of(path: PathLike) -> str | None:
    """FFmpeg's name of the container that a file's first bytes announce; None where it is none."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})") from error
    for name, pattern in _CONTAINERS:
        if re.match(pattern, head, re.DOTALL):
            return name
    return None


@contextlib.contextmanager
def opened_file(path: PathLike) -> Iterator[Film]:
    """A video file. InputError where it is missing, no video, or larger than the limit a frame."""
    place = os.path.abspath(path)
    if not os.path.isfile(place):
        cause = "is not a regular file" if os.path.exists(place) else "does not exist"
        raise InputError(path, cause, "a video")
    check_name(path)
    container = container_of(place)
    if container is None:
        raise InputError(path, "is not a video that can be read", "MP4, AVI, MOV, WEBM …")
    length = os.path.getsize(place)
    if container == "gif":  # FFmpeg takes memory for the canvas when it opens the file
        check_size(*_gif_size(place), length, str(path))
    cv2 = opencv()
    allowed = f"protocol_whitelist;file|format_whitelist;{container}"
    with _told_ffmpeg(allowed):
        capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG)
    with _closing(capture, str(path), "MP4, AVI, MOV, WEBM …", length) as film:
        yield film


def _gif_size(place: str) -> tuple[int, int]:
    """(width, height) by the header of a GIF."""
    with open(place, "rb") as stream:
        head = stream.read(10)
    return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")


@contextlib.contextmanager
def opened_stream(address: str | int) -> Iterator[Film]:
    """A camera by its number, or a stream by its address. InputError where it does not open."""
    cv2 = opencv()
    if isinstance(address, int):
        with _closing(cv2.VideoCapture(address), f"camera {address}", "a camera") as film:
            yield film
        return
    own = os.environ.get(_OPTIONS, "rtsp_flags;prefer_tcp")
    with _told_ffmpeg(f"{own}|protocol_whitelist;{_STREAM_PROTOCOLS}"):
        capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG)
    with _closing(capture, without_password(address), "a stream that answers") as film:
        yield film


def without_password(address: str) -> str:
    """An address as it may be shown."""
    return re.sub(r"(?<=://)[^/@]*@", "", address)


def check_name(path: PathLike) -> None:
    """InputError for a name that is not UTF-8, with which OpenCV ends the process."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(path, "has a name that is not UTF-8", "another name") from None


@contextlib.contextmanager
def _told_ffmpeg(options: str) -> Iterator[None]:
    """OpenCV hands FFmpeg what stands in this variable when it opens a video."""
    before = os.environ.get(_OPTIONS)
    os.environ[_OPTIONS] = options
    try:
        yield
    finally:
        if before is None:
            del os.environ[_OPTIONS]
        else:
            os.environ[_OPTIONS] = before


@contextlib.contextmanager
def _closing(capture: Any, name: str, expected: str, length: int | None = None) -> Iterator[Film]:
    """length: of the file in bytes; None of a camera or stream."""
    cv2 = opencv()
    try:
        if not capture.isOpened():
            raise InputError(name, "is not a video that can be read", expected)
        width, height = (int(capture.get(side)) for side in _sides(cv2))
        check_size(width, height, length, name)
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        yield Film(name, rate if 0 < rate <= _MOST_RATE else _USUAL_RATE, capture)
    finally:
        capture.release()


def _sides(cv2: Any) -> tuple[int, int]:
    return cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT


class FilmWriter:
    """An MP4 that takes uint8 [H, W, 3] RGB frames of one size; `close` completes it."""

    def __init__(self, path: PathLike, rate: float, width: int, height: int) -> None:
        """InputError where this OpenCV can write no video."""
        cv2 = opencv()
        check_name(path)
        self._size = (width, height)
        for code in _CODECS:
            fourcc = cv2.VideoWriter_fourcc(*code)
            self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, rate, self._size)
            if self._writer.isOpened():
                return
        raise InputError(path, "cannot be written by this OpenCV")

    def add(self, image: Array) -> None:
        """One more frame; a stream that changes its size is fitted into the first."""
        cv2 = opencv()
        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2.resize(image, self._size)
        self._writer.write(np.ascontiguousarray(image[:, :, ::-1]))

    def close(self) -> None:
        self._writer.release()


def is_whole_mp4(path: PathLike) -> bool:
    """Whether an MP4's boxes fill the file, its index among them.

    FFmpeg says nothing where the disk is full, and drops what it would have written. Source:
    ISO/IEC 14496-12, section 4.2.
    """
    names, at, size = set(), 0, os.path.getsize(path)
    with open(path, "rb") as stream:
        while at < size:
            stream.seek(at)
            head = stream.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:], "big")
            if length < _BOX_HEADER:
                return False
            names.add(head[4:8])
            at += length
    return at == size and {b"mdat", b"moov"} <= names
