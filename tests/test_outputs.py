"""No command can be made to replace or remove a file that is not a result of ours.

Every command that writes stands in `WRITERS` with its outputs; `READERS` names the others, and a
command in neither list fails a test. Each writer is run with every output already taken by
something of the user's, by each of its inputs, and twice in a row.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from commands import PACKAGES, all_commands, command_of, invoke

SOURCES = Path(__file__).resolve().parents[1] / "packages"


@dataclass(frozen=True)
class Writer:
    """words: a command, run in a copy of `work`. outputs: what it writes there. swapped:
    word that names an output → an input to name instead. slow: takes too long to run to its end.
    """

    words: str
    outputs: tuple[str, ...]
    swapped: tuple[tuple[str, str], ...] = ()
    slow: bool = False


WRITERS = (
    Writer(
        "yolo-core dataset check shapes/data.yaml --page new.html",
        ("new.html",),
        (("new.html", "shapes/data.yaml"),),
    ),
    Writer(
        "yolo-core dataset convert shapes/data.yaml --out new", ("new/train.json", "new/val.json")
    ),
    Writer(
        "yolo-core dataset convert c/val.json --images shapes/images/val --out new",
        ("new",),
        (("new", "c"), ("new", "shapes"), ("new", "shapes/images/val")),
    ),
    Writer("yolo-train shapes --out new --images 10 --imgsz 32", ("new",)),
    Writer(
        "yolo-port convert w/n --out new --to safetensors",
        ("new/n.safetensors",),
    ),
    Writer(
        "yolo-port convert w/n --out new",
        ("new/n-symbol.json", "new/n-0000.params", "new/n.yaml"),
        (("new", "w"),),
    ),
    Writer(
        "yolo-mrt quantize w/n --data shapes/images/val --imgsz 64 --num-calib 2 --out new",
        ("new", "new.stages/n.prepare.json", "new.stages/n.mrt.calibrate.json"),
        (("new", "w"), ("new", "shapes/images/val"), ("new", "shapes")),
        slow=True,
    ),
    Writer("yolo-mrt boxes m --out new", ("new",), (("new", "m"), ("new", "."))),
    Writer("yolo-mrt boxes m --out new", ("new",), (("new", "m"), ("new", "."))),
    Writer("yolo-cvm node install new", ("new/plugins/libcvm_runtime.so",), slow=True),
    Writer(
        "yolo-mrt report m --images 1 --out new.html",
        ("new.html",),
        (("new.html", "m/ext"),),
        slow=True,
    ),
    Writer(
        "yolo-cvm run m --input m/data.npy --output new.npy --receipt new.json",
        ("new.npy", "new.json"),
        (("new.npy", "m/data.npy"), ("new.json", "m/params"), ("new.npy", "new.json")),
    ),
    Writer("yolo-cvm bundle m --out new", ("new",), (("new", "m"), ("new", "."))),
    Writer("yolo-cvm contract b --out new", ("new",), (("new", "b"), ("new", "."))),
    Writer(
        "yolo-cvm detect m p/a.png --out new",
        ("new/a.png", "new/detections.json"),
        (("new", "p"), ("new", ".")),
    ),
    Writer("yolo-cvm plan m --out new", ("new",), (("new", "m/params"),)),
    Writer(
        "yolo-cvm claim m --input m/data.npy --node 100 --out new",
        ("new",),
        (("new", "m/data.npy"),),
        slow=True,
    ),
    Writer(
        "yolo-cvm witness m --input m/data.npy --node 100 --out new",
        ("new",),
        (("new", "m/data.npy"),),
        slow=True,
    ),
    Writer("yolo-cvm encode m p/a.png --out new", ("new",), (("new", "m"), ("new", "p"))),
    Writer(
        "yolo-cvm decode m o.npy --placement e/placement.json --picture p/a.png --out new.jpg",
        ("new.jpg",),
        (("new.jpg", "o.npy"), ("new.jpg", "p/a.png"), ("new.jpg", "e/placement.json")),
    ),
    Writer("yolo-cvm node install new", ("new/plugins/libcvm_runtime.so",)),
    Writer(
        "yolo-eval detect m p --out new --save-txt",
        ("new/a.png", "new/labels/a.txt", "new/detections.json"),
        (("new", "p"), ("new", ".")),
    ),
    Writer(
        "yolo-eval coco m --data shapes/data.yaml --json new.json --predictions new.list"
        " --text new.txt",
        ("new.json", "new.list", "new.txt"),
        (("new.json", "m/symbol"), ("new.list", "shapes/data.yaml"), ("new.txt", "new.json")),
    ),
    Writer(
        "yolo-eval coco m --data shapes/data.yaml --out new",
        ("new/m.json",),
        (("new", "m"), ("new", "m/new")),
    ),
    Writer(
        "yolo-eval merge s1.json s2.json --json new.json", ("new.json",), (("new.json", "s1.json"),)
    ),
    Writer(
        "yolo-eval compare a.json a.json --out new",
        ("new/report.html", "new/metrics.json", "new/summary.md"),
        slow=True,
    ),
    Writer(
        "yolo-eval score list.json --data shapes/data.yaml --json new.json --text new.txt",
        ("new.json", "new.txt"),
        (("new.json", "list.json"),),
    ),
    Writer(
        "yolo-eval table . --out new --sizes n --no-generated --repeats 1 --resamples 2",
        ("new/table.md", "new/table.json", "new/table.html"),
        slow=True,
    ),
)
#: Commands that write nothing, or only into a folder that they make anew.
READERS = {
    "yolo-core architecture", "yolo-core checkpoint",
    "yolo-train fit", "yolo-train launch", "yolo-port inspect", "yolo-port verify",
    "yolo-mrt config",
    "yolo-cvm inspect", "yolo-cvm certify", "yolo-cvm verify", "yolo-cvm bisect", "yolo-cvm gas",
    "yolo-cvm conform", "yolo-cvm model-meta", "yolo-cvm serve", "yolo-cvm judge",
}  # fmt: skip


#: Writers of what is looked at, after which no command of ours comes.
LAST = ("yolo-cvm detect", "yolo-cvm decode", "yolo-cvm plan", "yolo-cvm node install",
        "yolo-eval detect")  # fmt: skip


@pytest.fixture
def place(work: Path, tmp_path: Path) -> Path:
    """A copy of `work` to spoil; the marks of our results are copied too."""
    return Path(shutil.copytree(work, tmp_path / "place"))


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder and its digest; what else lies there and its kind."""
    found = {}
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif not stat.S_ISDIR(mode):
            found[str(path.relative_to(folder))] = f"{stat.S_IFMT(mode)}"
    return found


def refused(writer: Writer, folder: Path) -> str:
    """Run a command that must refuse in one line and leave all as it is; its line."""
    before = content(folder)
    result = invoke(writer.words, folder)
    assert result.exit_code == 2, result.output
    assert content(folder) == before
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    return line


def test_every_command_is_on_one_of_the_lists() -> None:
    known = READERS | {" ".join(writer.words.split()[:2]) for writer in WRITERS}
    for package in PACKAGES:
        for name in all_commands(command_of(package), package):
            words = name.split()
            assert name in known or any(w.words.startswith(name + " ") for w in WRITERS), words


CASES = [(writer, output) for writer in WRITERS for output in writer.outputs]


@pytest.mark.parametrize(("writer", "output"), CASES, ids=lambda value: str(value)[:60])
def test_a_foreign_file_in_the_way_stays(place: Path, writer: Writer, output: str) -> None:
    target = place / output
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("keep me")
    refused(writer, place)
    if "." not in target.name:
        target.unlink()
        target.mkdir()
        (target / "notes.txt").write_text("keep me")
        refused(writer, place)


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.words[:40])
@pytest.mark.parametrize("kind", ["link", "dangling", "fifo"])
def test_links_and_pipes_in_the_way_stay(place: Path, writer: Writer, kind: str) -> None:
    target = place / writer.outputs[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    if kind == "fifo":
        os.mkfifo(target)
    else:
        aim = place / "aim"
        if kind == "link":
            aim.write_text("keep me")
        target.symlink_to(aim)
    refused(writer, place)


SWAPS = [(writer, *swap) for writer in WRITERS for swap in writer.swapped]


@pytest.mark.parametrize(("writer", "word", "file"), SWAPS, ids=lambda value: str(value)[:40])
def test_an_input_is_never_an_output(place: Path, writer: Writer, word: str, file: str) -> None:
    words = " ".join(file if w == word else w for w in writer.words.split())
    refused(Writer(words, ()), place)


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_not_under_another_name_either(place: Path, link: str) -> None:
    other = place / "other.npy"
    if link == "hard":
        other.hardlink_to(place / "m/data.npy")
    else:
        other.symlink_to(place / "m/data.npy")
    refused(Writer("yolo-cvm run m --input m/data.npy --output other.npy", ()), place)
    refused(Writer("yolo-cvm run m --input other.npy --output m/data.npy", ()), place)
    refused(Writer("yolo-cvm run m --input m/data.npy --output p/../m/./data.npy", ()), place)


QUICK = [writer for writer in WRITERS if not writer.slow]


@pytest.mark.parametrize("writer", QUICK, ids=lambda writer: writer.words[:40])
def test_results_of_an_earlier_run_are_replaced(place: Path, writer: Writer) -> None:
    before = content(place)
    for _ in range(2):
        result = invoke(writer.words, place)
        assert result.exit_code == 0, result.output
    # What was written where, and what comes next.
    assert "new" in result.output
    assert "Next: " in result.output or writer.words.startswith(LAST), result.output
    told = re.search(r"^Took [\d.]+ s\.$|pictures? in [\d.]+ s", result.output, re.MULTILINE)
    assert told, result.output
    if (place / "new").is_dir():
        (place / "new/notes.txt").write_text("keep me")
        before["new/notes.txt"] = content(place)["new/notes.txt"]
        assert invoke(writer.words, place).exit_code in (0, 2)
    after = content(place)
    assert {name: after[name] for name in before} == before


FOLDERS = [writer for writer in QUICK if "new" in writer.words.split()]


@pytest.mark.parametrize("writer", FOLDERS, ids=lambda writer: writer.words[:40])
def test_no_way_to_the_folder_of_the_inputs_loses_one(place: Path, writer: Writer) -> None:
    """`--out` as the folder above, or as a link to the one that holds all; done or refused."""
    (place.parent / "beside.txt").write_text("keep me")
    (place / "link").symlink_to(place.parent)
    before = content(place.parent)
    for way in ("..", "link"):
        words = " ".join(way if word == "new" else word for word in writer.words.split())
        assert invoke(words, place).exit_code in (0, 2)
    after = content(place.parent)
    assert {name: after.get(name) for name in before} == before


def test_a_result_that_the_user_changed_is_the_users(place: Path) -> None:
    words = "yolo-eval detect m p --out new"
    assert invoke(words, place).exit_code == 0
    (place / "new/detections.json").write_text("{}")
    refused(Writer(words, ()), place)


def test_without_extended_attributes_a_list_marks_the_results(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    for name in ("setxattr", "getxattr"):
        monkeypatch.setattr(os, name, unsupported)
    words = "yolo-cvm run m --input m/data.npy --output new.npy"
    for _ in range(2):
        assert invoke(words, place).exit_code == 0
    assert (place / ".yolo-results").read_text().endswith("  new.npy\n")
    (place / "new.npy").write_text("mine")
    refused(Writer(words, ()), place)
    for _ in range(2):
        assert invoke("yolo-cvm bundle m --out new", place).exit_code == 0


def test_no_module_writes_but_through_yolo_core() -> None:
    """A write past `yolo_core.files` would escape the rule."""
    calls = {"write_text", "write_bytes", "imwrite", "savefig", "savetxt", "rmtree", "copyfile"}
    for path in SOURCES.glob("*/src/**/*.py"):
        if (
            path.name in ("files.py", "outputs.py", "replacing.py")
            and path.parent.name == "yolo_core"
        ):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            modes = [a.value for a in [*node.args[1:2], *(k.value for k in node.keywords)]
                     if isinstance(a, ast.Constant) and isinstance(a.value, str)]  # fmt: skip
            if name == "open" and any(set(mode) & set("wx+") for mode in modes):
                pytest.fail(f"{path}:{node.lineno} opens a file for writing")
            # Inside `atomic_folder` and streams in memory are fine: their base is such a name.
            base = ast.unparse(node.func)
            if name in calls and not base.startswith(("(folder", "figure.")):
                pytest.fail(f"{path}:{node.lineno} writes by {base}")
