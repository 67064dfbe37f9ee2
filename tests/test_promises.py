"""Every promise on the page of promises stands in a README, and the tests that hold it exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "promises.md").read_text("utf-8")
ROWS = re.findall(r"^\| (yolo-\w+) \| (.+) \| (`.+`) \|$", PAGE, flags=re.MULTILINE)

HURT = re.findall(r"^\| ([^|]+) \| (`.+`) \|$", PAGE, flags=re.MULTILINE)


def test_the_page_has_promises() -> None:
    assert len(ROWS) >= 20
    assert len(HURT) >= 20


@pytest.mark.parametrize(("package", "promise", "tests"), ROWS)
def test_a_promise_is_made_and_held(package: str, promise: str, tests: str) -> None:
    readme = (ROOT / "packages" / package / "README.md").read_text("utf-8")
    assert promise in " ".join(readme.split())
    check_exist(tests)


@pytest.mark.parametrize(("what", "tests"), HURT)
def test_what_has_hurt_once_is_tested(what: str, tests: str) -> None:
    check_exist(tests)


def check_exist(tests: str) -> None:
    for path, name in re.findall(r"`([^`:]+)::(\w+)`", tests):
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in names, (path, name)
