"""The datasets of public bug reports, in every stage that reads a data.yaml.

Each case comes from its own maker beside the real data; what is right stands in its README there.
"""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Optional

import numpy as np
import pytest
from click.testing import CliRunner

from commands import command_of
from yolo_core.mxnet.checkpoint import Checkpoint, write_checkpoint
from yolo_core.yolo.architecture import Architecture

#: Pictures and boxes of a split as every stage counts them; None where a command refuses the set.
Counts = Optional[tuple[int, int]]
_ALL, _NONE = (0, 0, 0, 0), (2, 2, 2, 2)
_PLAIN: tuple[Counts, Counts] = ((8, 16), (4, 8))

#: case, data.yaml, working folder below the case, exit codes of dataset, fit, coco and quantize,
#: counts of train and val, and words that every command that leaves something out says.
CASES: list[tuple[str, str, str, tuple[int, ...], tuple[Counts, Counts], str]] = [
    ("absent_pictures", "data.yaml", "", _ALL, ((5, 10), (4, 8)), "does not exist"),
    ("absent_splits", "only_train.yaml", "", (0, 2, 2, 0), ((8, 16), None), ""),
    ("absent_splits", "only_val.yaml", "", (0, 2, 0, 2), (None, (4, 8)), ""),
    ("absent_splits", "empty_test.yaml", "", _ALL, _PLAIN, ""),
    ("absent_splits", "null_test.yaml", "", _ALL, _PLAIN, ""),
    ("crlf_and_bom_labels", "data.yaml", "", _ALL, _PLAIN, ""),
    ("darknet_list", "data.yaml", ".", _ALL, _PLAIN, ""),
    ("darknet_list", "dotted.yaml", ".", _ALL, _PLAIN, ""),
    ("darknet_list", "cwd.yaml", ".", _ALL, _PLAIN, ""),
    ("duplicate_rows", "data.yaml", "", _ALL, _PLAIN, ""),
    ("faulty_rows", "data.yaml", "", _ALL, ((8, 16), (8, 16)), ""),
    ("hidden_files", "data.yaml", "", _ALL, _PLAIN, ""),
    ("labels_from_inside_images", "data.yaml", "images", _ALL, _PLAIN, ""),
    ("link_loop", "data.yaml", "", _ALL, _PLAIN, ""),
    ("linked_dataset", "link/data.yaml", "", _ALL, _PLAIN, ""),
    ("linked_images_folder", "data.yaml", "", _ALL, _PLAIN, ""),
    ("linked_subfolders", "data.yaml", "", _ALL, ((5, 10), (4, 8)), ""),
    ("names_beyond_ascii", "my set/data.yaml", "", _ALL, _PLAIN, ""),
    ("no_labels", "data.yaml", "", (0, 2, 2, 0), ((8, 0), (4, 0)), ""),
    ("polygon_rows", "data.yaml", "", _ALL, _PLAIN, ""),
    ("roboflow_paths", "data.yaml", "", _ALL, _PLAIN, ""),
    ("two_classes_one_name", "data.yaml", "", _NONE, (None, None), "both 'red'"),
    ("upper_case_extensions", "data.yaml", "", _ALL, _PLAIN, ""),
    ("yaml_forms", "nc_text.yaml", "", _ALL, _PLAIN, ""),
    ("yaml_forms", "text_keys.yaml", "", _ALL, _PLAIN, ""),
    ("yaml_forms", "int_names.yaml", "", _ALL, _PLAIN, ""),
    ("yaml_forms", "bom.yaml", "", _ALL, _PLAIN, ""),
    ("yaml_forms", "path_key.yaml", "", _ALL, _PLAIN, ""),
    ("yaml_forms", "nc_wrong.yaml", "", _NONE, (None, None), "says nc: 3 and has 2 names"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = Architecture.named("yolov5n", names=("red", "green"))
    rng = np.random.default_rng(0)
    parameters = {
        name: rng.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in architecture.parameter_shapes(fused=True).items()
    }
    stem = tmp_path_factory.mktemp("weights") / "n"
    write_checkpoint(stem, Checkpoint(architecture, parameters, fused=True))
    return stem


@pytest.mark.parametrize(
    ("case", "yaml", "place", "codes", "counts", "words"),
    CASES, ids=[f"{case}-{Path(yaml).stem}" for case, yaml, *_ in CASES],
)  # fmt: skip
def test_every_stage_reads_a_dataset_alike(
    shared: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    yaml: str,
    place: str,
    codes: tuple[int, ...],
    counts: tuple[Counts, Counts],
    words: str,
) -> None:
    maker = shared / "cases" / "data" / case / "mk.py"
    if not maker.is_file():
        pytest.skip("the folder with the real data holds no cases")
    made = tmp_path / case
    monkeypatch.setattr(sys, "argv", [str(maker), str(made)])
    monkeypatch.setattr(sys, "path", [*sys.path])
    runpy.run_path(str(maker))
    data = str(made / yaml)
    if place:
        monkeypatch.chdir(made / place)
        data = yaml
    out = str(tmp_path / "out")
    commands = (
        ("yolo-core", "dataset", "check", data),
        ("yolo-train", "fit", "--data", data, "--model", "yolov5n", "--imgsz", "64", "--epochs",
         "1", "--batch-size", "4", "--workers", "0", "--no-plots", "--project", out),
        ("yolo-eval", "coco", str(checkpoint), "--imgsz", "64", "--data", data),
        ("yolo-mrt", "quantize", str(checkpoint), "--data", data, "--imgsz", "64",
         "--num-calib", "8", "--stage", "prepare", "--out", out + "/q"),
    )  # fmt: skip
    told = []
    for (package, *rest), code in zip(commands, codes):
        done = CliRunner().invoke(command_of(package), rest)
        assert done.exit_code == code, done.output
        if code == 2:
            assert done.output.splitlines()[-1].startswith("Error: ")
        told.append(done.output)
    _check_counts(told, codes, counts)
    if words:
        assert all(words in text for text in (told if codes == _NONE else told[:2]))


def _check_counts(told: list[str], codes: tuple[int, ...], counts: tuple[Counts, Counts]) -> None:
    """What `dataset`, `fit` and `coco` say of the splits."""
    for split, count in zip(("train", "val"), counts):
        found = re.search(rf"^{split}: (\d+) images \(.*\), (\d+) boxes", told[0], re.MULTILINE)
        assert (None if found is None else (int(found[1]), int(found[2]))) == count
        if count is not None and codes[1] == 0:
            assert re.search(rf"^{split}: {count[0]} images, ", told[1], re.MULTILINE)
    if codes[2] == 0 and counts[1] is not None:
        assert "images  {}, objects {},".format(*counts[1]) in told[2]
