"""Evolution of hyper-parameters: the published rule, and an interruption that changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from yolo_core.errors import InputError
from yolo_train import evolve as module
from yolo_train import trainer
from yolo_train.cli import main
from yolo_train.evolve import RANGES, Generation, mutated, read_table
from yolo_train.hyp import Hyp, read_hyp
from yolo_train.learner import Diverged


def evolve(data: Path, project: Path, count: int, *words: str) -> Any:
    command = ["fit", "--data", str(data), "--project", str(project), "--imgsz", "64",
               "--batch-size", "8", "--epochs", "1", "--workers", "0",
               "--evolve", str(count)]  # fmt: skip
    return CliRunner().invoke(main, [*command, *words])


def test_a_child_is_a_good_parent_with_a_few_numbers_changed_within_their_limits() -> None:
    start = Hyp(box=0.5, degrees=0.0)  # of a recipe beyond the usual limits
    done = [Generation(start, (0, 0, 0.1, 0.1))]
    for number in range(60):
        child = mutated(done, 3)
        assert child == mutated(done, 3)
        assert child != done[0].hyp
        values = child.to_dict()
        for name, (_, low, high) in RANGES.items():
            assert min(low, start.to_dict()[name]) <= values[name]
            assert values[name] <= max(high, start.to_dict()[name])
        assert values["degrees"] == 0
        assert values["fliplr"] == start.fliplr  # its share of the spread is 0
        assert values["anchors"] == 0
        done.append(Generation(child, (0, 0, number / 60, number / 60)))
    assert mutated(done, 4) != mutated(done, 3)


def test_the_parent_is_one_of_the_five_best() -> None:
    # Each has a box gain of its own, which a child keeps to a factor of at most 3.
    done = [Generation(Hyp(lr0=0.1 / 4**n), (0, 0, 0, 1 / (n + 1))) for n in range(8)]
    weakest = 0.1 / 4**4
    for extra in range(40):
        more = [*done, *[Generation(Hyp(lr0=1e-5), (0, 0, 0, 0))] * extra]
        assert mutated(more, 0).lr0 >= 0.3 * weakest


def test_a_continued_evolution_is_the_uninterrupted_one(shapes: Path, tmp_path: Path) -> None:
    whole = evolve(shapes, tmp_path, 3, "--name", "whole")
    assert whole.exit_code == 0, whole.output
    assert "Next: yolo-train fit" in whole.output
    for count in (1, 3):
        part = evolve(shapes, tmp_path, count, "--name", "part")
        assert part.exit_code == 0, part.output
    one, other = tmp_path / "whole", tmp_path / "part"
    assert (one / "evolve.csv").read_text() == (other / "evolve.csv").read_text()
    found = read_table(one / "evolve.csv")
    assert len({each.hyp for each in found}) == 3
    best = max(found, key=lambda each: each.fitness)
    assert read_hyp(one / "hyp_evolve.yaml") == best.hyp
    assert not list(one.rglob("*.params"))
    refused = evolve(shapes, tmp_path, 4, "--name", "part", "--seed", "1")
    assert refused.exit_code == 2
    assert "was begun with seed 0, not 1" in refused.output


def test_a_generation_that_diverges_counts_nothing_and_the_first_one_ends_it(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = trainer.fit

    def diverge(options: Any) -> Any:
        raise InputError("epoch 0 batch 0", "the loss is not a finite number") from Diverged()

    monkeypatch.setattr(trainer, "fit", diverge)
    assert evolve(shapes, tmp_path, 1).exit_code == 2
    monkeypatch.setattr(trainer, "fit", train)
    assert evolve(shapes, tmp_path, 1).exit_code == 0
    monkeypatch.setattr(trainer, "fit", diverge)
    result = evolve(shapes, tmp_path, 2)
    assert result.exit_code == 0, result.output
    assert "counts as one that found nothing" in result.output
    assert read_table(tmp_path / "exp" / "evolve.csv")[1].fitness == 0


@pytest.mark.parametrize(
    "text",
    ["", "generation\n0\n", None, "x" * 10],
)
def test_another_table_is_refused(tmp_path: Path, text: str | None) -> None:
    table = tmp_path / "evolve.csv"
    good = [Generation(Hyp(), (0.1, 0.2, 0.3, 0.4))]
    module._write(tmp_path, good)
    assert read_table(table) == good
    whole = table.read_text()
    for broken in [whole.replace("0.3", "nan"), whole.replace("\n0,", "\n1,"), whole[:-9] + "\n",
                   whole.replace("0.4", "1.4")] if text is None else [text]:  # fmt: skip
        table.unlink()
        table.write_text(broken)
        with pytest.raises(InputError):
            read_table(table)


def test_a_folder_of_something_else_is_refused(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "notes.txt").write_text("mine")
    result = evolve(shapes, tmp_path, 1)
    assert result.exit_code == 2
    assert "folder without an evolution" in result.output
    assert [path.name for path in (tmp_path / "exp").iterdir()] == ["notes.txt"]
