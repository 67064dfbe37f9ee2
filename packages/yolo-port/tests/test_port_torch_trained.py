"""A checkpoint in the middle of a training, pickled by PyTorch itself: modules, EMA, optimizer.

The classes below carry the names and attributes that YOLOv5's pickles have; PyTorch adds its
own, which change from release to release.
"""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from port_samples import adds_its_input

from yolo_core.yolo.architecture import Architecture
from yolo_port.oracle import Oracle
from yolo_port.readers import load

torch = pytest.importorskip("torch", reason="PyTorch is not installed; only these tests use it")
nn = torch.nn
Module: Any = nn.Module


class Conv(Module):  # type: ignore[misc]
    def __init__(self, conv: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            conv.in_channels, conv.out_channels, conv.kernel, conv.stride, conv.padding, bias=False
        )
        self.bn = nn.BatchNorm2d(conv.out_channels, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Any) -> Any:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(Module):  # type: ignore[misc]
    def __init__(self, known: Any, stem: str, shortcut: Any) -> None:
        super().__init__()
        self.cv1, self.cv2 = (Conv(known[f"{stem}.{cv}.conv"]) for cv in ("cv1", "cv2"))
        self.add = shortcut

    def forward(self, x: Any) -> Any:
        return x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))


class C3(Module):  # type: ignore[misc]
    def __init__(self, known: Any, stem: str, layer: Any, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.cv3 = (Conv(known[f"{stem}.cv{n}.conv"]) for n in (1, 2, 3))
        inner = (Bottleneck(known, f"{stem}.m.{index}", shortcut) for index in range(layer.repeats))
        self.m = nn.Sequential(*inner)

    def forward(self, x: Any) -> Any:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(Module):  # type: ignore[misc]
    def __init__(self, known: Any, stem: str) -> None:
        super().__init__()
        self.cv1, self.cv2 = (Conv(known[f"{stem}.{cv}.conv"]) for cv in ("cv1", "cv2"))
        self.m = nn.MaxPool2d(kernel_size=5, stride=1, padding=2)

    def forward(self, x: Any) -> Any:
        stages = [self.cv1(x)]
        for _ in range(3):
            stages.append(self.m(stages[-1]))
        return self.cv2(torch.cat(stages, 1))


class Concat(Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.d = 1

    def forward(self, x: Any) -> Any:
        return torch.cat(x, self.d)


class Detect(Module):  # type: ignore[misc]
    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.nc, self.no, self.nl, self.na = architecture.nc, architecture.no, 3, 3
        self.stride = torch.tensor(architecture.strides).float()
        self.grid = [torch.empty(0) for _ in range(3)]
        anchors = torch.tensor(architecture.anchors).float() / self.stride.view(3, 1, 1)
        self.register_buffer("anchors", anchors)
        heads = (conv for conv in architecture.convolutions() if conv.batch_norm is None)
        self.m = nn.ModuleList(nn.Conv2d(conv.in_channels, 3 * self.no, 1) for conv in heads)

    def forward(self, x: Any) -> Any:
        return [head(each) for head, each in zip(self.m, x)]


class DetectionModel(Module):  # type: ignore[misc]
    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        known = {conv.name: conv for conv in architecture.convolutions()}
        layers = []
        for layer in architecture.layers():
            stem = f"model.{layer.index}"
            makers: dict[str, Callable[[], Any]] = {
                "Conv": partial(Conv, known.get(f"{stem}.conv")),
                "C3": partial(C3, known, stem, layer, adds_its_input(architecture, layer)),
                "SPPF": partial(SPPF, known, stem),
                "Upsample": lambda: nn.Upsample(None, 2, "nearest"),
                "Concat": Concat,
                "Detect": lambda: Detect(architecture),
            }
            made = makers[layer.kind]()
            sources = [-1 if each == layer.index - 1 else each for each in layer.sources]
            made.i, made.f = layer.index, sources[0] if len(sources) == 1 else sources
            layers.append(made)
        self.model = nn.Sequential(*layers)
        self.names, self.yaml = list(architecture.names), {"nc": architecture.nc}
        self.stride, self.class_weights = self.model[-1].stride, torch.ones(architecture.nc)

    def forward(self, x: Any) -> Any:
        outputs: list[Any] = []
        for layer in self.model:
            sources = layer.f if isinstance(layer.f, list) else [layer.f]
            found = [x if each == -1 else outputs[each] for each in sources]
            x = layer(found if isinstance(layer.f, list) else found[0])
            outputs.append(x)
        return x


@pytest.fixture
def yolov5_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes of this file under the names by which YOLOv5's files know them."""
    homes: dict[str, tuple[type, ...]] = {"models.common": (Conv, Bottleneck, C3, SPPF, Concat)}
    homes["models.yolo"] = (Detect, DetectionModel)
    monkeypatch.setitem(sys.modules, "models", types.ModuleType("models"))
    for name, classes in homes.items():
        home = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, home)
        for each in classes:
            monkeypatch.setattr(each, "__module__", name)
            setattr(home, each.__name__, each)


@pytest.mark.parametrize(("size", "nc"), [("n", 3), ("s", 1)])
def test_a_training_checkpoint_is_read_and_its_average_taken(
    tmp_path: Path, yolov5_names: Any, size: str, nc: int
) -> None:
    torch.manual_seed(0)
    model = DetectionModel(Architecture.named(size, nc))
    average = copy.deepcopy(model).half()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    sum(head.square().mean() for head in model(torch.rand(2, 3, 64, 64))).backward()
    optimizer.step()
    saved = {
        "epoch": 4, "best_fitness": np.float64(0.5), "model": copy.deepcopy(model).half(),
        "ema": average, "updates": 7, "optimizer": optimizer.state_dict(),
        "opt": {"imgsz": 640, "save_dir": str(tmp_path)}, "git": {"commit": None},
        "date": "2023-01-01T00:00:00",
    }  # fmt: skip
    torch.save(saved, tmp_path / "last.pt")
    found = load(tmp_path / "last.pt")
    assert (found.architecture.size, found.architecture.nc) == (size, nc)
    assert (found.meta["weights"], found.meta["epoch"], found.meta["imgsz"]) == ("ema", 4, 640)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        heads = average.double().eval()(image.double())
    for ours, theirs in zip(Oracle(found).run(image[0].numpy())[1], heads):
        assert np.abs(ours - theirs[0].numpy()).max() < 1e-9
