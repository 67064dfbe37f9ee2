"""Zero points and borders: the program's padded convolutions are exact, corners and all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from test_quantize import quantize

from yolo_core.graph import interpret
from yolo_core.yolo.model_folder import read_model_folder


def test_borders_stand_for_zero(checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny_cvm"
    assert quantize(checkpoint, pictures, out, "--stage", "prepare", "--stage", "calibrate",
                    "--stage", "quantize", "--stage", "compile").exit_code == 0  # fmt: skip
    graph = read_model_folder(out).graph
    codes = np.load(out / "data.npy").astype(np.int32)
    values = {node: outputs[0] for node, outputs in interpret.trace(graph, codes)}
    checked = 0
    for index, node in enumerate(graph.nodes):
        if node.op != "conv2d" or node.attributes.kernel_size != (3, 3):
            continue
        padded = values[node.inputs[0].node][0]
        assert node.attributes.padding == (0, 0)
        border = np.concatenate((padded[:, 0], padded[:, -1], padded[:, :, 0], padded[:, :, -1]), 1)
        zero = border[:, :1]
        assert (border == zero).all()
        weight = graph.parameters[graph.nodes[node.inputs[1].node].name].astype(np.int64)
        bias = graph.parameters[graph.nodes[node.inputs[2].node].name]
        # What a float network sees: the value 0 beyond the border, so nothing is added there.
        centred = padded[:, 1:-1, 1:-1].astype(np.int64) - zero[:, :, None]
        real_bias = bias + weight.sum(axis=(2, 3)) @ zero[:, 0]
        at_zero = np.pad(centred, ((0, 0), (1, 1), (1, 1)))
        stride = node.attributes.strides[0]
        got = values[index][0]
        for row, column in ((0, 0), (0, got.shape[2] - 1), (got.shape[1] - 1, 0), (1, 1)):
            r, c = row * stride, column * stride
            window = at_zero[:, r : r + 3, c : c + 3]
            expected = (weight * window).sum(axis=(1, 2, 3)) + real_bias
            np.testing.assert_array_equal(got[:, row, column], expected)
        checked += 1
    assert checked > 10
