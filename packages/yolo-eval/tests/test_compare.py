"""`yolo-eval compare`: what changed, said in numbers, words and pictures."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scenes import scene

from yolo_eval.cli import main
from yolo_eval.figures.agreement import agreement, most_changed
from yolo_eval.figures.compare import compare, read_runs
from yolo_eval.figures.cost import Cost
from yolo_eval.pages import gain
from yolo_eval.pages.pictures import TAG, Drawn, Picture, panel
from yolo_eval.runs.run import Predictions


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def runs(model: Callable[..., Path], shapes: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A float run that sees everything, and an integer one that is worse in all respects."""
    models = model("a.fake"), model("b.fake", kind="integer", score=0.8, drop=[1], shift=2)
    out = tmp_path / "runs"
    result = run("coco", *models, "--data", shapes / "data.yaml", "--out", out)
    assert result.exit_code == 0, result.output
    return out / "a.fake.json", out / "b.fake.json"


@pytest.fixture
def report(runs: tuple[Path, Path], tmp_path: Path) -> Path:
    result = run("compare", "--no-measure", *runs, "--out", tmp_path / "cmp", "--resamples", 200)
    assert result.exit_code == 0, result.output
    return tmp_path / "cmp"


def test_all_files_are_written(report: Path) -> None:
    assert {path.name for path in report.iterdir()} == {
        "report.html", "metrics.json", "summary.md",
        "yolov5n_eval_float.txt", "yolov5n_eval_quant.txt",
    }  # fmt: skip
    line = (report / "yolov5n_eval_float.txt").read_text()
    assert re.fullmatch(
        r"\S+: #imges=12, #objects=\d+, mp=100.00%, mr=100.00%, map50=100.00%, map=100.00%\n", line
    )


def test_the_names_of_a_foreign_run_are_no_markdown(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    content = json.loads(runs[1].read_text())
    content["model"]["name"] = "<b>x\n# heading|`y`"
    runs[1].write_text(json.dumps(content))
    result = run("compare", "--no-measure", *runs, "--out", tmp_path / "cmp", "--resamples", 100)
    if result.exit_code == 2:  # refused when it is read is as good
        assert "name" in result.output
        return
    page = (tmp_path / "cmp" / "summary.md").read_text()
    assert "<b>" not in page.replace("\\<b\\>", "")
    assert [line for line in page.splitlines() if line.startswith("#")] == page.splitlines()[:1]


def test_the_numbers_are_the_difference_of_the_runs(runs: tuple[Path, Path], report: Path) -> None:
    a, b = (json.loads(path.read_text())["metrics"] for path in runs)
    metrics = json.loads((report / "metrics.json").read_text())
    (pair,) = metrics["comparisons"]
    for key in ("AP", "AP50", "AR100", "precision", "recall", "f1"):
        found = pair["figures"][key]
        assert found["delta"] == pytest.approx(b[key] - a[key], abs=1e-12)
        assert found["low"] <= found["delta"] <= found["high"]
    assert pair["figures"]["AP_large"] == {"delta": None, "low": None, "high": None}
    assert [c["AP"]["delta"] for c in pair["classes"]][1] == -1
    green = a["classes"][1]["objects"]
    agreed = pair["agreement"]
    assert (agreed["only_a"], agreed["only_b"]) == (green, 0)
    assert agreed["matched"] == a["objects"] - green
    assert agreed["rate"] == pytest.approx(2 * agreed["matched"] / (2 * agreed["matched"] + green))
    assert agreed["score_drift"]["mean"] == pytest.approx(-0.1, abs=1e-3)
    assert agreed["objects_found"] == {
        "both": a["objects"] - green, "a": green, "b": 0, "neither": 0
    }  # fmt: skip
    assert len(metrics["runs"][0]["model"]["digest"]) == 64


def test_a_run_against_itself_changes_nothing(runs: tuple[Path, Path], tmp_path: Path) -> None:
    result = run(
        "compare", "--no-measure", runs[0], runs[0], "--out", tmp_path / "same", "--resamples", 50
    )
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "same/metrics.json").read_text())
    (pair,) = metrics["comparisons"]
    assert pair["figures"]["AP"] == {"delta": 0, "low": 0, "high": 0}
    assert pair["agreement"]["rate"] == 1
    assert pair["changed"] == []
    assert [entry["label"] for entry in metrics["runs"]] == [
        "yolov5n float (1)", "yolov5n float (2)"
    ]  # fmt: skip
    assert "No image changed" in (tmp_path / "same/report.html").read_text()


def test_the_same_seed_gives_the_same_numbers(runs: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        run("compare", "--no-measure", *runs, "--out", tmp_path / name, "--resamples", 50)
    one, two = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("one", "two"))
    one.pop("provenance"), two.pop("provenance")
    assert one == two


def test_three_runs_compare_with_the_first(
    runs: tuple[Path, Path], model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    third = tmp_path / "c.json"
    run("coco", model("c.fake", drop=[0, 1]), "--data", shapes / "data.yaml", "--json", third)
    result = run(
        "compare", "--no-measure", *runs, third, "--out", tmp_path / "three", "--resamples", 20
    )
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "three/metrics.json").read_text())
    assert [pair["a"] for pair in metrics["comparisons"]] == ["yolov5n float (1)"] * 2
    assert (tmp_path / "three/yolov5n_eval_float_2.txt").is_file()


def change(path: Path, **changes: object) -> Path:
    content = json.loads(path.read_text())
    content.update(changes)
    other = path.with_name("changed.json")
    other.write_text(json.dumps(content))
    return other


def test_runs_over_other_images_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    content = json.loads(runs[1].read_text())
    gone = content["images"].pop()["id"]
    kept = {
        key: [item for item in content[key] if item["image_id"] != gone]
        for key in ("annotations", "predictions")
    }
    other = change(runs[1], images=content["images"], **kept)
    result = run("compare", "--no-measure", runs[0], other, "--out", tmp_path / "x")
    assert result.exit_code == 2
    assert f"(1 in one only, image {gone} in {runs[0]})" in result.output
    assert not (tmp_path / "x").exists()


def test_runs_with_other_boxes_pictures_or_shards_are_refused(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    content = json.loads(runs[1].read_text())
    cases = [
        ({"annotations": content["annotations"][1:]}, "has other ground truth"),
        ({"shard": [1, 2]}, "is one shard of a run"),
        (
            {"images": [{**i, "sha256": "0" * 64} for i in content["images"]]},
            "saw another picture 1 ",
        ),
        ({"format": "yolo-eval-run/9"}, "is not a run file"),
        ({"predictions": None}, "has no list of predictions"),
        ({"model": {**content["model"], "imgsz": "\0"}}, "has a malformed imgsz"),
    ]
    for changes, cause in cases:
        result = run(
            "compare", "--no-measure", runs[0], change(runs[1], **changes), "--out", tmp_path / "x"
        )
        assert result.exit_code == 2
        assert cause in result.output
    assert run("compare", "--no-measure", runs[0], "--out", tmp_path / "x").exit_code == 2


def test_a_picture_that_changed_on_disk_is_refused(
    runs: tuple[Path, Path], shapes: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "pictures"
    shutil.copytree(shapes / "images/val", copy)
    for path in copy.iterdir():
        path.write_bytes(path.read_bytes() + b" ")
    result = run(
        "compare",
        "--no-measure",
        *runs,
        "--out",
        tmp_path / "x",
        "--images",
        copy,
        "--resamples",
        10,
    )
    assert result.exit_code == 2
    assert "has changed since the run" in result.output


def test_pictures_that_are_gone_leave_frames_with_boxes(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    files = []
    for path in runs:
        content = json.loads(path.read_text())
        content["folder"] = str(tmp_path / "gone")
        files.append(tmp_path / path.name)
        files[-1].write_text(json.dumps(content))
    result = run("compare", "--no-measure", *files, "--out", tmp_path / "x", "--resamples", 10)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "x/report.html").read_text()
    assert '<rect class="blank"' in page
    assert "data:image" not in page


def test_a_received_run_file_brings_in_no_picture_that_it_does_not_know(
    runs: tuple[Path, Path], shapes: Path, tmp_path: Path
) -> None:
    files = []
    for path in runs:
        content = json.loads(path.read_text())
        for image in content["images"]:
            image.pop("sha256", None)
        files.append(tmp_path / path.name)
        files[-1].write_text(json.dumps(content))
    for more, embedded in (((), False), (("--images", shapes / "images/val"), True)):
        result = run(
            "compare", "--no-measure", *files, "--out", tmp_path / "x", "--resamples", 10, *more
        )
        assert result.exit_code == 0, result.output
        assert ("data:image" in (tmp_path / "x/report.html").read_text()) == embedded


@pytest.mark.parametrize("digest", [None, "0" * 64])
def test_a_run_file_whose_picture_is_a_device_is_not_read(
    digest: str | None, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "picture.png")
    files = []
    for path in runs:
        content = json.loads(path.read_text())
        content["folder"] = str(tmp_path)
        for number, image in enumerate(content["images"]):
            image["file_name"] = "picture.png" if not number else f"{number}.png"
            image.pop("sha256", None)
            if digest:
                image["sha256"] = digest
        files.append(tmp_path / path.name)
        files[-1].write_text(json.dumps(content))
    for more in ((), ("--images", tmp_path)):
        result = run(
            "compare", "--no-measure", *files, "--out", tmp_path / "x", "--resamples", 10, *more
        )
        assert result.exit_code == (2 if more or digest else 0), result.output
        assert result.exit_code == 0 or "picture" in result.output or ".png" in result.output


def test_bare_result_lists_need_ground_truth(
    runs: tuple[Path, Path], shapes: Path, tmp_path: Path
) -> None:
    content = json.loads(runs[0].read_text())
    truth = {key: content[key] for key in ("images", "categories", "annotations")}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "plain.json").write_text(json.dumps(content["predictions"]))
    plain = tmp_path / "plain.json"
    refused = run("compare", "--no-measure", plain, plain, "--out", tmp_path / "x")
    assert refused.exit_code == 2
    assert "--annotations" in refused.output
    options = ("--annotations", tmp_path / "truth.json", "--images", shapes / "images/val")
    result = run(
        "compare",
        "--no-measure",
        runs[0],
        plain,
        "--out",
        tmp_path / "x",
        "--resamples",
        10,
        *options,
    )
    assert result.exit_code == 0, result.output
    scored = run(
        "score", plain, *options, "--text", tmp_path / "line.txt", "--json", tmp_path / "run.json"
    )
    assert scored.exit_code == 0, scored.output
    assert (
        "pycocotools" in json.loads((tmp_path / "run.json").read_text())["provenance"]["versions"]
    )
    assert "map=100.00%" in (tmp_path / "line.txt").read_text()


def test_nothing_to_compare_is_said_in_words(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    """No objects and no boxes: no figure is measured, and no chart is empty."""
    content = {
        "images": [{"id": 1, "file_name": "00.png", "width": 64, "height": 64}],
        "categories": [{"id": 1, "name": "red"}],
        "annotations": [],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "none.json").write_text("[]")
    options = ("--annotations", tmp_path / "truth.json", "--images", shapes / "images/val")
    files = (tmp_path / "none.json", tmp_path / "none.json")
    result = run(
        "compare", "--no-measure", *files, "--out", tmp_path / "x", "--resamples", 10, *options
    )
    assert result.exit_code == 0, result.output
    page = Page((tmp_path / "x/report.html").read_text())
    for words in (
        "cannot be compared: the images hold no objects", "so there are no curves",
        "No class has objects here", "No box has a partner", "No image changed",
    ):  # fmt: skip
        assert words in page.text
    charts = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert {chart.split(".")[0] for chart in charts} == {"Confusion matrix"}
    (pair,) = json.loads((tmp_path / "x/metrics.json").read_text())["comparisons"]
    assert pair["agreement"]["rate"] is None
    assert {value["delta"] for value in pair["figures"].values()} == {None}


def test_pairing_is_symmetric_and_complete() -> None:
    truth, a = scene(0)
    _, b = scene(9)
    one, other = agreement(truth, a, b), agreement(truth, b, a)
    assert (one.matched, one.only_a, one.only_b) == (other.matched, other.only_b, other.only_a)
    np.testing.assert_allclose(np.sort(one.drift), np.sort(-other.drift))
    shown = int((a.score >= 0.25).sum())
    assert one.matched + one.only_a == shown
    assert sum(one.found.values()) == truth.objects
    changes = [image.change for image in most_changed(one, 5)]
    assert changes == sorted(changes, reverse=True)
    nothing = agreement(truth, Predictions.from_rows([]), Predictions.from_rows([]))
    assert nothing.rate is None
    assert nothing.identical == len(truth.images)


class Page(HTMLParser):
    """Collects what a reader needs: text, element names, attributes, and whether tags balance."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: Any) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


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


def assert_policy(html: str) -> None:
    """The page allows its own style sheet, named by its digest, and pictures that are in it."""
    (style,) = re.findall("<style>(.*?)</style>", html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [
        value for tag, name, value in Page(html).attributes if (tag, name) == ("meta", "content")
        and "default-src" in value
    ]  # fmt: skip
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not [name for _, name, _ in Page(html).attributes if name == "style"]


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


def browser_dom(page: Path, tmp_path: Path) -> str:
    """The page as a real browser understands it."""
    chromium = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
        page.resolve().as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


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


HOSTILE = [None, True, -1, 0, 1e308, "", "x", [], {}, [1], {"a": 1}, "\u0000", 2**70, float("nan")]


def test_damaged_run_files_are_refused_or_read_never_more(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    """One value somewhere in the file replaced by something else: one clear line, or a result."""
    generator = np.random.default_rng(5)
    text = runs[1].read_text()
    for _ in range(150):
        content = json.loads(text)
        place: Any = content
        while True:
            keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = keys[int(generator.integers(len(keys)))]
            if isinstance(place[key], (dict, list)) and place[key] and generator.random() < 0.8:
                place = place[key]
                continue
            place[key] = HOSTILE[int(generator.integers(len(HOSTILE)))]
            break
        damaged = tmp_path / "damaged.json"
        damaged.write_text(json.dumps(content))
        result = run(
            "compare", "--no-measure", runs[0], damaged, "--out", tmp_path / "x", "--resamples", 2
        )
        assert result.exit_code in (0, 2), (key, place[key], result.exception)
        if result.exit_code == 2:
            assert result.output.splitlines()[-1].startswith("Error: "), result.output


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
