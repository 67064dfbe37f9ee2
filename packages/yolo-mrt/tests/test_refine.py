"""Tensors that a user names are read finely, within the limit of gas and at no bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_quantize import quantize

from yolo_core.errors import InputError
from yolo_core.files import read_json
from yolo_core.graph.costs.gas import gas
from yolo_core.yolo.model_folder import read_model_folder
from yolo_mrt.calibrate.scheme import wide_sites
from yolo_mrt.network.source import Source, read_source
from yolo_mrt.quantize import effort
from yolo_mrt.report import mean_interval

STAGES = [f"--stage={stage}" for stage in ("prepare", "calibrate", "quantize", "compile")]


@pytest.fixture(scope="module")
def source(checkpoint: Path) -> Source:
    return read_source(checkpoint)


def cheapest(source: Source) -> str:
    """A tensor that the default reads coarsely and that costs the fewest multiplications."""
    extents = source.net.extents(64, 64)
    usual = {site for sites in effort.fine_reads(source.net, extents).values() for site in sites}
    sites = {site for _, site, _ in effort.candidates(source.net)} - usual
    costs = {site: effort.refinement(source.net, site, extents) for site in sites}
    return min(sorted(sites), key=lambda site: costs[site] or 0.0)


def test_a_named_tensor_is_read_finely(
    source: Source, checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    name = cheapest(source)
    plain = quantize(checkpoint, pictures, tmp_path / "plain", "--num-calib", "1", *STAGES)
    result = quantize(
        checkpoint, pictures, tmp_path / "fine", "--num-calib", "1", "--refine", name, *STAGES
    )
    assert plain.exit_code == result.exit_code == 0, result.output
    scheme = read_json(tmp_path / "fine.stages" / "tiny.mrt.calibrate.json")
    assert any(name in sites for sites in scheme["fine"].values())
    graphs = [read_model_folder(tmp_path / place).graph for place in ("plain", "fine")]
    assert gas(graphs[0]) < gas(graphs[1]) < 1.16 * gas(graphs[0])
    # Fine codes are multiplied by an eighth of the weights that there are anyway.
    for layer in source.net.convolutions():
        for graph in graphs:
            assert graph.parameters[f"{layer.name}.weight"].shape == layer.weights.shape


@pytest.mark.parametrize("name", ["ghost", "model.2.m.0.cv2.conv"])
def test_what_cannot_be_read_finely_is_refused(
    source: Source, checkpoint: Path, pictures: Path, tmp_path: Path, name: str
) -> None:
    assert name == "ghost" or name in wide_sites(source.net)
    result = quantize(
        checkpoint, pictures, tmp_path / "out", "--num-calib", "1", "--refine", name, *STAGES
    )
    assert result.exit_code == 2
    assert f"--refine: names '{name}'" in result.output
    assert not (tmp_path / "out").exists()


def test_what_costs_too_much_is_refused_with_its_cost(source: Source) -> None:
    extents = source.net.extents(64, 64)
    sites = sorted({site for _, site, _ in effort.candidates(source.net)})
    with pytest.raises(InputError, match=r"% more multiplications, .* at most 16 %"):
        effort.refined_reads(source.net, extents, sites)
    assert effort.refined_reads(source.net, extents, ()) == effort.fine_reads(source.net, extents)


def test_a_mean_has_an_interval() -> None:
    assert mean_interval([1.0]) is None
    assert mean_interval([1.0, 3.0]) == pytest.approx((2 - 12.706, 2 + 12.706))
    # Four pictures of which one alone loses something prove nothing.
    low, _ = mean_interval([0.0, 0.0, 0.0, 7.84]) or (1.0, 1.0)
    assert low < 0
    # By tables: t(15) = 2.131.
    low, high = mean_interval([0.0, 2.0] * 8) or (0.0, 0.0)
    assert high - low == pytest.approx(2 * 2.131 * 1.0328 / 4, rel=1e-3)
