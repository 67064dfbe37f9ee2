"""What an index and a new user need: licences, versions, one way to start each package."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = sorted(ROOT.glob("packages/*/pyproject.toml"))
NAMES = [path.parent.name for path in PROJECTS]


def value(project: Path, key: str) -> str:
    """A text of a pyproject.toml; Python 3.9 has no reader of the format."""
    found = re.search(rf'^{key} = "([^"]*)"', project.read_text("utf-8"), re.MULTILINE)
    assert found, f"{project} has no {key}"
    return found[1]


def maker() -> ModuleType:
    """The module release/make.py."""
    spec = importlib.util.spec_from_file_location("make", ROOT / "release" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("project", PROJECTS, ids=NAMES)
def test_every_package_has_the_licence_and_says_so(project: Path) -> None:
    assert (project.parent / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert value(project, "license") == "Apache-2.0"
    assert 'license-files = ["LICENSE"' in project.read_text("utf-8")
    assert '"Programming Language :: Python :: 3.13"' in project.read_text("utf-8")


def test_the_table_of_versions_is_that_of_the_packages() -> None:
    rows = re.findall(
        r"^\| (yolo-\w+) \| (\S+) \| ?(\S*) ?\|$",
        (ROOT / "RELEASE.md").read_text("utf-8"),
        re.MULTILINE,
    )
    wanted = []
    for project in PROJECTS:
        core = re.search(r'"yolo-core(?:\[[a-z,]+\])?([<>=][^"]*)"', project.read_text("utf-8"))
        wanted.append((project.parent.name, value(project, "version"), core[1] if core else ""))
    assert sorted(rows) == sorted(wanted)


def test_the_citation_names_the_version_of_the_core() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == value(ROOT / "packages/yolo-core/pyproject.toml", "version")
    assert {"cff-version", "title", "message", "authors"} <= set(citation)


@pytest.mark.parametrize("name", NAMES)
def test_every_package_starts_by_its_name_and_by_python(name: str) -> None:
    module = name.replace("-", "_")
    for option in ("-h", "--version"):
        done = subprocess.run(
            [sys.executable, "-m", module, option], capture_output=True, text=True, check=True
        )
        assert name in done.stdout or "Commands:" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_readmes_on_an_index_have_no_link_that_leads_nowhere(name: str) -> None:
    text = (ROOT / "packages" / name / "README.md").read_text("utf-8")
    make = maker()
    assert not re.search(r"\]\((?![a-z]+:|#)", make.for_index(text, f"packages/{name}", None))
    shown = make.for_index("[a](docs/b.md) [c](../../LICENSE)", "packages/x", "https://h/o/n")
    assert shown == (
        "[a](https://h/o/n/blob/main/packages/x/docs/b.md) [c](https://h/o/n/blob/main/LICENSE)"
    )
