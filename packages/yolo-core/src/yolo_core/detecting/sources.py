"""What the sources of a command name: pictures, videos, folders, globs, lists, a camera, a stream.

Every picture and video has a name of its own below the output folder, so that no result takes the
place of another: what comes from a folder or a glob keeps its place in it, anything else its file
name, and a number is added where a name would stand twice.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.media.film import VIDEO_ENDINGS, container_of, without_password
from yolo_core.outputs import check_holds_no_input
from yolo_core.yolo.dataset import IMAGE_ENDINGS, files_below, holds_results, is_image_name, listed

STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https")

PICTURE, VIDEO, STREAM = "picture", "video", "stream"

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_WILD = re.compile(r"[*?\[]")
_EXPECTED = "pictures, videos, folders, globs, lists (.txt), a camera's number or a stream"


@dataclass(frozen=True)
class Source:
    """One picture, video, camera or stream.

    place: its file, the number of a camera, or the address of a stream. name: its place below
    the output folder, with its own ending; no two sources have names that differ by their ending
    alone.
    """

    place: Path | int | str
    name: Path
    kind: str

    @property
    def shown(self) -> str:
        """The source in a message."""
        return without_password(self.place) if isinstance(self.place, str) else str(self.place)


def find_sources(words: Sequence[PathLike], out: PathLike | None = None) -> list[Source]:
    """Every source that the words name, each once; a camera or stream comes last.

    out: the output folder, which is never taken for a source. InputError for a word that names
    nothing, and where a result would lie among the sources.
    """
    found: dict[str, tuple[Path, Path, str]] = {}
    streams: list[Source] = []
    for word in (os.fspath(word) for word in words):
        stream = _stream(word)
        if stream is not None:
            streams.append(stream)
            continue
        for place, name, kind in _files(word, out):
            found.setdefault(os.path.abspath(place), (place, name, kind))
    if len(streams) > 1:
        cause, expected = "is one camera or stream too many", "one, which is read until it ends"
        raise InputError(streams[1].shown, cause, expected)
    if out is not None:
        check_holds_no_input(out, [place for place, _, _ in found.values()])
    return _named_apart([*(Source(*entry) for entry in found.values()), *streams])


def kind_of(path: Path) -> str:
    """PICTURE or VIDEO: by the ending, else by the first bytes of the file."""
    if is_image_name(path):
        return PICTURE
    if path.suffix.lower() in VIDEO_ENDINGS:
        return VIDEO
    return VIDEO if path.is_file() and container_of(path) else PICTURE


def _stream(word: str) -> Source | None:
    if word.isascii() and word.isdigit() and len(word) < 4 and not os.path.lexists(word):
        return Source(int(word), Path(f"camera{int(word)}.mp4"), STREAM)
    if _ADDRESS.match(word) is None or os.path.lexists(word):
        return None
    parts = urlsplit(word)
    if parts.scheme.lower() not in STREAMS:
        cause = f"is an address of the kind {parts.scheme}"
        raise InputError(without_password(word), cause, f"a file, or one of {' '.join(STREAMS)}")
    if PurePosixPath(parts.path).suffix.lower() in (*IMAGE_ENDINGS, ".txt", ".zip"):
        cause = "is the address of a file, and nothing is downloaded"
        raise InputError(without_password(word), cause, "a file that you have downloaded")
    named = re.sub(r"[^A-Za-z0-9_-]+", "_", f"{parts.hostname or ''}{parts.path}").strip("_")
    return Source(word, Path(f"{named[:100] or 'stream'}.mp4"), STREAM)


def _files(word: str, out: PathLike | None) -> Iterator[tuple[Path, Path, str]]:
    """Place, name and kind of every file that a word names."""
    path = Path(word)
    if os.path.isdir(word):
        yield from _in_folder(path, out)
    elif os.path.lexists(word):
        if path.suffix.lower() == ".txt":
            yield from _in_list(path, out)
        else:
            yield path, Path(path.name), kind_of(path)
    elif _WILD.search(word):
        yield from _matching(word, out)
    else:
        raise InputError(word, "does not exist", _EXPECTED)


def _in_folder(folder: Path, out: PathLike | None) -> Iterator[tuple[Path, Path, str]]:
    if out is not None:
        check_holds_no_input(out, [folder])
    count = 0
    for place in sorted(_not_results(files_below(folder), folder, out)):
        if is_image_name(place) or place.suffix.lower() in VIDEO_ENDINGS:
            yield place, place.relative_to(folder), kind_of(place)
            count += 1
    if not count:
        raise InputError(folder, "holds no picture and no video", " ".join(_ENDINGS))


_ENDINGS = (*IMAGE_ENDINGS, *VIDEO_ENDINGS)


def _not_results(places: Iterable[Path], top: Path, out: PathLike | None) -> Iterator[Path]:
    """The files that lie neither in the output folder nor in one of earlier results below `top`."""
    top = Path(os.path.abspath(top))
    verdicts: dict[Path, bool] = {}
    target = None if out is None else os.path.realpath(out)

    def passed_over(folder: Path) -> bool:
        if folder not in verdicts:
            here = folder != top and folder.is_relative_to(top)
            verdicts[folder] = os.path.realpath(folder) == target or (
                here and (holds_results(folder) or passed_over(folder.parent))
            )
        return verdicts[folder]

    return (place for place in places if not passed_over(Path(os.path.abspath(place)).parent))


def _matching(pattern: str, out: PathLike | None) -> Iterator[tuple[Path, Path, str]]:
    parts = Path(pattern).parts
    wild = next(number for number, part in enumerate(parts) if _WILD.search(part))
    base = Path(*parts[:wild])
    if out is not None:
        check_holds_no_input(out, [base])
    places = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    places = [place for place in _not_results(places, base, out) if place.is_file()]
    if not places:
        raise InputError(pattern, "matches no file", "pictures or videos")
    for place in places:
        yield place, place.relative_to(base), kind_of(place)


def _in_list(place: Path, out: PathLike | None) -> Iterator[tuple[Path, Path, str]]:
    """What the lines of a list name; a file that is absent is told when its turn comes."""
    count = 0
    for line in listed(place):
        count += 1
        text = str(line)
        if os.path.isdir(text) or (_WILD.search(text) and not os.path.lexists(text)):
            yield from _files(text, out)
        else:
            yield line, Path(line.name), kind_of(line)
    if not count:
        raise InputError(place, "is empty", "a line for each picture")


def _named_apart(sources: Sequence[Source]) -> list[Source]:
    """The sources with names of which no two differ by their ending, or by large letters, alone.

    A video's frames are numbered behind its name, so a picture that is called like a frame takes
    that name from the video.
    """
    taken: set[str] = set()
    named: dict[int, Path] = {}
    order = sorted(range(len(sources)), key=lambda number: sources[number].kind != PICTURE)
    for number in order:
        name, film = sources[number].name, sources[number].kind != PICTURE
        count, stem = 1, name.stem
        while not _is_free(name.with_name(stem), film, taken):
            count += 1
            stem = f"{name.stem}_{count}"
        named[number] = name.with_name(stem + name.suffix)
        taken.add(_key(name.with_name(stem)))
    return [Source(s.place, named[number], s.kind) for number, s in enumerate(sources)]


def _key(stem: Path) -> str:
    return str(stem).casefold()


def _is_free(stem: Path, film: bool, taken: set[str]) -> bool:
    key = _key(stem)
    if key in taken:
        return False
    frames = re.compile(re.escape(key) + r"_\d+")
    return not film or not any(frames.fullmatch(other) for other in taken)
