"""The workflows run sessions that exist, for packages that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PACKAGES = {path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")}


def sessions() -> set[str]:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any("nox.session" in ast.unparse(mark) for mark in node.decorator_list)
    }


def test_ci_and_workflows_are_there() -> None:
    assert {path.name for path in WORKFLOWS} >= {"checks.yml", "nightly.yml"}
    for name in re.findall(r"nox -s (\w+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8")):
        assert name in sessions()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_session_of_a_workflow_exists(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    named: set[str] = set()
    for job in content["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        named.update(matrix.get("session", []))
        assert set(matrix.get("package", [])) <= PACKAGES
        for step in job["steps"]:
            found = re.match(r'nox -s "?(\w+)(?:\((.*?)\))?', step.get("run", ""))
            if found:
                named.add(found[1])
                assert found[2] is None or found[2].startswith("$") or found[2] in PACKAGES
    assert named
    assert named <= sessions()


def test_sessions_that_contributors_are_told_of_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)) <= sessions()
