"""Folding batch normalisation into the convolution before it. No framework needed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.architecture import BATCH_NORM_EPSILON, Architecture


def fuse(parameters: Mapping[str, Array], architecture: Architecture) -> dict[str, Array]:
    """Fused parameters (float32) from unfused ones; computed in float64.

    y = gamma * (w * x - mean) / sqrt(var + eps) + beta, so the weight is scaled per output
    channel by gamma / sqrt(var + eps) and what remains becomes the bias.
    """
    fused: dict[str, Array] = {}
    for conv in architecture.convolutions():
        weight = parameters[f"{conv.name}.weight"].astype(np.float64)
        if conv.batch_norm is None:
            bias = parameters[f"{conv.name}.bias"].astype(np.float64)
        else:
            gamma, beta, mean, variance = (
                parameters[f"{conv.batch_norm}.{part}"].astype(np.float64)
                for part in ("gamma", "beta", "running_mean", "running_var")
            )
            scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
            weight = weight * scale[:, None, None, None]
            bias = beta - mean * scale
        fused[f"{conv.name}.weight"] = weight.astype(np.float32)
        fused[f"{conv.name}.bias"] = bias.astype(np.float32)
    return fused
