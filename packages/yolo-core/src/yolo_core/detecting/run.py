"""Detection over any sources, and what is written: drawn pictures and videos, labels, crops, JSON.

    OUT/bus.jpg, OUT/drive.mp4       the picture or video with its boxes drawn
    OUT/labels/bus.txt               with save_txt: class, centre, size as shares of the picture
    OUT/labels/drive_1.txt           the same for a video's first frame
    OUT/crops/person/bus_1.jpg       with save_crop: each box as a picture
    OUT/detections.json              all of it as data

A picture without boxes has no label file, as in YOLOv5. A source that cannot be read is left out
and told, and the others go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolo_core.arrays import Array
from yolo_core.detecting.options import DetectOptions
from yolo_core.detecting.sources import PICTURE, STREAM, Source, find_sources
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_move, atomic_write
from yolo_core.media.film import (
    Film,
    FilmWriter,
    check_name,
    is_whole_mp4,
    opened_file,
    opened_stream,
)
from yolo_core.outputs import check_holds_no_input, check_outputs, is_result, new_folder
from yolo_core.yolo.dataset import DETECTIONS
from yolo_core.yolo.drawing import draw, encode_picture, labelled
from yolo_core.yolo.letterbox import read_image
from yolo_core.yolo.model_folder import model_sources
from yolo_core.yolo.predictor import Predictor, detect, unshown

#: Endings that annotated pictures keep; everything else becomes a JPEG.
_KEPT_ENDINGS = (".jpg", ".png")


@dataclass(frozen=True)
class Found:
    """Detections of one picture or frame.

    name: the source's name among the results. place: the source as it was named. frame: number in
    a video from 1, None in a picture. boxes: float64 [n, 6] as `yolo_core.yolo.predictor.detect`
    gives them. classes: the model's class names.
    """

    name: str
    place: str
    frame: int | None
    width: int
    height: int
    boxes: Array
    classes: tuple[str, ...]

    def records(self) -> list[dict[str, Any]]:
        """The detections as plain JSON data."""
        return as_records(self.boxes, self.classes)


def as_records(boxes: Array, names: Sequence[str]) -> list[dict[str, Any]]:
    """Detections [n, 6] (x1 y1 x2 y2, score, class) as plain JSON data."""
    return [
        {
            "box": [round(float(value), 2) for value in row[:4]],
            "score": round(float(row[4]), 5),
            "class": int(row[5]),
            "name": names[int(row[5])],
        }
        for row in boxes
    ]


@dataclass
class Detection:
    """Detection over sources. `run` gives what is found as it comes.

    mode: as for `yolo_core.yolo.predictor.detect`. out: the folder of the results; None writes
    nothing. document: what `detections.json` holds, from all that was found and left out. done:
    sources that are complete.
    """

    predictor: Predictor
    sources: Sequence[Source]
    wishes: DetectOptions
    out: Path | None
    document: Callable[[Detection], Any]
    mode: str | None = None
    found: list[Found] = field(default_factory=list)
    left_out: list[InputError] = field(default_factory=list)
    done: int = 0

    def __post_init__(self) -> None:
        """InputError for wishes that the model cannot fulfil."""
        self._settings = self.wishes.settings(self.predictor)
        self._names = tuple(self.predictor.architecture.names)
        self._wanted = self.wishes.class_numbers(self._names)
        self._crop_folders = _crop_folders(self._names)

    def run(self) -> Iterator[Found | InputError]:
        """What is found, picture by picture; an InputError for a source that is left out.

        Ctrl-C ends a camera or stream, whose results are kept.
        """
        for source in self.sources:
            try:
                for item in self._one(source):
                    self.found.append(item)
                    yield item
                self.done += 1
            except InputError as error:
                self.left_out.append(error)
                yield error
        if self.out is not None:
            text = json.dumps(self.document(self), indent=1) + "\n"
            atomic_write(self.out / DETECTIONS, text)

    def unshown(self) -> str | None:
        """A sentence about boxes that the model decided on and that are left out, or None."""
        return unshown(self.predictor, self._settings)

    def fault(self) -> InputError | None:
        """What to end with where sources were left out."""
        if not self.left_out:
            return None
        first = self.left_out[0]
        if len(self.sources) == 1:
            return first
        cause = f"{len(self.left_out)} of {len(self.sources)} could not be read, first {first}"
        return InputError("sources", cause)

    def _one(self, source: Source) -> Iterator[Found]:
        if source.kind == PICTURE:
            assert isinstance(source.place, Path)
            image = read_image(source.place)
            item, drawn = self._look(source, image, None)
            if self.out is not None:
                target = result_place(self.out, source)
                atomic_write(target, encode_picture(drawn, target.suffix))
            yield item
        elif isinstance(source.place, Path):
            with opened_file(source.place) as film:
                yield from self._film(source, film)
        else:
            with opened_stream(source.place) as film:
                yield from self._film(source, film)

    def _film(self, source: Source, film: Film) -> Iterator[Found]:
        """Every frame in turn; the annotated video takes its place when the last is done."""
        with contextlib.ExitStack() as stack:
            video = _Video(result_place(self.out, source), film) if self.out is not None else None
            if video is not None:
                stack.enter_context(video)
            number = 0
            frames = film.frames()
            while True:
                try:
                    image = next(frames, None)
                    if image is None:
                        break
                    number += 1
                    item, drawn = self._look(source, image, number)
                    if video is not None:
                        video.add(drawn)
                except KeyboardInterrupt:
                    if source.kind != STREAM:
                        raise
                    break
                yield item
            if not number:
                raise InputError(source.shown, "holds no frames", "a complete video")
            if video is not None:
                video.complete()

    def _look(self, source: Source, image: Array, frame: int | None) -> tuple[Found, Array]:
        """Detect in one picture or frame and write its labels and crops; also the drawn picture."""
        boxes = detect(self.predictor, image, self._settings, self.mode, self._wanted)
        height, width = image.shape[:2]
        item = Found(source.name.as_posix(), source.shown, frame, width, height, boxes, self._names)
        if self.out is None:
            return item, image
        if self.wishes.save_txt:
            self._write_labels(label_place(self.out, source, frame), item)
        if self.wishes.save_crop:
            self._write_crops(source, item, image)
        boxes_drawn = labelled(boxes, self._names, self.wishes.hide_labels)
        return item, draw(image, boxes_drawn, self.wishes.line_width)

    def _write_labels(self, path: Path, item: Found) -> None:
        if len(item.boxes):
            atomic_write(path, label_rows(item, self.wishes.save_conf))
        elif is_result(path):  # of an earlier run, which had other boxes
            path.unlink()

    def _write_crops(self, source: Source, item: Found, image: Array) -> None:
        assert self.out is not None
        stem = label_place(self.out, source, item.frame).stem
        folders = [self.out / "crops" / name / source.name.parent for name in self._crop_folders]
        counts = [0] * len(self._names)
        for x1, y1, x2, y2, _, label in item.boxes.tolist():
            counts[int(label)] += 1
            left, top = int(x1), int(y1)
            crop = image[top : max(round(y2), top + 1), left : max(round(x2), left + 1)]
            if crop.size:
                path = folders[int(label)] / f"{stem}_{counts[int(label)]}.jpg"
                atomic_write(path, encode_picture(crop))
        for folder, count in zip(folders, counts):
            number = count + 1
            while is_result(earlier := folder / f"{stem}_{number}.jpg"):
                earlier.unlink()  # of an earlier run, which had more boxes
                number += 1


class _Video:
    """The annotated video: written beside its place, and put there when it is complete."""

    def __init__(self, target: Path, film: Film) -> None:
        check_name(target)
        self._target, self._rate = target, film.rate
        self._writer: FilmWriter | None = None

    def __enter__(self) -> _Video:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._scratch = tempfile.TemporaryDirectory(dir=self._target.parent, prefix=".")
        self._unfinished = os.path.join(self._scratch.name, "video.mp4")
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()
        self._scratch.cleanup()

    def add(self, image: Array) -> None:
        if self._writer is None:
            height, width = image.shape[:2]
            self._writer = FilmWriter(self._unfinished, self._rate, width, height)
        self._writer.add(image)

    def complete(self) -> None:
        assert self._writer is not None
        self._writer.close()
        if not is_whole_mp4(self._unfinished):
            raise InputError(self._target, "cannot be written whole", "room on the disk")
        atomic_move(self._unfinished, self._target)


def prepare(
    open_model: Callable[[], Predictor],
    model: PathLike,
    words: Sequence[PathLike],
    out: PathLike | None,
    wishes: DetectOptions,
    document: Callable[[Detection], Any],
    mode: str | None = None,
    always: bool = True,
) -> Detection:
    """Detection by a model, ready to run. InputError for anything that is known to fail later.

    open_model: opens the model at `model`. words: what the user calls the sources. out: None takes
    `runs/detect/exp`, `exp2` and so on where anything is to be written. mode: as for
    `yolo_core.yolo.predictor.detect`. always: write pictures also where nothing says so.
    """
    sources = find_sources(words, out)
    if out is not None:
        _check_results(Path(out), sources, wishes, model_sources(model))
    predictor = open_model()
    detection = Detection(predictor, sources, wishes, None, document, mode)
    if out is None and (always or wishes.save_txt or wishes.save_crop):
        out = new_folder("runs/detect", "exp")
    detection.out = None if out is None else Path(out)
    return detection


def _check_results(
    out: Path, sources: Sequence[Source], wishes: DetectOptions, inputs: Sequence[Path]
) -> None:
    """InputError, before any work, where the results would replace what is not ours."""
    check_holds_no_input(out, inputs)
    files = [result_place(out, source) for source in sources]
    if wishes.save_txt:
        files += [label_place(out, source) for source in sources if source.kind == PICTURE]
    check_outputs(files=[*files, out / DETECTIONS])


def result_place(out: Path, source: Source) -> Path:
    """Where the drawn picture or video goes."""
    ending = source.name.suffix.lower()
    if source.kind != PICTURE:
        ending = ".mp4"
    elif ending not in _KEPT_ENDINGS:
        ending = ".jpg"
    return (out / source.name).with_suffix(ending)


def label_place(out: Path, source: Source, frame: int | None = None) -> Path:
    """Where the labels of a picture or of a frame (from 1) go."""
    stem = source.name.stem if frame is None else f"{source.name.stem}_{frame}"
    return out / "labels" / source.name.parent / f"{stem}.txt"


def label_rows(item: Found, save_conf: bool) -> str:
    """A line per box: class, centre x and y, width, height as shares of the picture; the score."""
    lines = []
    for x1, y1, x2, y2, score, label in item.boxes.tolist():
        shares = [
            (x1 + x2) / 2 / item.width,
            (y1 + y2) / 2 / item.height,
            (x2 - x1) / item.width,
            (y2 - y1) / item.height,
            *([score] if save_conf else []),
        ]
        lines.append(f"{int(label)} " + " ".join(f"{value:.6f}" for value in shares) + "\n")
    return "".join(lines)


def _crop_folders(names: Sequence[str]) -> list[str]:
    """A folder for each class, called as the class as far as a file system takes it."""
    folders: list[str] = []
    for number, name in enumerate(names):
        folder = re.sub(r'[\\/:*?"<>|\x00-\x1f\x7f]', "_", name).strip(" .")[:80]
        taken = {other.casefold() for other in folders}
        plain = folder if folder and folder.casefold() not in taken else f"{folder}_{number}"
        folders.append(plain)
    return folders
