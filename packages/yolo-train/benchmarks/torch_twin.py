"""The PyTorch twin of the network, for comparison only: reads a plan, prints its step time.

Stands alone (it may run in another environment): reads JSON from standard input with `layers` and
`convolutions` of `yolo_core.yolo.architecture`, `imgsz`, `batch` and `steps`, and prints JSON with
the milliseconds of each step: forward, the sum of squares of the heads as loss, backward, SGD with
Nesterov momentum.
"""

import json
import sys
import time

import torch
from torch import nn


class Block(nn.Module):
    """Convolution, batch normalisation, SiLU."""

    def __init__(self, conv):
        super().__init__()
        self.conv = nn.Conv2d(
            conv["in_channels"], conv["out_channels"], conv["kernel"], conv["stride"],
            conv["padding"], bias=False,
        )  # fmt: skip
        self.bn = nn.BatchNorm2d(conv["out_channels"], eps=1e-3, momentum=0.03)

    def forward(self, x):
        return nn.functional.silu(self.bn(self.conv(x)), inplace=True)


class C3(nn.Module):
    """Two branches, one through bottlenecks, joined."""

    def __init__(self, convs, stem, layer):
        super().__init__()
        self.cv1, self.cv2, self.cv3 = (Block(convs[f"{stem}.cv{k}.conv"]) for k in (1, 2, 3))
        self.chain = nn.ModuleList(
            nn.Sequential(
                Block(convs[f"{stem}.m.{n}.cv1.conv"]), Block(convs[f"{stem}.m.{n}.cv2.conv"])
            )
            for n in range(layer["repeats"])
        )  # fmt: skip
        self.shortcut = layer["shortcut"]

    def forward(self, x):
        y = self.cv1(x)
        for pair in self.chain:
            y = y + pair(y) if self.shortcut else pair(y)
        return self.cv3(torch.cat((y, self.cv2(x)), 1))


class SPPF(nn.Module):
    """Three chained max-pools, all stages joined."""

    def __init__(self, convs, stem, layer):
        super().__init__()
        self.cv1, self.cv2 = (Block(convs[f"{stem}.cv{k}.conv"]) for k in (1, 2))
        self.pool = nn.MaxPool2d(layer["kernel"], 1, layer["kernel"] // 2)

    def forward(self, x):
        stages = [self.cv1(x)]
        for _ in range(3):
            stages.append(self.pool(stages[-1]))
        return self.cv2(torch.cat(stages, 1))


class Twin(nn.Module):
    """The 25 layers of the plan."""

    def __init__(self, plan):
        super().__init__()
        convs = {conv["name"]: conv for conv in plan["convolutions"]}
        self.layers = plan["layers"]
        self.blocks = nn.ModuleDict()
        for layer in self.layers:
            stem = f"model.{layer['index']}"
            if layer["kind"] == "Conv":
                self.blocks[str(layer["index"])] = Block(convs[f"{stem}.conv"])
            elif layer["kind"] in ("C3", "SPPF"):
                kind = C3 if layer["kind"] == "C3" else SPPF
                self.blocks[str(layer["index"])] = kind(convs, stem, layer)
        self.detect = nn.ModuleList(
            nn.Conv2d(conv["in_channels"], conv["out_channels"], 1)
            for conv in plan["convolutions"]
            if conv["batch_norm"] is None
        )

    def forward(self, x):
        outputs = {-1: x}
        for layer in self.layers:
            sources = [outputs[source] for source in layer["sources"]]
            if layer["kind"] == "Upsample":
                out = nn.functional.interpolate(sources[0], scale_factor=layer["kernel"])
            elif layer["kind"] == "Concat":
                out = torch.cat(sources, 1)
            elif layer["kind"] == "Detect":
                return [conv(source) for conv, source in zip(self.detect, sources)]
            else:
                out = self.blocks[str(layer["index"])](sources[0])
            outputs[layer["index"]] = out
        raise ValueError("a plan without detection")


def main():
    plan = json.load(sys.stdin)
    torch.set_num_threads(plan["threads"])
    net = Twin(plan)
    optimizer = torch.optim.SGD(net.parameters(), 1e-6, momentum=0.9, nesterov=True)
    x = torch.rand(plan["batch"], 3, plan["imgsz"], plan["imgsz"])
    times = []
    for _ in range(plan["steps"]):
        begin = time.perf_counter()
        optimizer.zero_grad()
        sum((head * head).sum() for head in net(x)).backward()
        optimizer.step()
        times.append(1000 * (time.perf_counter() - begin))
    print(json.dumps(times))


if __name__ == "__main__":
    main()
