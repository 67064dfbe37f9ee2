"""The workflows run sessions that exist, for packages that exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
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


def test_results_of_the_main_job_are_named_by_the_custom_yaml(tmp_path: Path) -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    (script,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_READ_RUN"
    ]
    (tmp_path / "weights").mkdir()
    for size, cfg, weights, name in (
        ("n", None, None, "yolov5n"),
        ("custom", "models/my-p2.yaml", None, "my-p2"),
        ("custom", None, "weights/mine", "mine"),
        ("custom", None, None, "yolov5custom"),
    ):
        options = {"data": "d.yaml", "cfg": cfg, "weights": weights, "imgsz": 128}
        (tmp_path / "opt.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
        (tmp_path / "weights" / "best.yaml").write_text(f"size: {size}\n", encoding="utf-8")
        words = [sys.executable, "-c", script, str(tmp_path)]
        told = subprocess.run(words, check=True, capture_output=True, text=True)
        assert told.stdout.splitlines() == ["d.yaml", name, "128"]
