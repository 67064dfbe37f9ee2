"""Every command line of the READMEs, run as printed and in order, in a folder of generated files.

Only sizes are smaller (`SMALLER`). yolo-eval's README has a test of its own; lines of nox and pip
are run by `nox -s release` and by whoever works here. What is left out stands in `ELSEWHERE`.
"""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from commands import command_of, invoke
from yolo_core.front.cli import main as front
from yolo_core.mxnet.checkpoint import read_checkpoint, write_checkpoint

ROOT = Path(__file__).resolve().parents[1]
READMES = {
    "root": ROOT / "README.md",
    **{
        package: ROOT / "packages" / package / "README.md"
        for package in ("yolo-core", "yolo-port", "yolo-train", "yolo-mrt", "yolo-cvm")
    },
}
MODELS = ROOT / "packages" / "yolo-core" / "src" / "yolo_core" / "yolo" / "models"
#: What makes a line long, and what it is here.
SMALLER = (
    ("--imgsz 640", "--imgsz 64"), ("--imgsz 128", "--imgsz 64"), ("--images 1000", "--images 10"),
    ("--epochs 18", "--epochs 1"), ("--num-calib 128", "--num-calib 2"),
    ("--images 4", "--images 1"),
)  # fmt: skip
#: Beginnings of lines that this test does not run, and why.
ELSEWHERE = {
    "yolo report": "runs five commands that are here; packages/yolo-core/tests/test_front.py",
    "yolo-train launch": "starts processes of MXNet; packages/yolo-train/tests/test_launch.py",
    "yolo-cvm serve": "does not end; packages/yolo-cvm/tests/node",
    "yolo-port convert yolov5n-seg.pt": "shows a refusal; packages/yolo-port/tests",
}
#: Beginnings of printed lines that are of the weights and pictures of COCO, or of a whole training;
#: here stand generated ones in their place.
_OF_REAL_DATA = re.compile(
    r"""\d\.\d{3}\s+(person|bus)
    |yolov5n,\ (silu|80\ classes)|80\ classes|classes\ +80|source:|form\ +PyTorch|stored\ +float16
    |note\ (date|weights)|Next:\ yolo-mrt\ quantize\ runs
    |yolo-(eval\ (coco|detect)\ runs|train\ fit)
    |runs/train/exp/weights/best:
    |\[.*\]\ (calibrate:.*\ 4?\ ?images|calibrate:.*\ 128\ images|quantize:|evaluate:.*AP\ 95)
    |This\ needs\ about|model\.\d+\.|Judged\ on
    |call\ +No\ contract|A\ detector\ of\ rows|(model|input)\ payload""",
    re.VERBOSE,
)
_COMMAND = re.compile(r"yolo(-(core|train|port|mrt|cvm))? ")


def examples(readme: Path) -> list[tuple[str, list[str]]]:
    """The command lines of ours, behind a `$` or in a block without one, each with the lines that
    are shown as its output."""
    text = readme.read_text(encoding="utf-8")
    fence = re.compile(r"```[a-z]*\n(.*?)```", flags=re.DOTALL)
    blocks = fence.findall(text)
    blocks += re.findall(r"^(?: {4}.*\n)+", fence.sub("", text), flags=re.MULTILINE)
    found: list[tuple[str, list[str]]] = []
    for block in blocks:
        shown = [line.strip() for line in block.replace("\\\n", " ").splitlines()]
        if not any(line.startswith("$ ") for line in shown):
            found += [(line, []) for line in shown if _COMMAND.match(line)]
            continue
        ours = False
        for line in shown:
            if line.startswith("$ "):
                ours = bool(_COMMAND.match(line[2:]))
                found += [(line[2:], [])] if ours else []
            elif ours and line:
                found[-1][1].append(line)
    return found


def pattern(line: str) -> re.Pattern[str]:
    """What a printed line must be like, as `form` has it; "…" stands for anything."""
    return re.compile(".*".join(map(re.escape, form(line.replace("...", "…")).split("…"))))


def form(line: str) -> str:
    """A line without its numbers, digests, units of speed and widths of columns."""
    line = re.sub(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{8,}(…|\b)", "#", line)
    line = re.sub(r"[+\N{MINUS SIGN}-]?\d[\d,.]*(e[+-]?\d+)?", "#", line)
    line = re.sub(r"# (\w+/s|s each)", "# a second", line)
    return " ".join(line.split())


def furnish(work: Path, folder: Path) -> None:
    """The files that the READMEs take for granted."""
    shutil.copytree(work / "shapes", folder / "datasets" / "shapes")
    for place in ("calibration/images", "calib/images", "val/images"):
        shutil.copytree(work / "shapes" / "images" / "val", folder / place)
    shutil.copyfile(work / "c" / "val.json", folder / "val" / "instances.json")
    (folder / "data.yaml").write_text("names: [circle, square, triangle]\ntrain: val/images\n")
    for name in ("bus.jpg", "street.jpg"):
        Image.open(work / "p" / "a.png").save(folder / name)
    shutil.copytree(work / "m", folder / "model")
    shutil.copytree(work / "m", folder / "qout" / "yolov5n_cvm")
    shutil.copytree(work / "m.stages", folder / "qout" / "yolov5n_cvm.stages")
    shutil.copytree(work / "b", folder / "yolov5n_boxes")
    shutil.copyfile(work / "e" / "input.npy", folder / "x.npy")
    shutil.copytree(work / "w", folder / "weights")
    for file in (folder / "weights").iterdir():
        file.rename(file.with_name(file.name.replace("n", "yolov5n", 1)))
    assert invoke("yolo-port convert weights/yolov5n --out made --to pt", folder).exit_code == 0
    for name in ("yolov5n.pt", "pruned.pt"):
        shutil.copyfile(folder / "made" / "yolov5n.pt", folder / name)
    checkpoint = read_checkpoint(folder / "weights" / "yolov5n")
    other = replace(checkpoint.architecture, activation="hardswish")
    write_checkpoint(folder / "made" / "state_dict", replace(checkpoint, architecture=other))
    assert invoke("yolo-port convert made/state_dict --out . --to pt", folder).exit_code == 0
    shutil.copytree(work / "shapes" / "images" / "val", folder / "dataset/yolov5_dataset/images")
    for file in (folder / "weights").iterdir():
        shutil.copyfile(file, folder / "qout" / file.name)
    for name in ("my-model.yaml", "my-p2.yaml"):
        layout = (MODELS / "yolov5n.yaml").read_text()
        (folder / name).write_text(layout.replace("nc: 80", "nc: 3"))


def command(words: list[str]) -> click.Command:
    return front if words[0] == "yolo" else command_of(words[0])


@pytest.mark.parametrize("name", READMES)
def test_every_line_runs_as_printed(
    name: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(work, tmp_path)
    monkeypatch.chdir(tmp_path)
    shown = examples(READMES[name])
    assert shown
    for line, expected in shown:
        if line.startswith(tuple(ELSEWHERE)):
            continue
        for large, small in SMALLER:
            line = line.replace(large, small)
        line, _, target = line.partition(" > ")
        words = shlex.split(line, comments=True)
        result = CliRunner().invoke(command(words), words[1:], prog_name=words[0])
        assert result.exit_code == 0, f"{line}: {result.output}"
        printed = [form(each) for each in result.output.splitlines()]
        for each in expected:
            if not _OF_REAL_DATA.match(each):
                assert any(map(pattern(each).fullmatch, printed)), f"{each}\n{result.output}"
        if target:  # for pictures as small as the other lines'
            text = result.stdout.replace("640, 640", "64, 64").replace("CALIB: 128", "CALIB: 2")
            Path(target).write_text(text)


def test_what_is_not_run_here_is_still_shown() -> None:
    shown = [line for readme in READMES.values() for line, _ in examples(readme)]
    for beginning in ELSEWHERE:
        assert any(line.startswith(beginning) for line in shown), beginning
