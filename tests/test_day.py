"""A whole day of a new user, in an empty folder: the lines of the README, then what is printed.

The day begins with weights and pictures that our own commands make. It follows the section "With
the COCO weights" line by line, and from there on only the commands that each command names at its
end, up to a bundle that was checked and a receipt that was verified.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from commands import command_of

README = Path(__file__).resolve().parents[1] / "README.md"
#: What makes a line of the README long, and what it is here.
SMALLER = (("--imgsz 640", "--imgsz 64"),)
#: Words that stand for something of the user's own.
OWN = {"PICTURES": "calibration/images", "PICTURE": "bus.jpg", "INPUT": "bus.jpg",
       "DATA.yaml": "data.yaml"}  # fmt: skip


def do(line: str) -> str:
    """Run one line of ours here; what it printed. Every line of the day succeeds."""
    words = [OWN.get(word, word) for word in shlex.split(line)]
    done = CliRunner().invoke(command_of(words[0]), words[1:], prog_name=words[0])
    assert done.exit_code == 0, f"{line}: {done.output}"
    return done.output


def named_next(output: str, beginning: str) -> str:
    """The command that output names as one that comes next, the one of this beginning."""
    told = output.partition("\nNext: ")[2].splitlines()
    return next(line.strip() for line in told if line.strip().startswith(beginning))


def lines_of(section: str) -> list[str]:
    """Our commands in the first block of a section of the README."""
    text = README.read_text(encoding="utf-8").split(f"\n## {section}\n")[1]
    block = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)[0]
    return [line[2:] for line in block.splitlines() if line.startswith("$ yolo")]


def begin() -> None:
    """yolov5n.pt and pictures as a user has them, under the names that the README uses."""
    do("yolo-train shapes --out shapes --images 24 --imgsz 64 --seed 1")
    do("yolo-train fit --data shapes/data.yaml --model yolov5n --imgsz 64 --epochs 1 "
       "--batch-size 8 --workers 0")  # fmt: skip
    do("yolo-port convert runs/train/exp --out theirs --to pt --no-fuse")
    next(Path("theirs").glob("*.pt")).rename("yolov5n.pt")
    do("yolo-core dataset convert shapes/data.yaml --out coco")
    for place in ("calibration", "val"):
        Path(place).mkdir()
    pictures = Path("shapes/images").resolve()
    Path("calibration/images").symlink_to(pictures / "train")
    Path("val/images").symlink_to(pictures / "val")
    Path("coco/val.json").rename("val/instances.json")
    first = min((pictures / "val").iterdir())
    Path("bus.jpg").write_bytes(first.read_bytes())
    Path("shapes/data.yaml").rename("data.yaml")


def test_the_whole_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    begin()
    told = {}
    for line in lines_of("With the COCO weights"):
        for large, small in SMALLER:
            line = line.replace(large, small)
        told[" ".join(line.split()[:3])] = do(line)
    assert Path("runs/compare/report.html").is_file()
    assert {path.name for path in Path("results").iterdir()} == {"bus.jpg", "detections.json"}
    # What the commands themselves name, from the weights on.
    assert "\nsame: " in do(named_next(told["yolo-port convert yolov5n.pt"], "yolo-port verify"))
    quantized = told["yolo-mrt quantize weights/yolov5n"]
    do(named_next(quantized, "yolo-cvm detect"))
    boxes = do(named_next(quantized, "yolo-mrt boxes"))
    do(named_next(boxes, "yolo-cvm contract"))
    bundled = do(named_next(boxes, "yolo-cvm bundle"))
    checked = do(named_next(bundled, "yolo-cvm bundle --check"))
    assert [line.split()[0] for line in checked.splitlines()[:5]] == ["ok"] * 5
    ran = do(named_next(checked, "yolo-cvm run"))
    assert "verified" in do(named_next(ran, "yolo-cvm verify"))
    receipt = do("yolo-cvm detect qout/yolov5n_cvm PICTURE --receipt seen.json")
    assert "verified" in do(named_next(receipt, "yolo-cvm verify"))
