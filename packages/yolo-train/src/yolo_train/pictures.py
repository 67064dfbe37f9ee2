"""Pictures of what goes into a training and of what comes out: batches with their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Callable

import numpy as np

from yolo_core.arrays import Array
from yolo_core.files import atomic_write
from yolo_core.yolo.letterbox import Letterbox, opencv, read_image
from yolo_train.batches import Batch
from yolo_train.samples import Sample
from yolo_train.validate import Validated

#: Pictures of a sheet, its columns, and the largest side of a picture on it.
_ON_SHEET, _COLUMNS, _SIDE = 16, 4, 320
#: Detections below this score are not drawn.
_SHOWN = 0.25

Box = tuple[float, float, float, float, str, int]


def train_batch(path: Path, batch: Batch) -> None:
    """A sheet of a training batch as the network sees it, with its boxes."""
    tiles = []
    for place, planar in enumerate(batch.images[:_ON_SHEET]):
        side = planar.shape[1]
        rows = batch.targets[(batch.targets[:, 0] == place) & (batch.targets[:, 1] >= 0)]
        boxes: list[Box] = [
            (
                (x - w / 2) * side, (y - h / 2) * side, (x + w / 2) * side, (y + h / 2) * side,
                str(int(label)), int(label),
            )
            for _, label, x, y, w, h in rows.tolist()
        ]  # fmt: skip
        tiles.append(_drawn(np.ascontiguousarray(planar.transpose(1, 2, 0)), boxes))
    _write_sheet(path, tiles)


def val_batches(
    folder: Path, samples: Sequence[Sample], validated: Validated, names: Sequence[str], count: int
) -> None:
    """Sheets `val_batch*_labels.jpg` and `val_batch*_pred.jpg` of the first samples."""
    for sheet in range(count):
        members = range(sheet * _ON_SHEET, min((sheet + 1) * _ON_SHEET, len(samples)))
        if not members:
            return
        images = [read_image(samples[number].image) for number in members]

        def truth(number: int) -> list[Box]:
            return [
                (*box, names[int(label)], int(label))
                for label, *box in validated.truths[number].tolist()
            ]

        def prediction(number: int) -> list[Box]:
            return [
                (*box, f"{names[int(label)]} {score:.2f}", int(label))
                for *box, score, label in validated.found[number].tolist()
                if score >= _SHOWN
            ]

        kinds: Sequence[tuple[str, Callable[[int], list[Box]]]] = (
            ("labels", truth),
            ("pred", prediction),
        )
        for kind, boxes in kinds:
            tiles = [_tile(image, boxes(number)) for image, number in zip(images, members)]
            _write_sheet(folder / f"val_batch{sheet}_{kind}.jpg", tiles)


def color(label: int) -> tuple[int, int, int]:
    """A colour per class: around the colour wheel in golden steps."""
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb(label * 0.618 % 1, 0.9, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _tile(image: Array, boxes: Sequence[Box]) -> Array:
    """The image in a square, with its boxes."""
    tile, placement = Letterbox(_SIDE, _SIDE).apply(image)
    corners = placement.from_image(np.array([box[:4] for box in boxes]).reshape(-1, 4))
    return _drawn(tile, [(*moved, *box[4:]) for moved, box in zip(corners.tolist(), boxes)])


def _drawn(image: Array, boxes: Sequence[Box]) -> Array:
    cv2 = opencv()
    for x1, y1, x2, y2, text, label in boxes:
        low, high = (round(x1), round(y1)), (round(x2), round(y2))
        cv2.rectangle(image, low, high, color(label), 1)
        place = (low[0] + 2, max(low[1] + 10, 10))
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 255), 1)
    return image


def _write_sheet(path: Path, tiles: Sequence[Array]) -> None:
    cv2 = opencv()
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // _COLUMNS)
    sheet = np.full((rows * height, min(_COLUMNS, len(tiles)) * width, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        y, x = number // _COLUMNS * height, number % _COLUMNS * width
        sheet[y : y + height, x : x + width] = tile
    _, data = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    atomic_write(path, data.tobytes())
