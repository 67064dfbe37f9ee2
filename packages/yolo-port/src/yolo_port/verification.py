"""Does a checkpoint compute what its source says? Two implementations, layer by layer.

The source runs in `oracle` (NumPy, double precision, batch normalisation as it stands), the
checkpoint in the Gluon network (MXNet, single precision, usually fused). They share neither code
nor a rounding, so a wrong mapping, transposition, epsilon or fusion shows as a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.progress import progress
from yolo_core.yolo.letterbox import Letterbox, check_imgsz, read_image
from yolo_port.oracle import Oracle
from yolo_port.readers import load

#: Largest accepted difference of a raw head value.
TOLERANCE = 1e-3
_GENERATED_IMAGES = 2
_HEADS = ("p3", "p4", "p5")


@dataclass(frozen=True)
class Row:
    """One place where the two were compared.

    difference: the largest of all images and elements. magnitude: the source's largest value.
    """

    name: str
    kind: str
    difference: float
    magnitude: float


@dataclass(frozen=True)
class Verification:
    """rows: layers in the order they run, then the three heads. passed: heads within tolerance."""

    rows: tuple[Row, ...]
    images: int

    @property
    def largest(self) -> float:
        """Largest difference in a raw head value."""
        return max(row.difference for row in self.rows if row.kind == "head")

    @property
    def passed(self) -> bool:
        return self.largest <= TOLERANCE


def verify(
    source: PathLike, checkpoint: PathLike, images: Sequence[PathLike] = (), imgsz: int = 320
) -> Verification:
    """Compare a source with what was made of it, on these images or on two generated ones.

    imgsz: side of the square input in pixels. InputError for files that cannot be read and for
    models of different architectures.
    """
    theirs, ours = load(source), load(checkpoint)
    for what in ("size", "names", "anchors", "activation"):
        wanted = getattr(theirs.architecture, what)
        if getattr(ours.architecture, what) != wanted:
            raise InputError(checkpoint, f"has other {what} than {source}", f"{wanted!s:.60}")
    height, width = check_imgsz(imgsz, "--imgsz")
    box = Letterbox(height, width)
    batch = [box.apply(read_image(image))[0] for image in images] or _generated(height, width)
    oracle, network = Oracle(theirs), _Network(ours)
    rows: dict[str, Row] = {}
    kinds = {layer.index: layer.kind for layer in theirs.architecture.layers()}
    for image in progress(batch, "verify"):
        planar = image.transpose(2, 0, 1).astype(np.float32) / 255.0
        layers, heads = oracle.run(planar)
        found = network.run(planar)
        expected = {f"model.{index}": (kinds[index], value) for index, value in layers.items()}
        expected.update({name: ("head", head) for name, head in zip(_HEADS, heads)})
        for name, (kind, value) in expected.items():
            if name not in found:
                continue
            difference = float(np.abs(found[name] - value).max())
            magnitude = float(np.abs(value).max())
            before = rows.get(name, Row(name, kind, 0.0, 0.0))
            # `max` would drop a NaN; NumPy's keeps it, and a NaN fails the tolerance.
            rows[name] = Row(
                name,
                kind,
                float(np.maximum(before.difference, difference)),
                float(np.maximum(before.magnitude, magnitude)),
            )
    return Verification(tuple(rows.values()), len(batch))


class _Network:
    """The Gluon network, with what each of its layers put out."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        from yolo_core.mxnet import network

        self._nd = network.mx.nd
        self._flip = checkpoint.color == "bgr"
        self._net = network.build(checkpoint.architecture, checkpoint.parameters, checkpoint.fused)
        self._found: dict[str, Array] = {}
        for layer in checkpoint.architecture.layers():
            block = getattr(self._net, f"layer{layer.index}", None)
            if block is not None:
                block.register_forward_hook(self._hook(f"model.{layer.index}"))

    def _hook(self, name: str):  # type: ignore[no-untyped-def]
        def keep(_block: object, _inputs: object, output) -> None:  # type: ignore[no-untyped-def]
            self._found[name] = output.asnumpy()[0]

        return keep

    def run(self, planar: Array) -> dict[str, Array]:
        """[3, H, W] RGB in 0…1 → layer and head outputs by name."""
        planar = planar[::-1] if self._flip else planar
        heads = self._net(self._nd.array(planar[None]))
        self._found.update({name: head.asnumpy()[0] for name, head in zip(_HEADS, heads)})
        return self._found


def _generated(height: int, width: int) -> list[Array]:
    """Seeded pictures with structure at every scale: sums of ever finer noise."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(_GENERATED_IMAGES):
        picture = np.zeros((height, width, 3))
        for cell in (32, 16, 8, 4, 2, 1):
            noise = random.random((height // cell, width // cell, 3)) * cell
            picture += noise.repeat(cell, axis=0).repeat(cell, axis=1)
        pictures.append((picture / picture.max() * 255).astype(np.uint8))
    return pictures
