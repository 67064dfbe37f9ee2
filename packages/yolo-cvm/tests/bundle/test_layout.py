"""A bundle in a node's storage and in the root of the seeding tool: added, checked, spared."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from yolo_core.errors import InputError
from yolo_cvm.bundle import Choices, check_bundle, write_bundle
from yolo_cvm.bundle.layout import HIDDEN, card_beside, manifest_beside
from yolo_cvm.cli import main


def add(model: Path, root: Path, layout: str, **choices: int) -> str:
    return str(write_bundle(model, root, Choices(**choices), layout)["info_hash"])  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["node", "seeding"])
def test_models_join_a_root_and_pass(model_folder: Path, tmp_path: Path, layout: str) -> None:
    root = tmp_path / "root"
    first = add(model_folder, root, layout)
    second = add(model_folder, root, layout, piece_length=262_144)
    assert add(model_folder, root, layout) == first != second
    told = [f"{step.name} {step.found}" for step in check_bundle(root)]
    for info_hash in (first, second):
        assert f"{layout} {info_hash}" in told
        assert {manifest_beside(info_hash), card_beside(info_hash)} <= set(os.listdir(root))
    assert any(f"pieces of 262144 bytes give another hash, {second}" in line for line in told)
    assert any(f"pieces of 4096 bytes give another hash, {first}" in line for line in told)
    link = root / first
    if layout == "node":
        assert os.readlink(link) == f"{HIDDEN}/{first}"
        assert [step.name for step in check_bundle(link)][-1] == "no manifest"
    else:
        assert not link.is_symlink()
    assert sorted(os.listdir(link)) == ["data", "torrent"]


def test_what_is_damaged_in_a_storage_is_named(model_folder: Path, tmp_path: Path) -> None:
    info_hash = add(model_folder, tmp_path / "root", "node")
    params = tmp_path / "root" / HIDDEN / info_hash / "data" / "params"
    params.write_bytes(params.read_bytes()[:-1] + b"\0")
    with pytest.raises(InputError, match="params"):
        list(check_bundle(tmp_path / "root"))


def test_a_plain_folder_is_read_and_never_seeded(model_folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    info_hash = add(model_folder, root, "node")
    (root / info_hash).unlink()
    shutil.copytree(root / HIDDEN / info_hash, root / info_hash)
    with pytest.raises(InputError, match="never seeds it"):
        list(check_bundle(root))
    with pytest.raises(InputError, match="a folder, which a node cannot seed"):
        add(model_folder, root, "node")


def test_other_content_in_the_way_stays(model_folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    info_hash = add(model_folder, root, "seeding")
    (root / info_hash / "data" / "symbol").write_text("mine")
    with pytest.raises(InputError, match="in the way"):
        add(model_folder, root, "seeding")
    assert (root / info_hash / "data" / "symbol").read_text() == "mine"


def test_layouts_by_command(model_folder: Path, tmp_path: Path) -> None:
    for layout in ("node", "seeding", "plain"):
        out = str(tmp_path / layout)
        run = CliRunner().invoke(
            main, ["bundle", str(model_folder), "--out", out, "--layout", layout]
        )
        assert run.exit_code == 0, run.output
        assert CliRunner().invoke(main, ["bundle", "--check", out]).exit_code == 0


def test_the_card_tells_how_to_seed(model_folder: Path, tmp_path: Path) -> None:
    info_hash = add(model_folder, tmp_path / "out", "seeding")
    card = (tmp_path / "out" / card_beside(info_hash)).read_text()
    for words in ("seeding -dataDir=ROOT", f".tmp/{info_hash}", "262,144 bytes"):
        assert words in card
