"""The one law of the repository: a package depends on yolo-core and on no other package of ours."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

PACKAGES = Path(__file__).resolve().parents[1] / "packages"
NAMES = sorted(path.name for path in PACKAGES.iterdir() if (path / "pyproject.toml").is_file())


def imported(path: Path) -> set[str]:
    """Top-level names that a Python file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_the_six_packages_are_there() -> None:
    assert NAMES == ["yolo-core", "yolo-cvm", "yolo-eval", "yolo-mrt", "yolo-port", "yolo-train"]


@pytest.mark.parametrize("package", NAMES)
def test_imports(package: Any) -> None:
    forbidden = {name.replace("-", "_") for name in NAMES} - {
        "yolo_core",
        package.replace("-", "_"),
    }
    files = [*(PACKAGES / package).glob("src/**/*.py"), *(PACKAGES / package).glob("tests/**/*.py")]
    assert files
    for path in files:
        assert not imported(path) & forbidden, path


@pytest.mark.parametrize("package", NAMES)
def test_declared_dependencies(package: Any) -> None:
    text = (PACKAGES / package / "pyproject.toml").read_text(encoding="utf-8")
    ours = set(re.findall(r"""["'](yolo-[a-z]+)(?:\[[a-z,]+\])?[>=<~]""", text))
    assert ours == (set() if package == "yolo-core" else {"yolo-core"})


@pytest.mark.parametrize("package", NAMES)
def test_every_package_is_complete(package: Any) -> None:
    folder = PACKAGES / package
    for name in ("README.md", "CHANGELOG.md", f"src/{package.replace('-', '_')}/py.typed"):
        assert (folder / name).is_file(), name
    assert f'{package} = "{package.replace("-", "_")}.__main__:main"' in (
        folder / "pyproject.toml"
    ).read_text(encoding="utf-8")
