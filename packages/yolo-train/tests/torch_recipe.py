"""The network, the loss and the optimizer of the recipe in PyTorch, from the published formulas.

Written like the original's way of working (lists of matches that are filtered and written in
order), not like `yolo_train.loss`. A process of its own: `python torch_recipe.py IN.npz OUT.npz`.
IN holds `plan` (JSON), the initial parameters under `net/`, the batches (`images` [S, B, 3, H, W]
uint8, `targets` [S, T, 6], rows of label -1 are none) and the rates of each step [S, 3]: rate,
rate of biases, momentum. OUT holds `losses` [S], `parts` [S, 3], and of each step K the gradients
under `K/gradient/` (not yet clipped), their length as `K/norm`, and the parameters after its update
under `K/net/`.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

EPSILON = 1e-7
HALF = 0.5
#: Longest gradient of all parameters together that a step follows.
LONGEST = 10.0
OFFSETS = ((0.0, 0.0), (HALF, 0.0), (0.0, HALF), (-HALF, 0.0), (0.0, -HALF))


class Network(nn.Module):  # type: ignore[misc, unused-ignore]
    """The steps of a plan, with parameters by their names there (dots become dashes)."""

    def __init__(self, plan: dict[str, Any], parameters: dict[str, Any]) -> None:
        super().__init__()
        self.plan = plan
        self.values = nn.ParameterDict()
        for name, value in parameters.items():
            tensor = torch.from_numpy(value.copy())
            if "running" in name:
                self.register_buffer(name.replace(".", "-"), tensor)
            else:
                self.values[name.replace(".", "-")] = nn.Parameter(tensor)

    def value(self, name: str) -> Any:
        key = name.replace(".", "-")
        return self.values[key] if key in self.values else getattr(self, key)

    def convolve(self, conv: dict[str, Any], x: Any) -> Any:
        bias = None if conv["batch_norm"] else self.value(conv["name"] + ".bias")
        x = functional.conv2d(
            x, self.value(conv["name"] + ".weight"), bias, conv["stride"], conv["padding"],
            groups=conv["groups"],
        )  # fmt: skip
        if not conv["batch_norm"]:
            return x
        norm = conv["batch_norm"]
        x = functional.batch_norm(
            x, None, None, self.value(norm + ".gamma"), self.value(norm + ".beta"), True, eps=1e-3
        )
        return x * torch.sigmoid(x)

    def forward(self, x: Any) -> list[Any]:
        found = {-1: x}
        for index, step in enumerate(self.plan["steps"]):
            inputs = [found[source] for source in step["inputs"]]
            kind = step["operation"]
            if kind == "conv":
                out = self.convolve(step["convolution"], inputs[0])
            elif kind == "add":
                out = inputs[0] + inputs[1]
            elif kind == "concat":
                out = torch.cat(inputs, 1)
            elif kind == "upsample":
                out = functional.interpolate(inputs[0], scale_factor=step["factor"])
            else:
                out = functional.max_pool2d(
                    inputs[0], step["kernel"], step["stride"], step["padding"]
                )
            found[index] = out
        return [found[head] for head in self.plan["heads"]]


def assigned(targets: Any, anchors: Any, width: int, height: int, limit: float) -> Any:
    """Matches of one level in the order of writing: image, anchor, row, column, box, label."""
    count = len(targets)
    every = targets.repeat(len(anchors), 1) * torch.tensor([1, 1, width, height, width, height])
    which = torch.arange(len(anchors)).repeat_interleave(count)
    ratio = every[:, 4:] / anchors[which]
    fits = torch.maximum(ratio, 1 / ratio).amax(1) < limit
    every, which = every[fits], which[fits]
    rows = []
    size = torch.tensor([width, height])
    for number, offset in enumerate(OFFSETS):
        axis = (number - 1) % 2
        if number == 0:
            near = torch.ones(len(every), dtype=torch.bool)
        else:
            place = every[:, 2 + axis] if number < 3 else size[axis] - every[:, 2 + axis]
            near = (place % 1 < HALF) & (place > 1)
        chosen = every[near]
        cell = (chosen[:, 2:4] - torch.tensor(offset)).long()
        cell = torch.minimum(cell.clamp(min=0), size - 1)
        rows.append((chosen, which[near], cell))
    every = torch.cat([row[0] for row in rows])
    which = torch.cat([row[1] for row in rows])
    cell = torch.cat([row[2] for row in rows])
    box = torch.cat((every[:, 2:4] - cell, every[:, 4:]), 1)
    return every[:, 0].long(), which, cell[:, 1], cell[:, 0], box, every[:, 1].long()


def complete_iou(box: Any, truth: Any) -> Any:
    """Complete IoU (Zheng et al. 2020) of centre-size boxes [N, 4]; alpha takes no gradient."""
    low, high = box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2
    other_low, other_high = truth[:, :2] - truth[:, 2:] / 2, truth[:, :2] + truth[:, 2:] / 2
    sides = (torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(0)
    overlap = sides.prod(1)
    iou = overlap / (box[:, 2:].prod(1) + truth[:, 2:].prod(1) - overlap + EPSILON)
    hull = torch.maximum(high, other_high) - torch.minimum(low, other_low)
    distance = ((box[:, :2] - truth[:, :2]) ** 2).sum(1) / ((hull**2).sum(1) + EPSILON)
    angle = torch.atan(truth[:, 2] / truth[:, 3]) - torch.atan(box[:, 2] / box[:, 3])
    aspect = 4 / math.pi**2 * angle**2
    with torch.no_grad():
        alpha = aspect / (aspect - iou + (1 + EPSILON))
    return iou - (distance + aspect * alpha)


def loss(heads: list[Any], targets: Any, plan: dict[str, Any]) -> tuple[Any, Any]:
    """The loss of a batch, times its size, and its three weighted parts."""
    nc, hyp = plan["nc"], plan["hyp"]
    parts = [torch.zeros(()) for _ in range(3)]
    for head, anchors, stride, balance in zip(
        heads, plan["anchors"], plan["strides"], (4.0, 1.0, 0.4)
    ):
        size, _, height, width = head.shape
        rows = head.view(size, len(anchors), nc + 5, height, width).permute(0, 1, 3, 4, 2)
        grid = torch.tensor(anchors) / stride
        image, anchor, row, column, truth, label = assigned(
            targets, grid, width, height, hyp["anchor_t"]
        )
        objectness = torch.zeros(rows.shape[:4])
        if len(image):
            numbers = rows[image, anchor, row, column]
            centre = torch.sigmoid(numbers[:, :2]) * 2 - HALF
            sides = (torch.sigmoid(numbers[:, 2:4]) * 2) ** 2 * grid[anchor]
            iou = complete_iou(torch.cat((centre, sides), 1), truth)
            parts[0] = parts[0] + (1 - iou).mean()
            for where, value in zip(zip(image, anchor, row, column), iou.detach().clamp(0)):
                objectness[where] = value
            if nc > 1:
                off = HALF * hyp["label_smoothing"]
                classes = torch.full((len(label), nc), off)
                classes[range(len(label)), label] = 1 - off
                wrong = entropy(numbers[:, 5:], classes, hyp["cls_pw"], hyp["fl_gamma"])
                parts[2] = parts[2] + wrong
        wrong = entropy(rows[..., 4], objectness, hyp["obj_pw"], hyp["fl_gamma"])
        parts[1] = parts[1] + balance * wrong
    gains = (hyp["box"], hyp["obj"] * (plan["imgsz"] / 640) ** 2, hyp["cls"] * nc / 80)
    weighted = torch.stack([gain * part for gain, part in zip(gains, parts)])
    return weighted.sum() * heads[0].shape[0], weighted.detach()


def entropy(logits: Any, truth: Any, positive: float, gamma: float) -> Any:
    losses = functional.binary_cross_entropy_with_logits(
        logits, truth, pos_weight=torch.tensor([positive]), reduction="none"
    )
    if gamma > 0:
        found = torch.sigmoid(logits)
        likely = truth * found + (1 - truth) * (1 - found)
        losses = losses * (truth * 0.25 + (1 - truth) * 0.75) * (1 - likely) ** gamma
    return losses.mean()


def optimizer(net: Network, decay: float) -> Any:
    groups: dict[str, list[Any]] = {"weight": [], "gamma": [], "bias": []}
    for key, value in net.values.items():
        groups["bias" if key.endswith(("bias", "beta")) else key.rsplit("-", 1)[1]].append(value)
    return torch.optim.SGD(
        [
            {"params": groups["bias"]},
            {"params": groups["weight"], "weight_decay": decay},
            {"params": groups["gamma"]},
        ],
        lr=0.01, momentum=0.9, nesterov=True,
    )  # fmt: skip


def main(source: str, result: str) -> None:
    torch.set_num_threads(1)
    data = np.load(source)
    plan = json.loads(str(data["plan"]))
    net = Network(plan, {n[4:]: data[n] for n in data.files if n.startswith("net/")})
    stepper = optimizer(net, plan["weight_decay"])
    out: dict[str, Any] = {}
    losses, parts = [], []
    for step, (rate, bias_rate, momentum) in enumerate(data["rates"].tolist()):
        images = torch.from_numpy(data["images"][step]).float() / 255
        targets = torch.from_numpy(data["targets"][step])
        total, part = loss(net(images), targets[targets[:, 1] >= 0], plan)
        stepper.zero_grad()
        total.backward()
        for key, value in net.values.items():
            out[f"{step}/gradient/{key.replace('-', '.')}"] = value.grad.numpy().copy()
        out[f"{step}/norm"] = nn.utils.clip_grad_norm_(net.values.values(), LONGEST).numpy()
        for group, lr in zip(stepper.param_groups, (bias_rate, rate, rate)):
            group["lr"], group["momentum"] = lr, momentum
        stepper.step()
        losses.append(float(total.detach()))
        parts.append(part.numpy())
        for key, value in net.values.items():
            out[f"{step}/net/{key.replace('-', '.')}"] = value.detach().numpy().copy()
    np.savez(result, losses=np.array(losses), parts=np.array(parts), **out)


if __name__ == "__main__":
    main(*sys.argv[1:])
