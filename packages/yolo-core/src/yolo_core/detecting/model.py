"""`Model`, a detector for Python programs and notebooks, and what it finds.

model = Model("qout/yolov5n_cvm")
found = model("bus.jpg")
print(found)
found.save("found.jpg")
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, overload

from yolo_core.arrays import Array
from yolo_core.detecting.options import DetectOptions
from yolo_core.detecting.pictures import is_one, pictures
from yolo_core.detecting.run import as_records
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_write
from yolo_core.words import shown
from yolo_core.yolo.drawing import draw, encode_picture, labelled
from yolo_core.yolo.letterbox import check_imgsz
from yolo_core.yolo.predictor import decision_of, detect, open_predictor

#: Classes that the card names.
_NAMED = 12


@dataclass(frozen=True, repr=False)
class Result:
    """Detections of one picture.

    name: of its file, or "picture". image: uint8 [height, width, 3] RGB. boxes: float64 [n, 6]:
    x1 y1 x2 y2 in the picture's pixels, score, class; best first. names: of all classes.
    """

    name: str
    image: Array
    boxes: Array
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"<{shown(self.name)} {width}x{height}: {self._counts()}>"

    def __str__(self) -> str:
        """A line for the picture and one for each box, as `detect` prints them."""
        height, width = self.image.shape[:2]
        lines = [f"{shown(self.name)}  {width}x{height}  {self._counts()}"]
        for item in self.records():
            corners = " ".join(f"{value:.0f}" for value in item["box"])
            lines.append(f"  {item['score']:.3f}  {shown(item['name']):<16} {corners}")
        return "\n".join(lines)

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the picture with its boxes."""
        return encode_picture(self.draw(), ".png")

    def _counts(self) -> str:
        counted = Counter(self.names[int(label)] for label in self.boxes[:, 5])
        return ", ".join(f"{count} {shown(name)}" for name, count in counted.items()) or "nothing"

    def draw(self, line_width: int | None = None) -> Array:
        """A copy of the picture with the boxes, uint8 [height, width, 3] RGB."""
        return draw(self.image, labelled(self.boxes, self.names), line_width)

    def save(self, path: PathLike) -> None:
        """Write the picture with the boxes. InputError for an ending that is not .jpg or .png."""
        ending = str(path).lower()[-4:]
        if ending not in (".jpg", ".png"):
            raise InputError(path, "is not the name of a picture to write", ".jpg or .png")
        atomic_write(path, encode_picture(self.draw(), ending))

    def records(self) -> list[dict[str, Any]]:
        """Box, score, class and name of each detection as plain JSON data."""
        return as_records(self.boxes, self.names)

    def numpy(self) -> Array:
        """A copy of the boxes."""
        return self.boxes.copy()

    def pandas(self) -> Any:
        """A DataFrame with YOLOv5's columns: xmin ymin xmax ymax confidence class name."""
        columns = ("xmin", "ymin", "xmax", "ymax", "confidence")
        table = _library("pandas").DataFrame(self.boxes[:, :5], columns=list(columns))
        table["class"] = self.boxes[:, 5].astype(int)
        table["name"] = [self.names[int(label)] for label in self.boxes[:, 5]]
        return table

    def coco(
        self, image_id: int, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Entries of a COCO results file. category_ids: of the classes; None counts from 0."""
        numbers = range(len(self.names)) if category_ids is None else category_ids
        if len(numbers) != len(self.names):
            cause, expected = f"are {len(numbers)}", f"{len(self.names)}, one a class"
            raise InputError("category_ids", cause, expected)
        return [
            {
                "image_id": image_id,
                "category_id": numbers[int(label)],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            for x1, y1, x2, y2, score, label in self.boxes.tolist()
        ]

    def supervision(self) -> Any:
        """`supervision.Detections`, with the names of the classes in its data."""
        import numpy as np

        labels = self.boxes[:, 5].astype(int)
        return _library("supervision").Detections(
            xyxy=self.boxes[:, :4].copy(),
            confidence=self.boxes[:, 4].copy(),
            class_id=labels,
            data={"class_name": np.array([self.names[label] for label in labels.tolist()])},
        )


class Results(Sequence[Result]):
    """Detections of several pictures, in their order."""

    def __init__(self, items: Sequence[Result]) -> None:
        self._items = tuple(items)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, at: int) -> Result: ...

    @overload
    def __getitem__(self, at: slice) -> Results: ...

    def __getitem__(self, at: int | slice) -> Result | Results:
        return Results(self._items[at]) if isinstance(at, slice) else self._items[at]

    def __iter__(self) -> Iterator[Result]:
        return iter(self._items)

    def __repr__(self) -> str:
        return f"<{len(self)} pictures: {sum(map(len, self))} boxes>"

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def numpy(self) -> list[Array]:
        """The boxes of each picture."""
        return [item.numpy() for item in self]

    def pandas(self) -> Any:
        """One DataFrame; its column `image` is the name of the picture."""
        tables = []
        for item in self:
            table = item.pandas()
            table.insert(0, "image", item.name)
            tables.append(table)
        return _library("pandas").concat(tables, ignore_index=True)

    def coco(
        self,
        image_ids: Sequence[int] | None = None,
        category_ids: Sequence[int] | None = None,
    ) -> list[dict[str, Any]]:
        """Entries of a COCO results file. image_ids: of the pictures; None counts from 0."""
        numbers = range(len(self)) if image_ids is None else image_ids
        if len(numbers) != len(self):
            raise InputError("image_ids", f"are {len(numbers)}", f"{len(self)}, one a picture")
        return [
            entry
            for item, number in zip(self, numbers)
            for entry in item.coco(number, category_ids)
        ]


class Model:
    """A detector of any kind: a checkpoint, a folder of an integer model, a bundle.

    predictor: what runs it. names: of its classes. imgsz: (height, width) of its input.
    """

    def __init__(
        self,
        path: PathLike,
        imgsz: int | tuple[int, int] | None = None,
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        """path: what `yolo detect` takes. imgsz: None takes the model's own, or 640. threads: None
        leaves it to the library behind. device: "cpu" or "gpu:0". InputError for what is no model.
        """
        size = None if imgsz is None else check_imgsz(imgsz)
        self.path = path
        self.predictor = open_predictor(path, size, threads, device)
        self.names = tuple(self.predictor.architecture.names)
        self.imgsz = self.predictor.imgsz

    def __repr__(self) -> str:
        height, width = self.imgsz
        what = f"{self.predictor.kind} {self.predictor.architecture.model_name}"
        return f"Model({str(self.path)!r}: {what}, {width}x{height}, {len(self.names)} classes)"

    def _repr_html_(self) -> str:
        """The card that a notebook shows."""
        decided = decision_of(self.predictor)
        height, width = self.imgsz
        listed = ", ".join(map(shown, self.names[:_NAMED]))
        rest = len(self.names) - _NAMED
        rows = {
            "Model": f"{self.predictor.architecture.model_name}, {self.predictor.kind}",
            "Path": shown(self.path),
            "Input": f"{width} x {height} pixels (width x height)",
            "Classes": f"{len(self.names)}: {listed}{f' and {rest} more' if rest > 0 else ''}",
            "Boxes": "chosen by the caller"
            if decided is None
            else f"by the model: score above {decided.conf:g}, IoU {decided.iou:g}, "
            f"at most {decided.max_det}",
            "SHA-256": self.predictor.digest,
        }
        cells = "".join(
            f"<tr><th style='text-align:left'>{label}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for label, text in rows.items()
        )
        return f"<table>{cells}</table>"

    @overload
    def __call__(self, source: list[Any] | tuple[Any, ...], **wishes: Any) -> Results: ...

    @overload
    def __call__(self, source: Any, **wishes: Any) -> Any: ...

    def __call__(self, source: Any, **wishes: Any) -> Result | Results:
        """What is found in a picture: `Result`; in a list, a batch, a folder or a glob: `Results`.

        source: a path, a PIL image, an array uint8 [height, width, 3] RGB or [n, height, width, 3],
        a PyTorch tensor [3, height, width] or [n, 3, height, width] of uint8 or from 0 to 1, or a
        list of these. wishes: conf, iou, max_det, classes, agnostic_nms, as `DetectOptions` has
        them. InputError, in words, for anything else.
        """
        asked = _options(wishes)
        settings = asked.settings(self.predictor)
        wanted = asked.class_numbers(self.names)
        found = [
            Result(name, image, detect(self.predictor, image, settings, None, wanted), self.names)
            for name, image in pictures(source)
        ]
        return found[0] if is_one(source) else Results(found)


_WISHES = ("conf", "iou", "max_det", "classes", "agnostic_nms")


def _options(wishes: dict[str, Any]) -> DetectOptions:
    for name in wishes:
        if name not in _WISHES:
            raise InputError(name, "is not an option of a model", ", ".join(_WISHES))
    classes = wishes.pop("classes", ())
    chosen = [classes] if isinstance(classes, (str, int)) else classes
    return DetectOptions(classes=tuple(map(str, chosen)), **wishes)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(name, "is not installed", f"pip install {name}") from error
