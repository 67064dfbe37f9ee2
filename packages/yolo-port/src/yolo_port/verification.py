"""Does a checkpoint compute what its source says? Two implementations, layer by layer.

The source runs in `oracle` (NumPy, double precision, batch normalisation as it stands), the
checkpoint in the Gluon network (MXNet, single precision, usually fused). They share neither code
nor a rounding, so a wrong mapping, transposition, epsilon or fusion shows as a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.progress import progress
from yolo_core.yolo.letterbox import Letterbox, read_image, rounded_imgsz
from yolo_port.matching import assumptions
from yolo_port.oracle import Oracle
from yolo_port.readers import load
from yolo_port.source import Answers

#: Largest accepted difference of a raw head value: this, or as a share of the largest value, which
#: is what float32 loses on the way through a deep network of large values; or as a multiple of
#: what the source itself loses when it is computed in single precision, up to a share of its own.
TOLERANCE, TOLERANCE_SHARE = 1e-3, 5e-5
TOLERANCE_LOSS, LOSS_SHARE = 4.0, 5e-4
_GENERATED_IMAGES = 2


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
    """rows: layers in the order they run, then the heads. passed: heads within tolerance.

    assumed: what the source does not say and was taken for granted, on both sides; no comparison
    can tell whether it is right. loss: largest difference that single precision makes to the
    source's own heads; 0 where nothing had to be known of it.
    """

    rows: tuple[Row, ...]
    images: int
    assumed: tuple[str, ...] = ()
    loss: float = 0.0

    @property
    def largest(self) -> float:
        """Largest difference in a raw head value."""
        return max(row.difference for row in self.rows if row.kind == "head")

    @property
    def allowed(self) -> float:
        """Largest difference that passes."""
        magnitude = max(row.magnitude for row in self.rows if row.kind == "head")
        lost = min(TOLERANCE_LOSS * self.loss, LOSS_SHARE * magnitude)
        return max(TOLERANCE, TOLERANCE_SHARE * magnitude, lost)

    @property
    def passed(self) -> bool:
        return self.largest <= self.allowed


def verify(
    source: PathLike,
    checkpoint: PathLike,
    images: Sequence[PathLike] = (),
    imgsz: int = 320,
    answers: Answers | None = None,
) -> Verification:
    """Compare a source with what was made of it, on these images or on two generated ones.

    The source runs by its own description. imgsz: side of the square input in pixels. answers:
    what the user says of the source where it is silent. InputError for files that cannot be read
    and for models of different architectures.
    """
    theirs, ours = load(source, answers), load(checkpoint)
    for what in ("size", "names", "anchors", "activation", "csp_activation"):
        wanted = getattr(theirs.architecture, what)
        if getattr(ours.architecture, what) != wanted:
            raise InputError(checkpoint, f"has other {what} than {source}", f"{wanted!s:.60}")
    height, width = rounded_imgsz(imgsz, "--imgsz", theirs.architecture.max_stride)
    box = Letterbox(height, width)
    batch = [box.apply(read_image(image))[0] for image in images] or _generated(height, width)
    oracle, network = Oracle(theirs), _Network(ours)
    rows: dict[str, Row] = {}
    levels = theirs.architecture.level_names
    kinds = {layer.index: layer.kind for layer in theirs.architecture.layers()}
    for image in progress(batch, "verify"):
        planar = image.transpose(2, 0, 1).astype(np.float32) / 255.0
        layers, heads = oracle.run(planar)
        found = network.run(planar)
        expected = {f"model.{index}": (kinds[index], value) for index, value in layers.items()}
        expected.update({name: ("head", head) for name, head in zip(levels, heads)})
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
    result = Verification(tuple(rows.values()), len(batch), assumptions(theirs))
    if result.passed or not np.isfinite(result.largest):
        return result
    return replace(result, loss=_loss(theirs, batch))


def _loss(checkpoint: Checkpoint, batch: Sequence[Array]) -> float:
    """What single precision changes in the heads of a network, by NumPy on both sides."""
    exact, single = Oracle(checkpoint), Oracle(checkpoint, single=True)
    lost = 0.0
    for image in batch:
        planar = image.transpose(2, 0, 1).astype(np.float32) / 255.0
        pairs = zip(exact.run(planar)[1], single.run(planar)[1])
        lost = max(lost, *(float(np.abs(wide - narrow).max()) for wide, narrow in pairs))
    return lost


class _Network:
    """The Gluon network, with what each of its layers put out."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        from yolo_core.mxnet import network

        self._nd = network.mx.nd
        self._flip = checkpoint.color == "bgr"
        self._net = network.build(checkpoint.architecture, checkpoint.parameters, checkpoint.fused)

    def run(self, planar: Array) -> dict[str, Array]:
        """[3, H, W] RGB in 0…1 → layer and head outputs by name."""
        planar = planar[::-1] if self._flip else planar
        outputs = self._net.outputs(self._nd, self._nd.array(planar[None]))
        architecture = self._net.architecture
        places = {f"model.{layer.index}": layer.step for layer in architecture.layers()[:-1]}
        places.update(zip(architecture.level_names, architecture.network.heads))
        return {name: outputs[step].asnumpy()[0] for name, step in places.items()}


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
