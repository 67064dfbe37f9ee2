"""What code and pages cite exists in the book, and the book holds every operator."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from yolo_core.graph.operators import TABLE

ROOT = Path(__file__).resolve().parents[1]
SPECIFICATION = ROOT / "docs" / "specification"
SOURCES = sorted(
    path
    for pattern in ("packages/*/src/**/*.py", "packages/*/tests/**/*.py", "packages/*/vectors/*",
                    "packages/*/native/**/*.cpp", "packages/*/native/**/*.h",
                    "packages/*/docs/*.md", "packages/*/README.md", "tests/*.py")
    for path in ROOT.glob(pattern)
    if path.is_file()
)  # fmt: skip
_CITATION = re.compile(r"\b[Ss]pec(?:ification)?,? (?:section )?(\d+(?:\.\d+)?)\b")


def sections() -> set[str]:
    """Numbers of all headings of the specification: "3", "3.1", …"""
    text = "\n".join(page.read_text("utf-8") for page in SPECIFICATION.glob("*.md"))
    return set(re.findall(r"^#+ (\d+(?:\.\d+)?) ", text, flags=re.MULTILINE))


def test_every_cited_section_of_the_specification_is_in_the_book() -> None:
    known = sections()
    cited = {
        (number, path.relative_to(ROOT).as_posix())
        for path in SOURCES
        for number in _CITATION.findall(path.read_text("utf-8"))
    }
    assert len(cited) > 20
    assert not {place for place in cited if place[0] not in known}


def test_every_module_of_the_operator_table_is_typeset() -> None:
    page = (SPECIFICATION / "operators.md").read_text("utf-8")
    shown = set(re.findall(r"^::: operators (\w+)$", page, flags=re.MULTILINE))
    assert shown == {type(operator).__module__.rpartition(".")[2] for operator in TABLE.values()}


@pytest.mark.parametrize("package", ["core", "train", "port", "mrt", "cvm", "eval"])
def test_every_package_has_a_page(package: str) -> None:
    page = (ROOT / "docs" / "packages" / f"yolo-{package}.md").read_text("utf-8")
    assert f"::: commands yolo-{package}" in page


def test_files_named_on_the_page_of_the_architecture_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = re.findall(r"`((?:yolo_[a-z]+|native)/[a-z_/.]+)`", page)
    assert named
    for name in named:
        top = name.split("/")[0]
        folder = "packages/yolo-cvm" if top == "native" else f"packages/{top.replace('_', '-')}/src"
        assert (ROOT / folder / name).exists(), name
