"""Which recipe trains when nobody says, and what is said where nothing will be, or was, learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import Checkpoint, write_checkpoint
from yolo_core.yolo.architecture import Architecture
from yolo_train.cli import main
from yolo_train.options import FitOptions
from yolo_train.recipe import FEW_UPDATES, knows_classes, remedy, settled, updates
from yolo_train.start import random_parameters


def options(**named: Any) -> FitOptions:
    return FitOptions(data="x", **named)


def test_few_updates_get_adamw_with_an_update_per_batch() -> None:
    chosen, said = settled(options(epochs=25), False, 48)
    assert (chosen.hyp, chosen.optimizer, chosen.nominal_batch) == ("few", "adamw", 16)
    assert "recipe few" in said
    assert settled(options(epochs=25), True, 48)[0].hyp == "finetune"
    assert "18" in said  # 3 batches of 16 an epoch, 4 gathered


def test_many_updates_get_the_recipe_of_yolov5() -> None:
    images = 64 * FEW_UPDATES // 10
    chosen, _ = settled(options(epochs=10), False, images)
    assert updates(options(epochs=10), images) == FEW_UPDATES
    assert (chosen.hyp, chosen.optimizer, chosen.nominal_batch) == ("scratch-low", "sgd", 64)


def test_what_the_user_says_stays() -> None:
    asked = options(hyp="my.yaml", optimizer="adam", nominal_batch=32)
    assert settled(asked, False, 48) == (asked, "")
    chosen, said = settled(options(optimizer="sgd"), False, 48)
    assert (chosen.hyp, chosen.optimizer) == ("few", "sgd")
    assert said
    assert settled(options(hyp="my.yaml"), False, 48)[0].nominal_batch == 64


def test_finetune_is_warned_of_where_the_head_starts_anew() -> None:
    assert "learn next to nothing" in settled(options(hyp="finetune"), False, 48)[1]
    assert settled(options(hyp="finetune"), True, 48)[1] == ""


def test_a_checkpoint_knows_its_own_classes_alone() -> None:
    architecture = Architecture.named("n", names=["cat", "dog"])
    checkpoint = Checkpoint(architecture, random_parameters(architecture, 0), fused=False)
    assert knows_classes(architecture, ["cat", "dog"], checkpoint)
    assert not knows_classes(
        Architecture.named("n", names=["dog", "cow"]), ["dog", "cow"], checkpoint
    )
    for known in (["dog", "cat"], ["dog"]):
        assert knows_classes(Architecture.named("n", names=known), known, checkpoint)
    assert not knows_classes(architecture, ["cat", "dog"], None)
    assert not knows_classes(Architecture.named("s", 2), ["cat", "dog"], checkpoint)


def test_the_remedy_depends_on_what_was_tried() -> None:
    assert remedy(options(), 0.5, 48) == ""
    tried, _ = settled(options(hyp="finetune", epochs=12), False, 48)
    assert "Nothing was learnt: mAP@0.5 is 0.0003" in remedy(tried, 0.0003, 48)
    assert "leave out --hyp" in remedy(tried, 0.0003, 48)
    assert "--epochs 48" in remedy(settled(options(epochs=12), False, 48)[0], 0.0, 48)


def test_a_run_says_the_recipe_before_and_the_remedy_behind(shapes: Path, tmp_path: Path) -> None:
    architecture = Architecture.named("n", nc=80)
    random = random_parameters(architecture, 0)
    write_checkpoint(tmp_path / "coco", Checkpoint(architecture, random, fused=False))
    words = ["fit", "--data", str(shapes), "--project", str(tmp_path), "--imgsz", "64",
             "--batch-size", "8", "--epochs", "1", "--workers", "0", "--no-plots",
             "--weights", str(tmp_path / "coco")]  # fmt: skip
    result = CliRunner().invoke(main, [*words, "--hyp", "finetune"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert any(line.startswith("Warning: --hyp finetune") for line in lines)
    assert lines[-1].startswith("Nothing was learnt")
    chosen = yaml.safe_load((tmp_path / "exp" / "opt.yaml").read_text("utf-8"))
    assert (chosen["hyp"], chosen["optimizer"]) == ("finetune", "sgd")
    assert Path(chosen["data"]).is_absolute()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lr0", "0.01"], "-o lr0=0.01"),
        (["--momentum=0.9"], "-o momentum=0.9\n"),
        (["--weight-decay", "0"], "-o weight_decay=0\n"),
        (["--lr", "0.1"], "-o lr0=0.1\n"),
        (["--image-size", "640"], "--img-size"),
        (["--epoch", "3"], "--epochs"),
    ],
)
def test_hyper_parameters_given_as_options_are_answered(words: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["fit", "--data", "x", *words])
    assert result.exit_code == 2
    assert said in result.output
    assert "--cos-lr" not in result.output


def test_options_that_are_no_recipe_are_refused() -> None:
    with pytest.raises(InputError, match="nominal-batch"):
        options(nominal_batch=-1)
