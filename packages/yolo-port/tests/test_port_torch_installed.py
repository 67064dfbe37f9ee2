"""With PyTorch at hand: what it writes we read, what we write it reads, exports included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from port_samples import adds_its_input, arrays, random_checkpoint, same

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.yolo.architecture import Architecture
from yolo_port.matching import fused
from yolo_port.oracle import Oracle
from yolo_port.readers import load
from yolo_port.state_dict import ultralytics_state_dict
from yolo_port.writers.torch_file import write_torch

torch = pytest.importorskip("torch", reason="PyTorch is not installed; only these tests use it")
Module: Any = torch.nn.Module


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("mmap", [False, True])
def test_our_pt_is_accepted_with_weights_only(tmp_path: Path, fuse: bool, mmap: bool) -> None:
    checkpoint = random_checkpoint()
    checkpoint = fused(checkpoint) if fuse else checkpoint
    (path,) = write_torch(tmp_path / "m", checkpoint)
    found = torch.load(path, weights_only=True, mmap=mmap)
    wanted = ultralytics_state_dict(checkpoint)
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == (torch.int64 if array.dtype == np.int64 else torch.float32)
        assert np.array_equal(found[name].numpy(), array)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_state_dicts_that_torch_saves_are_read(tmp_path: Path, dtype: str) -> None:
    checkpoint = random_checkpoint()
    values = {name: torch.from_numpy(array.copy()) for name, array in arrays(checkpoint).items()}
    values = {name: value.to(getattr(torch, dtype)) for name, value in values.items()}
    torch.save(values, tmp_path / "m.pt")
    found = load(tmp_path / "m.pt")
    for name, array in found.parameters.items():
        wanted = torch.from_numpy(checkpoint.parameters[name]).to(getattr(torch, dtype)).float()
        assert np.array_equal(array, wanted.numpy())


def test_what_torch_wrote_before_1_6_is_refused_with_the_remedy(tmp_path: Path) -> None:
    values = {"model.0.conv.weight": torch.zeros(16, 3, 6, 6)}
    torch.save(values, tmp_path / "m.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"before 1\.6; expected one saved again"):
        load(tmp_path / "m.pt")


def test_parameters_strides_and_module_metadata_are_read(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    network = _Network(checkpoint)
    network.to(memory_format=torch.channels_last)
    torch.save({"model": network.state_dict(), "epoch": 2}, tmp_path / "m.pt")
    assert same(load(tmp_path / "m.pt"), checkpoint)


@pytest.mark.parametrize("fold", [False, True])
def test_an_export_of_torch_is_read(tmp_path: Path, fold: bool) -> None:
    pytest.importorskip("onnx", reason="the onnx extra is not installed")
    checkpoint = random_checkpoint()
    checkpoint = fused(checkpoint) if fold else checkpoint
    network = _Network(checkpoint).eval()
    torch.onnx.export(
        network, torch.zeros(1, 3, 64, 64), str(tmp_path / "m.onnx"), opset_version=17,
        dynamo=False, input_names=["images"], output_names=["output0"],
    )  # fmt: skip
    found = load(tmp_path / "m.onnx")
    assert found.architecture.anchors == checkpoint.architecture.anchors
    image = np.random.default_rng(0).random((3, 64, 64), np.float32)
    for ours, theirs in zip(Oracle(found).run(image)[1], Oracle(checkpoint).run(image)[1]):
        assert np.abs(ours - theirs).max() < 1e-4


def test_oracle_agrees_with_torch() -> None:
    checkpoint = random_checkpoint()
    network = _Network(checkpoint).eval().double()
    image = np.random.default_rng(0).random((3, 64, 96))
    with torch.no_grad():
        heads = network.heads(torch.from_numpy(image)[None])
    for ours, theirs in zip(Oracle(checkpoint).run(image)[1], heads):
        assert np.abs(ours - theirs[0].numpy()).max() < 1e-9


class _Block(Module):  # type: ignore[misc]
    def __init__(self, conv: Any, normalised: Any) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(
            conv.in_channels, conv.out_channels, conv.kernel, conv.stride, conv.padding,
            bias=not normalised,
        )  # fmt: skip
        self.bn = torch.nn.BatchNorm2d(conv.out_channels, eps=1e-3) if normalised else None

    def forward(self, x: Any) -> Any:
        x = self.conv(x)
        return torch.nn.functional.silu(x if self.bn is None else self.bn(x))


class _Network(Module):  # type: ignore[misc]
    """The architecture in PyTorch, its parameters under the names of a state dict."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.architecture: Architecture = checkpoint.architecture
        for conv in self.architecture.convolutions():
            if conv.batch_norm is None:
                self._put(conv.name, torch.nn.Conv2d(conv.in_channels, conv.out_channels, 1))
            else:
                self._put(conv.name[: -len(".conv")], _Block(conv, not checkpoint.fused))
        values = {
            name: torch.from_numpy(array.copy())
            for name, array in ultralytics_state_dict(checkpoint).items()
            if name != "model.24.anchors"
        }
        self.load_state_dict(values)

    def _put(self, name: str, made: Any) -> None:
        holder = self
        *path, last = name.split(".")
        for part in path:
            if part not in holder._modules:
                holder.add_module(part, torch.nn.Module())
            holder = holder._modules[part]
        holder.add_module(last, made)

    def _at(self, name: str) -> Any:
        return self.get_submodule(name)

    def heads(self, image: Array) -> Any:
        outputs = {-1: image}
        for layer in self.architecture.layers():
            stem, sources = f"model.{layer.index}", [outputs[each] for each in layer.sources]
            x = sources[0]
            if layer.kind == "Conv":
                y = self._at(stem)(x)
            elif layer.kind == "Concat":
                y = torch.cat(sources, 1)
            elif layer.kind == "Upsample":
                y = torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")
            elif layer.kind == "SPPF":
                stages = [self._at(f"{stem}.cv1")(x)]
                for _ in range(3):
                    stages.append(torch.nn.functional.max_pool2d(stages[-1], 5, 1, 2))
                y = self._at(f"{stem}.cv2")(torch.cat(stages, 1))
            elif layer.kind == "Detect":
                return [self._at(f"{stem}.m.{level}")(each) for level, each in enumerate(sources)]
            else:
                y = self._at(f"{stem}.cv1")(x)
                for repeat in range(layer.repeats):
                    inner = self._at(f"{stem}.m.{repeat}.cv1")(y)
                    inner = self._at(f"{stem}.m.{repeat}.cv2")(inner)
                    y = y + inner if adds_its_input(self.architecture, layer) else inner
                y = self._at(f"{stem}.cv3")(torch.cat((y, self._at(f"{stem}.cv2")(x)), 1))
            outputs[layer.index] = y
        raise AssertionError("an architecture without Detect")

    def forward(self, image: Array) -> Any:
        """Rows [1, N, no], with grid and anchors as constants of a fixed image size."""
        rows = []
        for head, stride, pairs in zip(self.heads(image), (8, 16, 32), self.architecture.anchors):
            _, _, height, width = head.shape
            values = head.view(1, 3, -1, height, width).permute(0, 1, 3, 4, 2).sigmoid()
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            grid = torch.stack((x, y), 2).expand(1, 3, height, width, 2).float() - 0.5
            sides = torch.tensor(pairs).view(1, 3, 1, 1, 2).expand(1, 3, height, width, 2)
            centre, size, scores = values.split((2, 2, values.shape[-1] - 4), 4)
            decoded = torch.cat(((centre * 2 + grid) * stride, (size * 2) ** 2 * sides, scores), 4)
            rows.append(decoded.reshape(1, -1, values.shape[-1]))
        return torch.cat(rows, 1)
