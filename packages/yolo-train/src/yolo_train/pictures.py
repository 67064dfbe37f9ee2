"""Pictures of what goes into a training and of what comes out: batches with their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Callable

import numpy as np

from yolo_core.arrays import Array
from yolo_core.files import atomic_write
from yolo_core.yolo.drawing import LabelledBox, draw, encode_picture, labelled
from yolo_core.yolo.letterbox import Letterbox, read_image
from yolo_core.yolo.samples import Sample
from yolo_train.batches import Batch
from yolo_train.validate import Validated

#: Pictures of a sheet, its columns, and the largest side of a picture on it.
_ON_SHEET, _COLUMNS, _SIDE = 16, 4, 320
#: Detections below this score are not drawn.
_SHOWN = 0.25


def train_batch(path: Path, batch: Batch) -> None:
    """A sheet of a training batch as the network sees it, with its boxes."""
    tiles = []
    for place, planar in enumerate(batch.images[:_ON_SHEET]):
        sides = np.array(planar.shape[2:0:-1] * 2)
        rows = batch.targets[(batch.targets[:, 0] == place) & (batch.targets[:, 1] >= 0)]
        corners = np.concatenate(
            (rows[:, 2:4] - rows[:, 4:] / 2, rows[:, 2:4] + rows[:, 4:] / 2), axis=1
        )
        boxes = [
            LabelledBox(box, str(int(label)), int(label))
            for box, label in zip((corners * sides).tolist(), rows[:, 1].tolist())
        ]
        tiles.append(draw(planar.transpose(1, 2, 0), boxes))
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

        def truth(number: int) -> list[LabelledBox]:
            return [
                LabelledBox(box, names[int(label)], int(label))
                for label, *box in validated.truths[number].tolist()
            ]

        def prediction(number: int) -> list[LabelledBox]:
            found = validated.found[number]
            return labelled(found[found[:, 4] >= _SHOWN], names)

        kinds: Sequence[tuple[str, Callable[[int], list[LabelledBox]]]] = (
            ("labels", truth),
            ("pred", prediction),
        )
        for kind, boxes in kinds:
            tiles = [_tile(image, boxes(number)) for image, number in zip(images, members)]
            _write_sheet(folder / f"val_batch{sheet}_{kind}.jpg", tiles)


def _tile(image: Array, boxes: Sequence[LabelledBox]) -> Array:
    """The image in a square, with its boxes."""
    tile, placement = Letterbox(_SIDE, _SIDE).apply(image)
    corners = placement.from_image(np.array([box.corners for box in boxes]).reshape(-1, 4))
    return draw(tile, [replace(box, corners=moved) for box, moved in zip(boxes, corners.tolist())])


def _write_sheet(path: Path, tiles: Sequence[Array]) -> None:
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // _COLUMNS)
    sheet = np.full((rows * height, min(_COLUMNS, len(tiles)) * width, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        y, x = number // _COLUMNS * height, number % _COLUMNS * width
        sheet[y : y + height, x : x + width] = tile
    atomic_write(path, encode_picture(sheet))
