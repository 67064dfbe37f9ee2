"""Requests and calls that were recorded on the original, answered by ours."""

from __future__ import annotations

import base64
import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from node_samples import recorded_store, running


@pytest.fixture(scope="session")
def exchanges(golden: Path) -> Path:
    """The recorded exchanges; not part of the repository."""
    folder = golden.parent / "cases" / "node"
    if not folder.is_dir():
        pytest.skip("YOLO_SHARED has no recorded exchanges of a node")
    return folder


def test_recorded_requests_are_answered_as_the_original_answers(
    exchanges: Path, golden: Path, tmp_path: Path
) -> None:
    recorded = json.loads((exchanges / "requests.json").read_text())
    root = recorded_store(tmp_path, golden, recorded["store"])

    def group(request: dict[str, Any]) -> str:
        return str(request["group"])

    different = []
    for _, requests in groupby(recorded["requests"], group):
        with running(root) as client:
            for asked in requests:
                answer = client.ask(
                    asked["method"], asked["path"], base64.b64decode(asked["body_b64"]),
                    asked["headers"],
                )  # fmt: skip
                expected = (
                    asked["status"],
                    asked["content_type"],
                    base64.b64decode(asked["response_b64"]),
                )
                if answer != expected:
                    different.append((asked["id"], answer[2][:100], expected[2][:100]))
    assert different == []
