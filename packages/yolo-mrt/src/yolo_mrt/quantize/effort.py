"""Which tensors are worth a second code: the reads that are made fine, within gas and size.

A fine read doubles the channels of one convolution and divides the rounding error of what it
reads by 8. By default it is spent where it costs next to nothing; with effort "high" every
candidate is tried on a few images and the best per byte and gas are kept.
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

#: By default a fine read may add this share of all multiplications and weights: in the early, thin
#: part of the network, and where the detection convolutions read, whose error nothing repairs.
EARLY_MACS, EARLY_WEIGHTS = 0.01, 0.002
HEAD_MACS, HEAD_WEIGHTS = 0.05, 0.01
#: What fine reads may add with effort "high" or where tensors are named, as shares of
#: multiplications and weights.
MOST_MACS = 0.16
MOST_WEIGHTS = 0.0095

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


def _costs(
    net: Net, conv: Layer, site: str, extents: Mapping[str, tuple[int, int]]
) -> tuple[int, int]:
    """(multiplications, weights) that one fine read adds."""
    channels = net.channels()[site]
    weights = conv.weights.shape[0] * channels * conv.kernel[0] * conv.kernel[1]
    rows, columns = extents[conv.name]
    return weights * rows * columns, weights


def _totals(net: Net, extents: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    macs = sum(
        conv.weights.size * extents[conv.name][0] * extents[conv.name][1]
        for conv in net.convolutions()
    )
    return macs, net.weight_count()


def fine_reads(net: Net, extents: Mapping[str, tuple[int, int]]) -> Reads:
    """The reads that are worth their cost in any YOLOv5."""
    macs, weights = _totals(net, extents)
    found: dict[str, set[str]] = {}
    for conv, site, _ in candidates(net):
        more_macs, more_weights = _costs(net, conv, site, extents)
        early = extents[site][0] * 4 >= extents[net.layers[0].name][0]
        if conv.name in net.heads:
            most_macs, most_weights = HEAD_MACS, HEAD_WEIGHTS
        elif early:
            most_macs, most_weights = EARLY_MACS, EARLY_WEIGHTS
        else:
            continue
        if more_macs <= most_macs * macs and more_weights <= most_weights * weights:
            found.setdefault(conv.name, set()).add(site)
    return {name: tuple(sorted(sites)) for name, sites in found.items()}


def refinement(
    net: Net, site: str, extents: Mapping[str, tuple[int, int]]
) -> tuple[float, float] | None:
    """What it adds to read this tensor finely wherever it is read: shares of all multiplications
    and of all weights. None where it cannot be read finely."""
    costs = [_costs(net, conv, site, extents) for conv, name, _ in candidates(net) if name == site]
    if not costs:
        return None
    macs, weights = _totals(net, extents)
    return sum(more for more, _ in costs) / macs, sum(more for _, more in costs) / weights


def refined_reads(net: Net, extents: Mapping[str, tuple[int, int]], names: Sequence[str]) -> Reads:
    """All reads of the named tensors, and of the default's as many as the limits leave room for.

    InputError where a tensor cannot be read finely, or all of them cost too much.
    """
    if not names:
        return fine_reads(net, extents)
    left_macs, left_weights = MOST_MACS, MOST_WEIGHTS
    for name in names:
        cost = refinement(net, name, extents)
        if cost is None:
            raise InputError("--refine", f"names {name!r:.60}", _refinable(net, name))
        left_macs -= cost[0]
        left_weights -= cost[1]
        if left_macs < 0 or left_weights < 0:
            raise InputError(
                "--refine",
                f"asks for {100 * (MOST_MACS - left_macs):.1f} % more multiplications and "
                f"{100 * (MOST_WEIGHTS - left_weights):.2f} % more weights, up to {name}",
                f"at most {100 * MOST_MACS:g} % and {100 * MOST_WEIGHTS:g} %",
            )
    chosen: dict[str, set[str]] = {}
    macs, weights = _totals(net, extents)
    usual = fine_reads(net, extents)
    for conv, site, _ in candidates(net):
        if site in names:
            chosen.setdefault(conv.name, set()).add(site)
        elif site in usual.get(conv.name, ()):
            more_macs, more_weights = _costs(net, conv, site, extents)
            if more_macs <= left_macs * macs and more_weights <= left_weights * weights:
                chosen.setdefault(conv.name, set()).add(site)
                left_macs -= more_macs / macs
                left_weights -= more_weights / weights
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
    """The default's reads, and those that help most beyond, within MOST_MACS and MOST_WEIGHTS.

    A read's gain is what its rounding alone does to the detections on these float images, as a
    share of what all reads do, scores and boxes counting alike.
    """
    net, extents = source.net, source.net.extents(*imgsz)
    macs, weights = _totals(net, extents)
    layers = net.by_name()
    reads = candidates(net)
    tried = [(conv.name, site, *_costs(net, conv, site, extents)) for conv, site, _ in reads]
    trials = [
        coded_read(conv, start, scheme.own_codes(layers[site], False))
        for conv, site, start in reads
    ]
    harms = Judge(source, imgsz).distances(trials, planes)
    totals = np.maximum(harms.sum(axis=0), 1e-30)
    ranked = []
    for (name, site, more_macs, more_weights), harm in zip(tried, harms):
        gain = float((harm / totals).sum())
        price = max(more_macs / (MOST_MACS * macs), more_weights / (MOST_WEIGHTS * weights))
        ranked.append((-gain / max(price, 1e-3), name, site, more_macs, more_weights))
    left_macs, left_weights = MOST_MACS * macs, MOST_WEIGHTS * weights
    chosen: dict[str, set[str]] = {name: set(sites) for name, sites in default.items()}
    for name, site, more_macs, more_weights in tried:
        if site in chosen.get(name, ()):
            left_macs -= more_macs
            left_weights -= more_weights
    for _, name, site, more_macs, more_weights in sorted(ranked):
        new = site not in chosen.get(name, ())
        if new and more_macs <= left_macs and more_weights <= left_weights:
            chosen.setdefault(name, set()).add(site)
            left_macs -= more_macs
            left_weights -= more_weights
    return {name: tuple(sorted(sites)) for name, sites in chosen.items()}
