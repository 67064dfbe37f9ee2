"""The page of the best checkpoint, by whatever package makes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yolo_core.errors import InputError
from yolo_train.page import write_page
from yolo_train.run_folder import RunFolder


def test_an_installed_maker_writes_the_page_of_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def maker(*words: Any) -> list[str]:
        asked.append(words)
        return ["class  AP", "circle  99"]

    monkeypatch.setattr("yolo_train.page.page_maker", lambda: maker)
    write_page(RunFolder(tmp_path), "data.yaml")
    assert asked == [(tmp_path / "weights" / "best", "data.yaml", tmp_path / "best.html")]
    assert capsys.readouterr().out == f"class  AP\ncircle  99\n{tmp_path / 'best.html'}\n"


def test_a_page_that_cannot_be_written_is_told_and_the_run_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def maker(*_words: Any) -> list[str]:
        raise InputError("data.yaml", "names other classes", "those of the model")

    monkeypatch.setattr("yolo_train.page.page_maker", lambda: maker)
    write_page(RunFolder(tmp_path), "data.yaml")
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{tmp_path / 'best.html'} is not written: data.yaml: names other classes" in told.err


def test_without_a_maker_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("yolo_train.page.page_maker", lambda: None)
    write_page(RunFolder(tmp_path), "data.yaml")
    assert capsys.readouterr() == ("", "")
