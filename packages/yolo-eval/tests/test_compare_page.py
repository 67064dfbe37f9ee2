"""The page of `yolo-eval compare`: it stands alone, is safe, and says what the numbers say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from command import run
from html_page import Page, assert_policy, browser_dom

from yolo_eval.figures.compare import compare, read_runs
from yolo_eval.figures.cost import Cost
from yolo_eval.pages import gain
from yolo_eval.pages.pictures import TAG, Drawn, Picture, panel


def test_the_page_stands_alone_and_is_well_formed(report: Path) -> None:
    html = (report / "report.html").read_text()
    page = Page(html)
    assert page.open == []
    for tag, name, value in page.attributes:
        if name in ("href", "src"):
            assert value.startswith(("#", "data:image/jpeg;base64,")), (tag, value[:80])
    assert "url(" not in html
    assert "<script" not in html
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for _, name, value in page.attributes:
        if name == "aria-labelledby":
            assert set(value.split()) <= set(ids)
        if name == "href" and value.startswith("#"):
            assert value[1:] in ids


def test_the_policy_allows_nothing_but_the_page_itself(report: Path) -> None:
    assert_policy((report / "report.html").read_text())


def test_hostile_names_stay_text(runs: tuple[Path, Path], tmp_path: Path) -> None:
    files = []
    for path in runs:
        content = json.loads(path.read_text())
        content["categories"][1]["name"] = "<script>alert(1)</script>"
        content["model"]["path"] = '"><img src=x onerror=alert(1)>'
        content["provenance"]["command"] = "</style><script>"
        files.append(tmp_path / path.name)
        files[-1].write_text(json.dumps(content))
    result = run("compare", "--no-measure", *files, "--out", tmp_path / "x", "--resamples", 10)
    assert result.exit_code == 0, result.output
    html = (tmp_path / "x/report.html").read_text()
    assert "<script" not in html
    assert "<img" not in html
    assert Page(html).open == []


def percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.2f}"


def difference(interval: dict[str, Any]) -> list[str]:
    """The two cells of a difference: percent points and their interval."""
    if interval["delta"] is None:
        return ["n/a", "n/a"]
    delta, low, high = (
        # Zero has no sign, and a minus is a minus.
        re.sub(r"^[+-](?=0\.00$)", "", f"{100 * interval[key]:+.2f}").replace("-", "−")
        for key in ("delta", "low", "high")
    )
    return [delta, f"{low}&nbsp;to {high}"]


def test_a_browser_shows_the_numbers(report: Path, tmp_path: Path) -> None:
    dom = browser_dom(report / "report.html", tmp_path)
    metrics = json.loads((report / "metrics.json").read_text())
    (pair,) = metrics["comparisons"]
    a, b = (entry["metrics"] for entry in metrics["runs"])
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall("<tr.*?</tr>", dom)]
    for name, interval in pair["figures"].items():
        row = re.search(f'<tr data-figure="{name}">(.*?)</tr>', dom)
        assert row is not None, name
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row[1])
        assert cells[1:] == [percent(a[name]), percent(b[name]), *difference(interval)], name
    for first, second, entry in zip(a["classes"], b["classes"], pair["classes"]):
        figures = [str(first["objects"]), percent(first["AP"]), percent(second["AP"])]
        assert [entry["name"], *figures, *difference(entry["AP"])] in rows
    text = Page(dom).text
    assert "What quantization cost" in text
    assert f"yolov5n integer scores {percent(b['AP'])} AP" in text
    assert f"{pair['agreement']['only_a']}only yolov5n float shows" in text
    for entry in metrics["runs"]:
        for key in ("python", "pycocotools"):
            assert f"{key} {entry['provenance']['versions'][key]}" in text
        for fact in (
            entry["model"]["digest"], entry["configuration_digest"], entry["provenance"]["command"]
        ):  # fmt: skip
            assert fact in text
    assert metrics["ground_truth_digest"] in text
    panels = re.findall(r'<svg [^>]*aria-label="(ground truth|yolov5n [a-z]+), ', dom)
    assert len(panels) == 3 * len(pair["changed"])


def test_labels_of_a_crowded_picture_never_cover_each_other() -> None:
    """The boxes that differ are labelled first; every box keeps its frame and its tooltip."""
    generator = np.random.default_rng(2)
    boxes = [
        Drawn([*generator.uniform(0, 160, 2), *generator.uniform(5, 60, 2)], f"thing {n}", tone)
        for n, tone in enumerate(["both", "only"] * 5)
    ]
    html = panel(Picture("a.jpg", 1, 200, 100, 1.0, None), "run", boxes, first=True)
    tags = re.findall(
        r'<g class="tag (\w+)"><rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', html
    )
    places = [tuple(map(float, tag[1:])) for tag in tags]
    assert [tag[0] for tag in tags] == sorted((tag[0] for tag in tags), reverse=True)
    assert 5 <= len(places) < len(boxes)
    for number, (x, y, width) in enumerate(places):
        assert x + width <= 200 + 1e-6
        assert y + TAG <= 100
        for left, top, wide in places[:number]:
            assert abs(y - top) >= TAG - 0.1 or x + width <= left + 0.1 or left + wide <= x + 0.1
    assert html.count("<title>thing ") == len(boxes)


def test_the_gain_stands_beside_the_loss(runs: tuple[Path, Path], tmp_path: Path) -> None:
    result = run("compare", *runs, "--out", tmp_path / "x", "--resamples", 5)
    assert result.exit_code == 0, result.output
    first, second = json.loads((tmp_path / "x/metrics.json").read_text())["costs"]
    assert (first["note"], second["note"]) == ("", "")
    assert first["ms"] > 0
    assert second["peak_bytes"] > 1 << 20
    assert first["callable"] is False
    page = Page((tmp_path / "x/report.html").read_text())
    assert "What it gains" in page.text
    summary = (tmp_path / "x/summary.md").read_text()
    assert re.search(r"\| latency, one thread \| [\d.,]+ ms \| [\d.,]+ ms \(× [\d.]+\) \|", summary)
    assert "| can be called on chain | no | not known |" in summary


def test_models_that_are_gone_or_changed_are_not_measured(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "a.fake").unlink()
    (tmp_path / "b.fake").write_text('{"kind": "integer"}')
    result = run("compare", *runs, "--out", tmp_path / "x", "--resamples", 5)
    assert result.exit_code == 0, result.output
    first, second = json.loads((tmp_path / "x/metrics.json").read_text())["costs"]
    assert first["note"].endswith("a.fake is not here")
    assert second["note"].endswith("b.fake is another model now")
    assert (first["ms"], second["ms"]) == (None, None)
    assert "is another model now" in (tmp_path / "x/summary.md").read_text()


def test_a_model_that_no_contract_can_call_is_told_the_way(runs: tuple[Path, Path]) -> None:
    found = compare(read_runs(runs, None), resamples=2)
    costly = Cost(gas=7, call_gas=9, callable=False)
    told = "\n".join(gain.markdown(replace(found, costs=(Cost(callable=False), costly))))
    assert f"{found.labels[1]}: a contract cannot pay for its output; yolo-mrt boxes" in told
    assert told.count("a contract cannot pay") == 1
