"""What quantize and report need is told before they begin, and kept to what the user grants."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from yolo_core.command import BAD_INPUT, LATE
from yolo_mrt import costs
from yolo_mrt.cli import main
from yolo_mrt.network.source import read_source


def quantize(checkpoint: Path, pictures: Path, out: Path, *more: str) -> Result:
    words = ["--imgsz", "64", "--num-calib", "2", "--out", str(out), *more]
    return CliRunner().invoke(main, ["quantize", str(checkpoint), "--data", str(pictures), *words])


def test_told_before_the_work(checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    done = quantize(checkpoint, pictures, tmp_path / "out")
    assert done.exit_code == 0, done.output
    lines = [line for line in done.output.splitlines() if line.startswith("[")]
    assert re.search(r"needs about \d+ MB and \d+ seconds on this machine", lines[0])
    assert "prepare" in lines[1]
    judged = CliRunner().invoke(main, ["report", str(tmp_path / "out"), "--images", "1"])
    assert judged.output.startswith("This needs about"), judged.output


@pytest.mark.parametrize(
    ("limit", "code", "words"),
    [
        (("--max-memory", "1000000"), BAD_INPUT, "expected at most 1,000,000"),
        (("--max-seconds", "0.0001"), LATE, "--max-seconds"),
    ],
)
def test_a_grant_that_is_too_small(
    limit: tuple[str, str], code: int, words: str, checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    refused = quantize(checkpoint, pictures, tmp_path / "out", *limit)
    assert refused.exit_code == code, refused.output
    assert words in refused.output.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
    assert quantize(checkpoint, pictures, tmp_path / "out").exit_code == 0
    before = sorted(tmp_path.rglob("*"))
    refused = CliRunner().invoke(main, ["report", str(tmp_path / "out"), *limit])
    assert refused.exit_code == code, refused.output
    assert words in refused.output.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == before


def test_larger_inputs_need_more(checkpoint: Path) -> None:
    net = read_source(checkpoint).net
    small, large = costs.memory(net, (64, 64), False), costs.memory(net, (1280, 1280), False)
    assert large > small + 4 * 3 * 1280 * 1280
    assert costs.memory(net, (1280, 1280), True) > large
    assert costs.macs(net, (128, 128)) == 4 * costs.macs(net, (64, 64))
