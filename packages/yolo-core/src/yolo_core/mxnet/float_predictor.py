"""A float checkpoint as a predictor: the reference that an integer model is compared with."""

from __future__ import annotations

import hashlib

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, sha256_file
from yolo_core.mxnet.checkpoint import checkpoint_files, is_checkpoint, read_checkpoint
from yolo_core.mxnet.fusing import fuse
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.boxes import rows_of
from yolo_core.yolo.letterbox import rounded_imgsz
from yolo_core.yolo.predictor import Predictor

DEFAULT_IMGSZ = (640, 640)


class FloatPredictor:
    """A checkpoint run by MXNet, batch normalisation folded."""

    kind = "float"

    def __init__(self, path: PathLike, imgsz: tuple[int, int] | None, device: str) -> None:
        from yolo_core.mxnet import network
        from yolo_core.mxnet.device import context

        checkpoint = read_checkpoint(path)
        self.architecture: Architecture = checkpoint.architecture
        # The trainer notes the size it trained at; that is where the model is at its best.
        trained = checkpoint.meta.get("imgsz")
        size = imgsz or trained or DEFAULT_IMGSZ
        source = "--imgsz" if imgsz else str(path)
        stride = self.architecture.max_stride
        self.imgsz = rounded_imgsz(size, source, stride)
        self.own_imgsz = rounded_imgsz(trained, str(path), stride) if trained else None
        _, params, sidecar = checkpoint_files(path)
        both = sha256_file(params) + sha256_file(sidecar)
        self.digest = hashlib.sha256(both.encode("ascii")).hexdigest()
        parameters = checkpoint.parameters
        if not checkpoint.fused:
            parameters = fuse(parameters, self.architecture)
        self._nd = network.mx.nd
        self._context = context(device)
        self._channels = slice(None) if checkpoint.color == "rgb" else slice(None, None, -1)
        self._net = network.build(self.architecture, parameters, fused=True, ctx=self._context)
        self._net.hybridize(static_alloc=True, static_shape=True)

    def heads(self, batch: Array) -> tuple[Array, ...]:
        """uint8 [B, height, width, 3] RGB → the raw head of each level, float32 [B, 3*no, h, w]."""
        if batch.shape[1:] != (*self.imgsz, 3) or batch.dtype != np.uint8:
            raise InputError("images", f"are {batch.dtype} {batch.shape}", f"uint8 of {self.imgsz}")
        planar = batch[..., self._channels].transpose(0, 3, 1, 2).astype(np.float32) / 255.0
        return tuple(
            head.asnumpy() for head in self._net(self._nd.array(planar, ctx=self._context))
        )

    def logits(self, batch: Array) -> Array:
        """See `Predictor.logits`; float32."""
        return rows_of(self.heads(batch), self.architecture.no)


class CheckpointOpener:
    """Entry point "checkpoint" of `yolo_core.predictors`."""

    def accepts(self, path: PathLike) -> bool:
        return is_checkpoint(path)

    def open(
        self,
        path: PathLike,
        imgsz: tuple[int, int] | None,
        threads: int | None,
        device: str,
    ) -> Predictor:
        """MXNet reads its thread count from OMP_NUM_THREADS alone, so `threads` cannot be set."""
        return FloatPredictor(path, imgsz, device)
