"""The PyTorch twin of the network, for comparison only: reads a plan, prints its step time.

Stands alone (it may run in another environment): reads JSON from standard input with the `plan`
and `heads` of `yolo_core.yolo.plan`, `imgsz`, `batch` and the number of `steps`, and prints JSON
with the milliseconds of each step: forward, the sum of squares of the heads as loss, backward,
SGD with Nesterov momentum.
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


class Twin(nn.Module):
    """The steps of the plan."""

    def __init__(self, plan):
        super().__init__()
        self.steps, self.heads = plan["plan"], plan["heads"]
        self.blocks = nn.ModuleDict()
        for index, step in enumerate(self.steps):
            conv = step["convolution"]
            if conv is not None:
                plain = nn.Conv2d(conv["in_channels"], conv["out_channels"], 1)
                self.blocks[str(index)] = plain if conv["batch_norm"] is None else Block(conv)

    def forward(self, x):
        outputs = {-1: x}
        for index, step in enumerate(self.steps):
            sources = [outputs[source] for source in step["inputs"]]
            operation = step["operation"]
            if operation == "conv":
                out = self.blocks[str(index)](sources[0])
            elif operation == "add":
                out = sources[0] + sources[1]
            elif operation == "concat":
                out = torch.cat(sources, 1)
            elif operation == "upsample":
                out = nn.functional.interpolate(sources[0], scale_factor=step["factor"])
            else:
                out = nn.functional.max_pool2d(
                    sources[0], step["kernel"], step["stride"], step["padding"]
                )
            outputs[index] = out
        return [outputs[head] for head in self.heads]


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
