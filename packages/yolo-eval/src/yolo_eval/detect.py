"""Detections for people: annotated pictures and videos, YOLO label files, one JSON of all boxes."""

from __future__ import annotations

import glob
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import atomic_move, atomic_write
from yolo_core.outputs import check_holds_no_input, check_outputs
from yolo_core.progress import progress
from yolo_core.yolo.boxes import NmsSettings
from yolo_core.yolo.dataset import list_images
from yolo_core.yolo.drawing import draw, encode_picture, labelled
from yolo_core.yolo.letterbox import opencv, read_image
from yolo_core.yolo.model_folder import model_sources
from yolo_core.yolo.predictor import Predictor, detect, open_predictor, settle

VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
#: Endings that annotated pictures keep; everything else becomes a JPEG.
KEPT_ENDINGS = (".jpg", ".png")


@dataclass(frozen=True)
class Found:
    """Detections of one picture or frame.

    boxes: float64 [n, 6] as `yolo_core.yolo.predictor.detect` gives them.
    name: path below the sources' common folder. frame: number in a video from 0, None in a
    picture. classes: the model's class names.
    """

    name: str
    frame: int | None
    width: int
    height: int
    boxes: Array
    classes: tuple[str, ...]


def detect_sources(
    model: str,
    sources: Sequence[str],
    out: Path,
    imgsz: tuple[int, int] | None = None,
    mode: str | None = None,
    threads: int | None = None,
    device: str = "cpu",
    conf: float | None = None,
    iou: float | None = None,
    max_det: int | None = None,
) -> list[Found]:
    """Detect in images, folders, globs and videos; write pictures, labels and JSON below `out`.

    conf, iou, max_det: None takes what the model decides by itself, else what people want to see.
    Raises InputError for a source that is nothing of that kind, or a file that cannot be read.
    """
    names = find_sources(sources)
    check_holds_no_input(out, [*names, *model_sources(model)])
    check_outputs(files={place for name in names.values() for place in _results(out, name)})
    predictor = open_predictor(model, imgsz, threads, device)
    settings = settle(predictor, NmsSettings.for_display(), conf, iou, max_det)
    pictures = [path for path in names if path.suffix.lower() not in VIDEO_ENDINGS]
    videos = [path for path in names if path.suffix.lower() in VIDEO_ENDINGS]
    classes = predictor.architecture.names
    found = []
    for path in progress(pictures, "pictures", unit="image") if pictures else ():
        image = read_image(path)
        boxes = detect(predictor, image, settings, mode=mode)
        name = names[path]
        picture, labels, _ = _results(out, name)
        drawn = draw(image, labelled(boxes, classes))
        atomic_write(picture, encode_picture(drawn, picture.suffix))
        height, width = image.shape[:2]
        found.append(Found(name.as_posix(), None, width, height, boxes, classes))
        _write_labels(labels, found[-1])
    for path in videos:
        found += _video(predictor, path, names[path], out, settings, mode)
    atomic_write(out / "detections.json", _json(found, model, predictor))
    return found


def _results(out: Path, name: Path) -> tuple[Path, Path, Path]:
    """Where the drawn picture or film of a source goes, its labels, and the JSON of all."""
    ending = name.suffix.lower()
    if ending in VIDEO_ENDINGS:
        ending = ".mp4"
    elif ending not in KEPT_ENDINGS:
        ending = ".jpg"
    labels = out / "labels" / name.with_suffix(".txt")
    return out / name.with_suffix(ending), labels, out / "detections.json"


def find_sources(sources: Sequence[str]) -> dict[Path, Path]:
    """Every picture and video that the sources name, and the name of its result.

    What comes from a folder keeps its place in it; anything else its file name. Raises InputError
    where two results would have one name.
    """
    names: dict[Path, Path] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            for place in _in_folder(path):
                names.setdefault(place, place.relative_to(path))
            continue
        places = [path]
        if not path.exists() and any(sign in source for sign in "*?["):
            places = [Path(name) for name in sorted(glob.glob(source, recursive=True))]
            places = [place for place in places if place.is_file()]
            if not places:
                raise InputError(source, "matches no file", "images or videos")
        for place in places:
            if place.suffix.lower() in VIDEO_ENDINGS:
                if not place.is_file():
                    raise InputError(place, "does not exist", "a video")
                names.setdefault(place, Path(place.name))
            else:
                for image in list_images(place):
                    names.setdefault(image, Path(image.name))
    seen: dict[str, Path] = {}
    for path, name in names.items():
        stem = str(name.with_suffix(""))
        if stem in seen:
            raise InputError(path, f"would share its result with {seen[stem]}", "other names")
        seen[stem] = path
    return names


def _in_folder(folder: Path) -> list[Path]:
    """Pictures and videos of a folder and the folders in it."""
    films = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in VIDEO_ENDINGS]
    try:
        return [*list_images(folder), *films]
    except InputError:
        # A folder without pictures is a fine source where it holds videos.
        if films:
            return films
        raise


def _video(
    predictor: Predictor, path: Path, name: Path, out: Path, settings: NmsSettings, mode: str | None
) -> list[Found]:
    """Detect in every frame and write the annotated video beside its labels."""
    cv2 = opencv()
    target = out / name.with_suffix(".mp4")
    for place in (path, target):
        try:
            str(place).encode("utf-8")
        except UnicodeEncodeError:  # OpenCV ends the process with such a name
            raise InputError(place, "has a name that is not UTF-8", "another name") from None
    film = cv2.VideoCapture(str(path))
    if not film.isOpened():
        raise InputError(path, "is not a video that can be read", "MP4, AVI, MOV …")
    rate = film.get(cv2.CAP_PROP_FPS)
    rate = rate if 0 < rate <= 1000 else 25.0
    target.parent.mkdir(parents=True, exist_ok=True)
    classes = predictor.architecture.names
    count = max(1, int(film.get(cv2.CAP_PROP_FRAME_COUNT)))
    found: list[Found] = []
    writer = None
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as scratch:
        unfinished = os.path.join(scratch, "video.mp4")
        for number, image in enumerate(progress(_frames(film), str(name), count, unit="frame")):
            height, width = image.shape[:2]
            if writer is None:
                code = cv2.VideoWriter_fourcc(*"mp4v")
                writer = cv2.VideoWriter(unfinished, code, rate, (width, height))
                if not writer.isOpened():
                    raise InputError(target, "cannot be written by this OpenCV")
            boxes = detect(predictor, image, settings, mode=mode)
            writer.write(np.ascontiguousarray(draw(image, labelled(boxes, classes))[:, :, ::-1]))
            found.append(Found(name.as_posix(), number, width, height, boxes, classes))
            label = name.with_name(f"{name.stem}_{number}.txt")
            _write_labels(out / "labels" / label, found[-1])
        film.release()
        if writer is None:
            raise InputError(path, "holds no frames", "a complete video")
        writer.release()
        atomic_move(unfinished, target)
    return found


def _frames(film: Any) -> Iterator[Array]:
    """The frames of an open video, uint8 [H, W, 3] RGB."""
    while True:
        good, frame = film.read()
        if not good:
            return
        yield np.ascontiguousarray(frame[:, :, ::-1])


def _write_labels(path: Path, found: Found) -> None:
    """One line per box: class, centre x and y, width, height as shares of the picture, score."""
    lines = []
    for x1, y1, x2, y2, score, label in found.boxes.tolist():
        shares = (
            (x1 + x2) / 2 / found.width,
            (y1 + y2) / 2 / found.height,
            (x2 - x1) / found.width,
            (y2 - y1) / found.height,
        )
        lines.append(f"{int(label)} " + " ".join(f"{v:.6f}" for v in shares) + f" {score:.4f}\n")
    atomic_write(path, "".join(lines))


def _json(found: Sequence[Found], model: str, predictor: Predictor) -> str:
    content = {
        "model": {"path": str(model), "kind": predictor.kind, "digest": predictor.digest},
        "images": [
            {
                "file_name": item.name,
                **({} if item.frame is None else {"frame": item.frame}),
                "width": item.width,
                "height": item.height,
                "detections": [
                    {
                        "box": [round(value, 2) for value in row[:4]],
                        "score": round(row[4], 5),
                        "class": int(row[5]),
                        "name": item.classes[int(row[5])],
                    }
                    for row in item.boxes.tolist()
                ],
            }
            for item in found
        ],
    }
    return json.dumps(content, indent=1) + "\n"
