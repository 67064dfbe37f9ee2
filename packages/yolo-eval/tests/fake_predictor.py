"""A predictor without a network, and one that runs an integer model node by node.

`FakePredictor` finds patches of pure colour and answers with logits for them.
Its model file is JSON: kind, score (of every box), shift (pixels to the right), drop (class
indices that it does not see), fail (stop with an interrupt after so many images), slow (seconds
per image), mode (how images are fitted), own_imgsz (what it is made for), decides (settings that
it has built in, as `NmsSettings` takes them).
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from pathlib import Path

import numpy as np

from yolo_core.arrays import Array
from yolo_core.files import sha256_file
from yolo_core.graph import interpret
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.boxes import NmsSettings, detections
from yolo_core.yolo.model_folder import is_model_folder, read_model_folder
from yolo_core.yolo.predictor import check_settings

OFF = -12.0
#: Models as the README calls them.
README_MODELS = ("weights/yolov5n", "qout/yolov5n_cvm")

#: The classes and what they look like, RGB.
COLORS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220)}


class FakePredictor:
    def __init__(self, path: Path, imgsz: tuple[int, int]) -> None:
        options = json.loads(Path(path).read_text())
        self.architecture = Architecture.named("n", names=tuple(COLORS))
        self.imgsz = imgsz
        self.own_imgsz = options.get("own_imgsz")
        self.kind = options.get("kind", "float")
        self.digest = sha256_file(path)
        self._score = options.get("score", 0.9)
        self._shift = options.get("shift", 0)
        self._drop = options.get("drop", [])
        self._left = options.get("fail")
        self.mode = options.get("mode", "letterbox")
        self._slow = options.get("slow", 0)
        built_in = options.get("decides")
        self.decided = NmsSettings(**built_in) if built_in else None

    def logits(self, batch: Array) -> Array:
        if self._left is not None:
            if self._left == 0:
                raise KeyboardInterrupt
            self._left -= 1
        time.sleep(self._slow)
        return np.stack([self._one(image) for image in batch])

    def detections(self, batch: Array, settings: NmsSettings) -> list[Array]:
        check_settings(self, settings)
        return [detections(rows, self.architecture, self.imgsz, settings)
                for rows in self.logits(batch)]  # fmt: skip

    def undecided(self) -> FakePredictor:
        rows = copy.copy(self)
        rows.decided = None
        return rows

    def _one(self, image: Array) -> Array:
        height, width = self.imgsz
        levels = [
            np.full((3, height // s, width // s, 5 + len(COLORS)), OFF)
            for s in self.architecture.strides
        ]
        for label, color in enumerate(COLORS.values()):
            ys, xs = np.nonzero((image == np.array(color, dtype=np.uint8)).all(axis=2))
            if len(ys) == 0 or label in self._drop:
                continue
            box = xs.min() + self._shift, ys.min(), xs.max() + 1 + self._shift, ys.max() + 1
            self._place(levels[0], box, label)
        return np.concatenate([level.reshape(-1, level.shape[-1]) for level in levels])

    def _place(self, level: Array, box: tuple[int, ...], label: int) -> None:
        stride, (wide, tall) = self.architecture.strides[0], self.architecture.anchors[0][0]
        x, y = (box[0] + box[2]) / 2 / stride, (box[1] + box[3]) / 2 / stride
        column = min(int(x), level.shape[2] - 1)
        row = int(y)
        cell = level[0, row, column]
        cell[:5] = [
            _logit((x - column + 0.5) / 2),
            _logit((y - row + 0.5) / 2),
            _logit(np.sqrt((box[2] - box[0]) / wide) / 2),
            _logit(np.sqrt((box[3] - box[1]) / tall) / 2),
            _logit(self._score),
        ]
        cell[5 + label] = -OFF


class GraphPredictor:
    """An integer model folder, run by the definitions of its operators."""

    kind = "integer"

    def __init__(self, path: Path) -> None:
        folder = read_model_folder(path)
        self._graph, self._extension = folder.graph, folder.extension()
        self.architecture, self.imgsz = self._extension.architecture, self._extension.imgsz
        self.digest = hashlib.sha256(folder.symbol + folder.params).hexdigest()

    def logits(self, batch: Array) -> Array:
        codes = self._extension.quantize_input(batch)
        return self._extension.dequantize(interpret.run(self._graph, codes)[0])


class FakeOpener:
    def accepts(self, path: Path) -> bool:
        named = str(path).endswith((".fake", *README_MODELS)) and Path(path).is_file()
        return named or str(path).endswith(".fake") or is_model_folder(path)

    def open(
        self, path: Path, imgsz: tuple[int, int] | None, threads: int | None, device: str
    ) -> FakePredictor | GraphPredictor:
        if is_model_folder(path):
            return GraphPredictor(path)
        return FakePredictor(path, imgsz or (64, 64))


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))
