"""The original's configuration keys: honoured or refused, each by its name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from yolo_core.errors import InputError
from yolo_core.yolo.model_folder import read_model_folder
from yolo_mrt.cli import main
from yolo_mrt.config import read_config


def shipped(size: str) -> Any:
    return yaml.safe_load((resources.files("yolo_mrt") / f"qconf/yolov5{size}.yaml").read_text())


@pytest.fixture
def place(tmp_path: Path, checkpoint: Path, pictures: Path) -> Path:
    """A folder as the shipped configurations expect it, with the tiny network as yolov5n."""
    (tmp_path / "qout").mkdir()
    for ending in ("-symbol.json", "-0000.params", ".yaml"):
        target = tmp_path / "qout" / f"yolov5n{ending}"
        target.write_bytes(Path(f"{checkpoint}{ending}").read_bytes())
    images = tmp_path / "dataset" / "yolov5_dataset" / "images"
    images.mkdir(parents=True)
    for picture in pictures.iterdir():
        (images / picture.name).write_bytes(picture.read_bytes())
    return tmp_path


def write(place: Path, changes: dict[str, Any]) -> Path:
    data = shipped("n")
    data["PREPARE"]["INPUT_SHAPE"] = [-1, 3, 64, 64]
    for dotted, value in changes.items():
        section, key = dotted.split(".")
        data.setdefault(section, {})[key] = value
    path = place / "conf.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.mark.parametrize("size", "nsmlx")
def test_shipped_files_are_complete(size: str, place: Path) -> None:
    path = place / "shipped.yaml"
    path.write_text(yaml.safe_dump(shipped(size)))
    configured = read_config(path, base=place)
    assert configured.settings.out.name == f"yolov5{size}_cvm"
    assert configured.settings.imgsz == (640, 640)
    assert configured.stages == ("prepare", "calibrate", "quantize", "evaluate", "compile")


def test_configured_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    result = CliRunner().invoke(main, ["quantize", "--config", str(write(place, {}))])
    assert result.exit_code == 0, result.output
    assert read_model_folder(place / "qout" / "yolov5n_cvm").extension().imgsz == (64, 64)
    assert (place / "qout" / "yolov5n.mrt.calibrate.json").is_file()
    report = CliRunner().invoke(main, ["report", "qout/yolov5n_cvm", "--images", "1"])
    assert report.exit_code == 0, report.output
    worst = report.output.splitlines()
    assert any(line.startswith("… and ") and "--nodes" in line for line in worst)
    assert len(worst) < 30


@pytest.mark.parametrize(
    ("key", "value", "look"),
    [
        ("COMMON.PASS_NAME", "calibrate", lambda c: c.stages == ("calibrate",)),
        ("COMMON.START_AFTER", "calibrate",
         lambda c: c.stages == ("quantize", "evaluate", "compile")),
        ("COMMON.RUN_EVALUATE", False, lambda c: "evaluate" not in c.stages),
        ("COMMON.RUN_COMPILE", False, lambda c: "compile" not in c.stages),
        ("COMMON.VERBOSITY", "error", lambda c: c.verbosity == "error"),
        ("CALIBRATE.NUM_CALIB", 2, lambda c: len(c.settings.images) == 2),
        ("CALIBRATE.BATCH", 2, lambda c: len(c.settings.images) == 4),
        ("QUANTIZE.OUTPUT_PRECISION", 12, lambda c: c.settings.head_bits == 12),
        ("QUANTIZE.THRESHOLDS", [["model.1.conv", 3.0]],
         lambda c: c.settings.thresholds == {"model.1.conv": 3.0}),
        ("EVALUATE.ITER_NUM", 3, lambda c: c.settings.evaluate_images == 3),
        ("COMPILE.DUMP_DIR", "elsewhere", lambda c: c.settings.out.parent.name == "elsewhere"),
        ("COMPILE.DUMP_DIR", None, lambda c: c.settings.out.parts[-3:-1] == ("results", "yolov5n")),
        ("CALIBRATE.LAMBD", 25, lambda c: c.settings.deviations == 25),
        ("EVALUATE.DEVICE_IDS", [0, 1], lambda c: c.settings.evaluate_images == 2),
    ],
)  # fmt: skip
def test_honoured(place: Path, key: str, value: Any, look: Any) -> None:
    assert look(read_config(write(place, {key: value}), base=place))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("COMMON.PASS_NAME", "cook"), ("COMMON.MODEL_DIR", "nowhere"), ("COMMON.MODEL_NAME", 5),
        ("COMMON.VERBOSITY", "loud"), ("COMMON.START_AFTER", "lunch"),
        ("COMMON.DEVICE_TYPE", "tpu"), ("COMMON.DEVICE_IDS", []), ("COMMON.BATCH", 0),
        ("COMMON.RUN_EVALUATE", "maybe"), ("PREPARE.INPUT_SHAPE", [-1, 3, 100, 64]),
        ("PREPARE.INPUT_SHAPE", [1, 3, 64, 64]), ("PREPARE.SPLIT_KEYS", ["a"]),
        ("CALIBRATE.NUM_CALIB", 0), ("CALIBRATE.LAMBD", -2), ("CALIBRATE.DEVICE_TYPE", 1),
        ("CALIBRATE.DATASET_NAME", "nothing"), ("QUANTIZE.RESTORE_NAMES", ["conv0"]),
        ("QUANTIZE.INPUT_PRECISION", 7), ("QUANTIZE.OUTPUT_PRECISION", 30),
        ("QUANTIZE.SOFTMAX_LAMBD", 10), ("QUANTIZE.SHIFT_BITS", 5),
        ("QUANTIZE.THRESHOLDS", [["a"]]), ("QUANTIZE.ATTRIBUTE_DEPS", [["op", []]]),
        ("QUANTIZE.OSCALE_MAPS", [["a", "b"]]), ("EVALUATE.ITER_NUM", -1),
        ("EVALUATE.DEVICE_IDS", "0"), ("COMPILE.BATCH", 16), ("COMPILE.DUMP_DIR", 3),
        ("COMMON.INPUT_SHAPE", [1]), ("COOK.BATCH", 1),
    ],
)  # fmt: skip
def test_refused_by_name(place: Path, key: str, value: Any) -> None:
    with pytest.raises(InputError) as error:
        read_config(write(place, {key: value}), base=place)
    section, name = key.split(".")
    assert name in str(error.value) or section == "COOK" or value == "nothing"
    if section == "COOK":
        assert "COOK" in str(error.value)
    if value == "nothing":
        assert "nothing" in str(error.value)


def test_threshold_of_no_tensor_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    path = write(place, {"QUANTIZE.THRESHOLDS": [["ghost", 3.0]]})
    result = CliRunner().invoke(main, ["quantize", "--config", str(path)])
    assert result.exit_code == 2
    assert "ghost" in result.output


def test_thresholds_reach_the_model(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.chdir(place)
    path = write(place, {"QUANTIZE.THRESHOLDS": [["model.3.conv", 4.0]]})
    assert CliRunner().invoke(main, ["quantize", "--config", str(path)]).exit_code == 0
    scheme = json.loads((place / "qout" / "yolov5n.mrt.calibrate.json").read_text())
    chosen = {scheme["menu"][index][0] for index in scheme["table"]["model.3.conv"]}
    assert len(chosen) == 1
    assert chosen.pop() == pytest.approx(4.0, rel=0.5)


def test_a_gpu_is_replaced_by_the_cpu_with_one_note(place: Path) -> None:
    told: list[str] = []
    path = write(place, {"COMMON.DEVICE_TYPE": "gpu", "CALIBRATE.DEVICE_TYPE": "gpu"})
    read_config(path, base=place, tell=told.append)
    assert [line for line in told if "the device gpu" in line] == [
        f"{path}: the device gpu (COMMON, CALIBRATE): quantization runs on the CPU, with the same "
        "result"
    ]


def test_all_that_cannot_be_served_is_listed_at_once(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    path = write(place, {"QUANTIZE.RESTORE_NAMES": ["conv0"], "PREPARE.SPLIT_KEYS": ["a"],
                         "COMMON.COLOUR": 1, "COOK.BATCH": 1})  # fmt: skip
    before = sorted(place.rglob("*"))
    result = CliRunner().invoke(main, ["quantize", "--config", str(path)])
    assert result.exit_code == 2
    for word in ("4 entries", "RESTORE_NAMES", "SPLIT_KEYS", "COMMON.COLOUR", "COOK"):
        assert word in result.output
    assert sorted(place.rglob("*")) == before


def test_values_are_replaced_on_the_command_line(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    words = ["quantize", "--config", str(write(place, {})), "--common.verbosity", "error",
             "--compile.dump_dir=elsewhere", "--calibrate.num_calib", "2",
             "--evaluate.iter_num", "0",
             "--quantize.thresholds", "[['model.3.conv', 4.0]]"]  # fmt: skip
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "calibrate:" not in result.stdout
    assert (place / "elsewhere" / "yolov5n_cvm" / "symbol").is_file()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--common.colour", "1"], "COMMON.COLOUR"),
        (["--common.batch"], "has no value"),
        (["--config", "x", "--effrt", "high"], "--effort"),
    ],
)
def test_faulty_words_are_answered(
    place: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], answer: str
) -> None:
    monkeypatch.chdir(place)
    result = CliRunner().invoke(main, ["quantize", "--config", str(write(place, {})), *words])
    assert result.exit_code == 2
    assert answer in result.output


def test_values_need_a_file_to_replace_them_in() -> None:
    result = CliRunner().invoke(main, ["quantize", "a", "--common.batch", "1"])
    assert result.exit_code == 2
    assert "--config" in result.output


@pytest.mark.parametrize("size", "nsmlx")
def test_a_shipped_file_is_printed(size: str) -> None:
    result = CliRunner().invoke(main, ["config", "--size", size])
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout) == shipped(size)
