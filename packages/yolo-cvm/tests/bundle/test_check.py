"""Checking a bundle: a whole one passes, and whatever is damaged is found and named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolo_core.errors import InputError
from yolo_cvm.bundle import Choices, check_bundle, manifest, write_bundle
from yolo_cvm.bundle.card import write_card

from .conftest import extension


def check(folder: Path) -> list[str]:
    return [step.name for step in check_bundle(folder)]


def test_a_whole_bundle_passes(bundle: Path) -> None:
    assert check(bundle) == ["manifest", "files", "model", "figures", "self-test"]


def test_a_bundle_passes_wherever_it_is(bundle: Path, tmp_path: Path) -> None:
    bundle.rename(tmp_path / "moved")
    os.symlink(tmp_path / "moved", tmp_path / "link")
    assert len(check(tmp_path / "moved")) == 5
    assert len(check(tmp_path / "link")) == 5


def test_a_node_folder_alone_passes_and_says_what_it_lacks(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path / home.name)
    steps = list(check_bundle(tmp_path / home.name))
    assert [step.name for step in steps] == ["files", "model", "no manifest"]
    assert "not checked" in steps[-1].found


def test_a_bundle_with_all_choices_passes(model: Path, tmp_path: Path) -> None:
    figures = [["images", 5000], ["AP50", 0.5], ["AP", 0.25]]
    row = {"model": "a", "data": "b", "kind": "c", "digest": None, "figures": figures}
    choices = Choices("text | é", "ab" * 20, 20_000, (), 1024, 7, accuracy=(row,))
    write_bundle(model, tmp_path / "out", choices)
    assert len(check(tmp_path / "out")) == 5


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_bit_anywhere_is_found_and_named(bundle: Path, data: st.DataObject) -> None:
    paths = sorted(path for path in bundle.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(paths))
    good = path.read_bytes()
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bad)
    try:
        with pytest.raises(InputError) as refusal:
            check(bundle)
        assert str(refusal.value).startswith(f"{path}: ")
    finally:
        path.write_bytes(good)


@pytest.mark.parametrize("name", ["manifest.json", "MODEL_CARD.md", "torrent", "symbol", "params"])
@pytest.mark.parametrize("damage", ["cut", "empty", "longer", "gone", "link", "folder", "fifo"])
def test_a_damaged_file_is_named(bundle: Path, name: str, damage: str, tmp_path: Path) -> None:
    (path,) = bundle.rglob(name)
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "longer":
        path.write_bytes(data + b"\n")
    elif damage == "link":
        (tmp_path / "outside").write_bytes(data)
        path.symlink_to(tmp_path / "outside")
    elif damage == "folder":
        path.mkdir()
    elif damage == "fifo":
        os.mkfifo(path)
    with pytest.raises(InputError) as refusal:
        check(bundle)
    assert str(refusal.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "data.aria2", "x" * 200])
@pytest.mark.parametrize("place", ["", "home", "home/data"])
def test_an_extra_file_is_named(bundle: Path, home: Path, name: str, place: str) -> None:
    path = {"": bundle, "home": home, "home/data": home / "data"}[place] / name
    path.write_text("extra")
    with pytest.raises(InputError, match="does not belong"):
        check(bundle)


def test_a_linked_folder_is_refused(bundle: Path, home: Path, tmp_path: Path) -> None:
    (home / "data").rename(tmp_path / "outside")
    (home / "data").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="data: is not a folder of its own"):
        check(bundle)


def test_a_renamed_folder_is_refused(bundle: Path, home: Path) -> None:
    home.rename(home.with_name("0" + home.name[1:] if home.name[0] != "0" else "1" + home.name[1:]))
    with pytest.raises(InputError, match="does not belong"):
        check(bundle)


def test_a_renamed_node_folder_is_refused(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path / ("0" * 40))
    with pytest.raises(InputError, match=f"info hash {home.name}"):
        check(tmp_path / ("0" * 40))


def test_the_damaged_stretch_is_told(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / home.name
    shutil.copytree(home, copy)
    data = bytearray((copy / "data" / "params").read_bytes())
    data[7] ^= 1
    (copy / "data" / "params").write_bytes(data)
    with pytest.raises(InputError, match=f"in params within bytes 0 to {len(data) - 1} or symbol"):
        check(copy)


def reseal(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and give it a fitting digest, as a forger would."""
    path = bundle / "manifest.json"
    content = manifest.decode(path.read_bytes(), "manifest.json")
    change(content)
    path.write_bytes(manifest.encode(content))


def assign(*keys: str, value: object) -> Callable[[dict[str, Any]], object]:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (assign("gas", "model", value=1), "gas.model is 1, the files give"),
        (assign("gas", "fits_transaction", value=1), "gas.fits_transaction is 1"),
        (assign("creation", "payload", value="0x0001"), "creation.payload is"),
        (assign("creation", "royalty", value=5), "creation.royalty is 5"),
        (assign("stored_input", value=None), "stored_input is null"),
        (assign("upload", "extra", value=1), "upload.extra is unknown"),
        (assign("upload", value={}), "is missing"),
        (assign("self_test", "input_digest", value="ab" * 32), "self_test.input_digest is"),
        (assign("self_test", value=[]), "self_test is"),
        (assign("files", "data/symbol", "sha256", value="ab" * 32), "has the SHA-256"),
        (assign("files", value=None), "has the SHA-256"),
        (assign("info_hash", value="ab" * 20), "does not belong"),
        (assign("info_hash", value="../../etc"), "states no info hash"),
        (assign("info_hash", value=None), "states no info hash"),
        (assign("format", value="yolo-cvm-bundle/2"), "has the format"),
        (assign("choices", value={}), "choices"),
        (assign("choices", "royalty", value=20_001), "refuses every call"),
        (assign("choices", "royalty", value="1"), "choices.royalty is of the wrong kind"),
        (assign("choices", "royalty", value=True), "choices.royalty is of the wrong kind"),
        (assign("choices", "comment", value="other"), "torrent: is not what the choices"),
        (assign("choices", "author", value="00"), "40 hexadecimal"),
        (assign("choices", "comment", value="\ud800"), "comment: is not text"),
        (assign("choices", "piece_length", value=3), "power of two"),
        (assign("choices", "piece_length", value=1024), "torrent: is not what the choices"),
        (assign("choices", "tiers", value=[["nowhere"]]), "not a tracker address"),
        (assign("choices", "tiers", value=["udp://a:1"]), "choices.tiers"),
        (assign("choices", "tiers", value=[[5]]), "choices.tiers"),
        (assign("choices", "creation_date", value=5), "torrent: is not what the choices"),
        (assign("choices", "creation_date", value="now"), "choices.creation_date"),
        (assign("choices", "accuracy", value=[{}]), "malformed accuracy row"),
        (assign("extension", value={"detection": 5}), "detect"),
        (assign("extension", value=None), "MODEL_CARD.md: line 1 "),
    ],
    ids=str,
)
def test_a_forged_manifest_is_refused(
    bundle: Path, change: Callable[[dict[str, Any]], object], cause: str
) -> None:
    reseal(bundle, change)
    with pytest.raises(InputError, match=cause):
        check(bundle)


def test_a_forged_self_test_is_refused(bundle: Path) -> None:
    """A forger who also writes a fitting card is caught by the run."""
    reseal(bundle, assign("self_test", "output_digest", value="ab" * 32))
    content = manifest.decode((bundle / "manifest.json").read_bytes(), "manifest.json")
    (bundle / "MODEL_CARD.md").write_text(write_card(content, extension()))
    with pytest.raises(InputError, match=f"the self-test gives .* expected {'ab' * 32}"):
        check(bundle)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "5",
        "nonsense",
        "{}",
        '{"a": NaN}',
        '{"a": 1, "a": 1}',
        '{"a": ' + "9" * 100_000 + "}",
        "[" * 100_000,
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_manifest(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json: is damaged"):
        check(bundle)


def test_a_manifest_in_other_spelling_is_damaged(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    with pytest.raises(InputError, match="does not match its own digest"):
        check(bundle)


@pytest.mark.parametrize("make", ["nothing", "file", "empty"])
def test_what_is_no_bundle(tmp_path: Path, make: str) -> None:
    path = tmp_path / "x"
    if make == "file":
        path.write_text("x")
    elif make == "empty":
        path.mkdir()
    with pytest.raises(InputError):
        check(path)
