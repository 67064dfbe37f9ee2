"""`yolo-cvm inspect --engine`."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from yolo_core.graph import GraphBuilder
from yolo_core.graph.files import params, symbol
from yolo_cvm.cli import main
from yolo_cvm.engine import library


def test_inspect_tells_the_engine(tmp_path: Path) -> None:
    b = GraphBuilder()
    graph = b.build([b.operator("relu", [b.input("data", (2, 3), 8)])])
    (tmp_path / "symbol").write_bytes(symbol.encode(graph))
    (tmp_path / "params").write_bytes(params.encode(graph))
    done = CliRunner().invoke(main, ["inspect", str(tmp_path), "--engine", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    sets = library.instruction_sets()
    assert told["engine"] == (f"compiled-{sets[0]}" if sets else "reference")
    plain = CliRunner().invoke(main, ["inspect", str(tmp_path), "--engine"])
    assert told["engine"] in plain.output
