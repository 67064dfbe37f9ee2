from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from yolo_core.errors import InputError
from yolo_train.cli import main
from yolo_train.hyp import Hyp, read_hyp
from yolo_train.schedule import Schedule


def test_words_beat_the_file_and_the_file_beats_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "hyp.yaml"
    file.write_text("lr0: 0.02\nmosaic: 0.5\nfl_gamma: 0.0\n")
    hyp = read_hyp(file, ["mosaic=0.25"])
    assert (hyp.lr0, hyp.mosaic, hyp.momentum) == (0.02, 0.25, 0.937)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr0: high", "lr0"),
        ("lr0: .nan", "lr0"),
        ("lr0: true", "lr0"),
        ("speed: 1", "speed.*one of lr0"),
        ("learning_rate: 0.1", "perhaps 'lr0'"),
        ("momentun: 0.9", "perhaps 'momentum'"),
        ("mosaic: 2", "mosaic"),
        ("fl_gamma: -1.5", "fl_gamma"),
        ("[1, 2]", "mapping"),
    ],
)
def test_a_bad_file_is_named_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "hyp.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        read_hyp(file)
    assert "hyp.yaml" in str(caught.value)


def test_keys_without_a_part_in_the_recipe_are_told(tmp_path: Path) -> None:
    file = tmp_path / "hyp.yaml"
    told: list[str] = []
    file.write_text("lr0: 0.02\niou_t: 0.2\nfl_gamma: 1.5\n")
    found = read_hyp(file, (), told.append)
    assert (found.lr0, found.fl_gamma) == (0.02, 1.5)
    assert told == [f"{file}: iou_t has no part in this recipe and is left out"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lr0", "0.02"], "-o lr0=0.02"),
        (["--lr=0.002"], "-o lr0=0.002"),
        (["--hsv_h", ".1"], "-o hsv_h=.1"),
        (["--learning-rate"], "-o lr0=0.01"),
        (["--weight_decay", "1e-3"], "-o weight_decay=1e-3"),
        (["--momentum", "--no-plots"], "-o momentum=0.937"),
    ],
)
def test_hyper_parameters_given_as_options_are_answered(words: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["fit", *words])
    assert result.exit_code == 2
    assert f"It is written: {said}\n" in result.output


@pytest.mark.parametrize("word", ["lr0", "lr0=", "lr0=fast", "=1", "lr0=1e9"])
def test_a_bad_word_is_refused(word: str) -> None:
    with pytest.raises(InputError, match="-o"):
        read_hyp(None, [word])


def test_warm_up_starts_low_for_weights_and_high_for_biases_then_decays() -> None:
    schedule = Schedule(Hyp(), epochs=100, batches=200, batch_size=16)
    first, last_warm, warm = schedule.at(0, 0), schedule.at(2, 199), schedule.at(3, 0)
    assert (first.lr, first.bias_lr, first.momentum, first.accumulate) == (0, 0.1, 0.8, 1)
    assert last_warm.lr == pytest.approx(last_warm.bias_lr, rel=0.05)
    assert (warm.momentum, warm.accumulate) == (0.937, 4)
    assert warm.lr == warm.bias_lr == pytest.approx(0.01 * (0.97 * 0.99 + 0.01))


def test_both_decays_start_at_lr0_and_end_near_lrf() -> None:
    for cosine in (False, True):
        schedule = Schedule(Hyp(lrf=0.1), epochs=50, batches=10, batch_size=64, cosine=cosine)
        shares = [schedule.decay(epoch) for epoch in range(51)]
        assert shares[0] == pytest.approx(1)
        assert shares[-1] == pytest.approx(0.1)
        assert shares == sorted(shares, reverse=True)


def test_a_step_stands_for_64_images_and_weight_decay_follows() -> None:
    assert [Schedule(Hyp(), 1, 1, size).accumulate for size in (1, 16, 48, 64, 128)] == [
        64, 4, 1, 1, 1,
    ]  # fmt: skip
    assert Schedule(Hyp(), 1, 1, 16).weight_decay == pytest.approx(0.0005)
    assert Schedule(Hyp(), 1, 1, 128).weight_decay == pytest.approx(0.001)


def test_few_batches_learn_the_statistics_of_their_own_pictures() -> None:
    assert Schedule(Hyp(), 100, 200, 16).statistics == 0.03
    assert Schedule(Hyp(), 20, 10, 16).statistics == pytest.approx(0.05)
    assert Schedule(Hyp(), 12, 3, 16).statistics == 0.1
