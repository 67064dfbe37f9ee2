"""Parameters for the networks of the tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from yolo_core.yolo.architecture import Architecture


def random_parameters(architecture: Architecture, fused: bool, seed: int = 0) -> dict[str, Any]:
    """Parameters that keep activations of order one, so that nothing saturates."""
    rng = np.random.default_rng(seed)
    parameters = {}
    for name, shape in architecture.parameter_shapes(fused).items():
        if name.endswith(".weight"):
            value = rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape)
        elif name.endswith(("gamma", "running_var")):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(0, 0.2, shape)
        parameters[name] = value.astype(np.float32)
    return parameters
