"""Which tensors are worth a second code: the reads that are made fine, within gas.

A fine read doubles the channels of one convolution and divides the rounding error of what it
reads by 8. Both codes share the convolution's weights, so it costs multiplications but no bytes. By
default it is spent where it costs next to nothing; with effort "high" every candidate is tried on a
few images and the best per multiplication are kept.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_mrt.calibrate.scheme import Scheme, wide_sites
from yolo_mrt.network.net import Layer, Net, readable_sites
from yolo_mrt.network.source import Source
from yolo_mrt.quantize.sensitivity import Judge, coded_read

#: By default a fine read may add this share of all multiplications: in the early, thin part of the
#: network, and where the detection convolutions read, whose error nothing repairs.
EARLY_MACS, HEAD_MACS = 0.01, 0.05
#: What fine reads may add with effort "high" or where tensors are named, as a share of
#: multiplications.
MOST_MACS = 0.16

Reads = dict[str, tuple[str, ...]]


def candidates(net: Net) -> list[tuple[Layer, str, int]]:
    """Every (convolution, tensor, its first channel there) that could be read finely."""
    wide = wide_sites(net)
    return [
        (conv, site, start)
        for conv in net.convolutions()
        for site, start in readable_sites(net, conv.inputs[0])
        if site not in wide and conv.groups == 1
    ]


def _cost(net: Net, conv: Layer, site: str, extents: Mapping[str, tuple[int, int]]) -> int:
    """Multiplications that one fine read adds."""
    rows, columns = extents[conv.name]
    return conv.weights[:, : net.channels()[site]].size * rows * columns


def _total(net: Net, extents: Mapping[str, tuple[int, int]]) -> int:
    return sum(
        conv.weights.size * extents[conv.name][0] * extents[conv.name][1]
        for conv in net.convolutions()
    )


def fine_reads(net: Net, extents: Mapping[str, tuple[int, int]]) -> Reads:
    """The reads that are worth their cost in any YOLOv5."""
    total = _total(net, extents)
    found: dict[str, set[str]] = {}
    for conv, site, _ in candidates(net):
        early = extents[site][0] * 4 >= extents[net.layers[0].name][0]
        if conv.name in net.heads:
            most = HEAD_MACS
        elif early:
            most = EARLY_MACS
        else:
            continue
        if _cost(net, conv, site, extents) <= most * total:
            found.setdefault(conv.name, set()).add(site)
    return {name: tuple(sorted(sites)) for name, sites in found.items()}


def refinement(net: Net, site: str, extents: Mapping[str, tuple[int, int]]) -> float | None:
    """What it adds to read this tensor finely wherever it is read, as a share of all
    multiplications. None where it cannot be read finely."""
    costs = [_cost(net, conv, site, extents) for conv, name, _ in candidates(net) if name == site]
    return sum(costs) / _total(net, extents) if costs else None


def refined_reads(net: Net, extents: Mapping[str, tuple[int, int]], names: Sequence[str]) -> Reads:
    """All reads of the named tensors, and of the default's as many as the limit leaves room for.

    InputError where a tensor cannot be read finely, or all of them cost too much.
    """
    if not names:
        return fine_reads(net, extents)
    left = MOST_MACS
    for name in names:
        cost = refinement(net, name, extents)
        if cost is None:
            raise InputError("--refine", f"names {name!r:.60}", _refinable(net, name))
        left -= cost
        if left < 0:
            raise InputError(
                "--refine",
                f"asks for {100 * (MOST_MACS - left):.1f} % more multiplications, up to {name}",
                f"at most {100 * MOST_MACS:g} %",
            )
    chosen: dict[str, set[str]] = {}
    total = _total(net, extents)
    usual = fine_reads(net, extents)
    for conv, site, _ in candidates(net):
        if site in names:
            chosen.setdefault(conv.name, set()).add(site)
        elif site in usual.get(conv.name, ()):
            more = _cost(net, conv, site, extents) / total
            if more <= left:
                chosen.setdefault(conv.name, set()).add(site)
                left -= more
    return {name: tuple(sorted(sites)) for name, sites in chosen.items()}


def _refinable(net: Net, name: str) -> str:
    """Why a tensor cannot be read finely, and what can."""
    if name in wide_sites(net):
        return "a tensor that enters no sum; this one is kept in 16 bits there"
    sites = dict.fromkeys(site for _, site, _ in candidates(net))
    close = difflib.get_close_matches(name, sites, 1) or list(sites)[:1]
    return f"a tensor that convolutions read, such as {close[0]}" if close else "no tensor"


def measured_reads(
    source: Source,
    scheme: Scheme,
    planes: Iterable[Array],
    imgsz: tuple[int, int],
    default: Reads,
) -> Reads:
    """The default's reads, and those that help most beyond, within MOST_MACS.

    A read's gain is what its rounding alone does to the detections on these float images, as a
    share of what all reads do, scores and boxes counting alike.
    """
    net, extents = source.net, source.net.extents(*imgsz)
    layers = net.by_name()
    reads = candidates(net)
    trials = [
        coded_read(conv, start, scheme.own_codes(layers[site], False))
        for conv, site, start in reads
    ]
    harms = Judge(source, imgsz).distances(trials, planes)
    totals = np.maximum(harms.sum(axis=0), 1e-30)
    left = MOST_MACS * _total(net, extents)
    chosen: dict[str, set[str]] = {name: set(sites) for name, sites in default.items()}
    ranked = []
    for (conv, site, _), harm in zip(reads, harms):
        cost = _cost(net, conv, site, extents)
        if site in chosen.get(conv.name, ()):
            left -= cost
        else:
            ranked.append((-float((harm / totals).sum()) / cost, conv.name, site, cost))
    for _, name, site, cost in sorted(ranked):
        if cost <= left:
            chosen.setdefault(name, set()).add(site)
            left -= cost
    return {name: tuple(sorted(sites)) for name, sites in chosen.items()}
