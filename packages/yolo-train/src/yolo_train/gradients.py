"""Adding up gradients between devices and between machines."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.importing import mxnet

mx = mxnet()


class GradientSum:
    """Adds up the gradients of all devices and all machines, in place.

    Several machines are there when `yolo-train launch` started this process: MXNet's parameter
    server then holds the sum of all workers.
    """

    def __init__(self, devices: Sequence[Any]) -> None:
        self._store = None
        self._totals: set[str] = set()
        if "DMLC_PS_ROOT_URI" in os.environ:
            self._store = mx.kv.create("dist_sync")
        elif len(devices) > 1:
            self._store = mx.kv.create("device" if devices[0].device_type == "gpu" else "local")

    @property
    def rank(self) -> int:
        """Number of this machine's worker, from 0."""
        return 0 if self._store is None else int(self._store.rank)

    @property
    def workers(self) -> int:
        """Number of workers that train together."""
        return 1 if self._store is None else int(self._store.num_workers)

    def share_start(self, parameters: Mapping[str, Any]) -> None:
        """Give every worker the parameters of worker 0. Call once, before the first `add_up`."""
        if self._store is None:
            return
        for name, parameter in parameters.items():
            copies = parameter.list_data()
            self._store.init(name, copies[0])
            if self.workers > 1:
                self._store.pull(name, out=copies)

    def add_up(self, parameters: Mapping[str, Any]) -> None:
        """Replace each gradient by its sum over devices and workers."""
        if self._store is None:
            return
        for priority, (name, parameter) in enumerate(parameters.items()):
            gradients = parameter.list_grad()
            self._store.push(name, gradients, priority=-priority)
            self._store.pull(name, out=gradients, priority=-priority)

    def total(self, values: Array) -> Array:
        """The sum of an array [n] over all workers; every worker must call it."""
        if self.workers == 1 or self._store is None:
            return values
        name = f"total of {len(values)}"
        array = mx.nd.array(values)
        if name not in self._totals:
            self._store.init(name, mx.nd.zeros_like(array))
            self._totals.add(name)
        self._store.push(name, array)
        self._store.pull(name, out=array)
        result: Array = array.asnumpy().astype(np.float64)
        return result
