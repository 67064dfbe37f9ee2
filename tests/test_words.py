"""Names from outside, in every file that any command reads, never write on the terminal.

Every command of `test_outputs.WRITERS` and of `READ` is run over files whose names are hostile: it
may refuse them or show them, each on one line of printable characters, and never ends in a defect.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import invoke
from test_outputs import WRITERS

READ = (
    "yolo-core checkpoint w/n", "yolo-core dataset check shapes/data.yaml", "yolo-port inspect w/n",
    "yolo-core architecture w/n.yaml", "yolo-mrt quantize --config q.yaml",
    "yolo-cvm inspect m", "yolo-cvm inspect m --json", "yolo-cvm certify m", "yolo-cvm gas m",
    "yolo-cvm verify r.json m --input e/input.npy", "yolo-cvm bisect r.json honest.json",
    "yolo-cvm model-meta m", "yolo-cvm bundle --check bundle", "yolo-cvm detect bundle p/a.png",
    "yolo-cvm detect m p/a.png --json", "yolo-cvm conform m",
    "yolo-train fit --data shapes/data.yaml --imgsz 32 --epochs 1 --model yolov5n --weights w/n",
)  # fmt: skip
INVENTED = "proven: invented by a name"
TEXTS = {
    "controls": f"a\n{INVENTED}\r\x9b2J\x1b[2J\x85\u202eb\u2028c\u2066\x00",
    "surrogate": "cat\ud800",
    "long": "x" * 1_000_000,
}


def poison_json(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file in place; the text is ASCII with escapes, so that nothing is lost."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content))


def poison_names(records: list[dict[str, Any]], text: str) -> None:
    for record in records:
        record["name"] = record["name"] + text if "op" in record else text


def in_symbol(place: Path, text: str) -> None:
    """The operators of the integer model, of its receipt and of MXNet's symbol."""
    for name in ("m/symbol", "w/n-symbol.json", "r.json"):
        poison_json(place / name, lambda content: poison_names(
            [node for node in content["nodes"] if node["op"] != "null"], text))  # fmt: skip


def in_descriptions(place: Path, text: str) -> None:
    """Class names and free texts: ext, manifest, sidecar, data.yaml, qconf, COCO, run files."""

    def run_file(content: Any) -> None:
        poison_names(content["categories"], text)
        content["model"]["name"] = content["source"] = text

    def ext(content: Any) -> None:
        content["detection"]["architecture"]["names"][0] = text

    def manifest(content: Any) -> None:
        content["comment"] = text

    poison_json(place / "m/ext", ext)
    poison_json(place / "bundle/manifest.json", manifest)
    for name in ("a.json", "s1.json", "s2.json"):
        poison_json(place / name, run_file)
    poison_json(place / "c/val.json", lambda content: poison_names(content["categories"], text))
    quoted = json.dumps(text)
    for name in ("w/n.yaml", "shapes/data.yaml"):
        path = place / name
        path.write_text(path.read_text().replace("circle", quoted, 1))
    (place / "q.yaml").write_text(f"COMMON: {{MODEL_DIR: {quoted}, {quoted}: 1}}\n")
    for label in (place / "shapes/labels/val").glob("*.txt"):
        label.write_bytes(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("text", sorted(TEXTS))
@pytest.mark.parametrize("where", [in_symbol, in_descriptions])
def test_no_command_lets_a_name_write(
    where: Callable[[Path, str], None], text: str, work: Path, tmp_path: Path
) -> None:
    place = Path(shutil.copytree(work, tmp_path / "place"))
    for words in (
        "yolo-cvm bundle m --out bundle",
        "yolo-cvm run m --input e/input.npy --receipt r.json",
        "yolo-cvm run m --input e/input.npy --receipt honest.json",
    ):
        assert invoke(words, place).exit_code == 0
    where(place, TEXTS[text])
    slow = [writer.words for writer in WRITERS if writer.slow]
    for words in [*(w.words for w in WRITERS if w.words not in slow), *READ]:
        done = invoke(words, place)
        assert done.exception is None or isinstance(done.exception, SystemExit), (words, done)
        lines = done.output.split("\n")
        bad = [line for line in lines if not line.isprintable()]
        assert not bad, (words, bad[:3])
        assert max(map(len, lines)) < 2000, words
        assert not any(line.startswith(INVENTED) for line in lines), words
