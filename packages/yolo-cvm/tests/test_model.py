"""Loading and running: the API, its clamping, bundles, budgets, the command."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from cvm_samples import small_graph, some_input, write_model

import yolo_cvm
from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.graph import (
    GraphBuilder,
    Limits,
    LogicError,
    RuntimeFault,
    chain_gas,
    interpret,
)
from yolo_core.graph.costs.gas import gas
from yolo_core.graph.files import params
from yolo_core.yolo.model_folder import read_model_folder
from yolo_cvm.cli import main


def unsound(folder: Path) -> Path:
    """A model that loads and cannot be proven: `where` hides the size of its values."""
    b = GraphBuilder()
    x = b.input("data", (3,), 8)
    flags = b.parameter("flags", np.ones(3, np.int64), 2)
    return write_model(folder, b.build([b.operator("where", [flags, x, x], name="hidden")]))


def test_run_gives_int32_heads_and_changes_nothing(model_folder: Path) -> None:
    model = yolo_cvm.load(model_folder)
    x = np.load(model_folder / "input.npy")
    kept = x.copy()
    (first,) = model.run(x)
    assert first.dtype == np.int32
    assert np.array_equal(first, interpret.run(model.graph, x)[0])
    first[:] = 0
    assert np.array_equal(model.run(x)[0], interpret.run(model.graph, x)[0])
    assert np.array_equal(x, kept)


@pytest.mark.parametrize("engine", ["reference", None])
@pytest.mark.parametrize("heads", [1, 2])
def test_the_first_head_goes_where_it_is_told_to(
    engine: str | None, heads: int, tmp_path: Path
) -> None:
    b = GraphBuilder()
    x = b.input("data", (2, 3), 8)
    both = [b.operator("negative", [x]), x, b.operator("negative", [x])]
    model = yolo_cvm.load(write_model(tmp_path, b.build(both[:heads])), engine=engine)
    data = some_input(model.graph)
    into = np.full((2, 3), 7, np.int32)
    found = model.run(data, into)
    assert found[0] is into
    for ours, right in zip(found, model.run(data)):
        assert ours.tolist() == right.tolist()
    with pytest.raises(ValueError, match=r"into|broadcast"):
        model.run(data, np.zeros((2, 4), np.int32))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int64, np.uint64, np.uint32])
def test_input_of_any_integer_type_is_clamped(dtype: Any, model_folder: Path) -> None:
    model = yolo_cvm.load(model_folder)
    info = np.iinfo(dtype)
    for value in (info.min, info.max, 1):
        x = np.full(model.graph.input_shape, value, dtype)
        clamped = np.full(model.graph.input_shape, min(max(int(value), -127), 127))
        assert np.array_equal(model.run(x)[0], interpret.run(model.graph, clamped)[0])


@pytest.mark.parametrize("wrong", [np.zeros((2, 4, 5), int), np.zeros((1, 2, 4, 5))])
def test_input_of_another_shape_or_kind_is_refused(wrong: Array, model_folder: Path) -> None:
    with pytest.raises(LogicError, match="input"):
        yolo_cvm.load(model_folder).run(wrong)


def test_a_bundle_is_found_by_any_of_its_folders(model_folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "bundle" / ("0123456789abcdef" * 3)[:40]
    home.mkdir(parents=True)
    model_folder.rename(home / "data")
    digests = {yolo_cvm.load(p).symbol_digest for p in (tmp_path / "bundle", home, home / "data")}
    assert len(digests) == 1
    with pytest.raises(InputError, match="no symbol and params"):
        yolo_cvm.load(tmp_path)


def test_budgets_and_proof_refuse_at_loading(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LogicError, match="gas"):
        yolo_cvm.load(model_folder, limits=Limits(max_gas=10))
    with pytest.raises(LogicError, match="memory"):
        yolo_cvm.load(model_folder, limits=Limits(max_memory=10))
    folder = unsound(tmp_path / "unsound")
    assert yolo_cvm.load(folder)
    assert yolo_cvm.load(model_folder, certified=True)
    with pytest.raises(LogicError, match="'hidden' \\(where\\)"):
        yolo_cvm.load(folder, certified=True)


@pytest.mark.parametrize("tail", [8, 3 << 20])
def test_stale_bytes_after_params_are_told_and_compat_ignores_them(
    model_folder: Path, tail: int
) -> None:
    blob = (model_folder / "params").read_bytes()
    wanted = yolo_cvm.load(model_folder).run(some_input(small_graph()))
    (model_folder / "params").write_bytes(blob + bytes(tail))
    with pytest.raises(
        RuntimeFault, match=f"{tail} stale bytes .* `truncate -s {len(blob)} params`"
    ):
        yolo_cvm.load(model_folder)
    with pytest.raises(RuntimeFault, match=f"{tail} stale bytes"):
        read_model_folder(model_folder)
    model = yolo_cvm.load(model_folder, compat=True)
    assert [len(model.oddities), tail] == [1, int(model.oddities[0].split()[1].replace(",", ""))]
    assert model.params_digest == hashlib.sha256(blob + bytes(tail)).hexdigest()
    for one, other in zip(wanted, model.run(some_input(model.graph))):
        assert np.array_equal(one, other)
    done = CliRunner().invoke(main, ["inspect", str(model_folder), "--compat"])
    assert done.exit_code == 0
    assert f"`truncate -s {len(blob)} params` removes them" in done.output


def test_compat_tells_of_a_name_given_twice_and_of_a_stored_input(model_folder: Path) -> None:
    arrays = {"w": np.ones((3, 2, 1, 2), np.int8), "data": np.ones((1, 2, 4, 5), np.int8)}
    blob = params.encode_arrays({**arrays, "v": arrays["w"]})
    (model_folder / "params").write_bytes(blob.replace(b"v", b"w", 1))
    with pytest.raises(LogicError, match="given twice"):
        yolo_cvm.load(model_folder)
    twice, stored = yolo_cvm.load(model_folder, compat=True).oddities
    assert "'w' is given twice" in twice
    assert "'data' is the input" in stored


def test_compat_ignores_text_after_the_symbol(model_folder: Path) -> None:
    with open(model_folder / "symbol", "ab") as stream:
        stream.write(b" {} more")
    with pytest.raises(RuntimeFault, match="text after the end"):
        yolo_cvm.load(model_folder)
    assert yolo_cvm.load(model_folder, compat=True)
    assert chain_gas((model_folder / "symbol").read_bytes()) == gas(small_graph())


def test_compat_accepts_no_truncated_file(model_folder: Path) -> None:
    blob = (model_folder / "params").read_bytes()
    (model_folder / "params").write_bytes(blob[:-1])
    with pytest.raises(RuntimeFault, match="ends within"):
        yolo_cvm.load(model_folder, compat=True)


def test_importing_loads_no_library_but_numpy_and_click() -> None:
    code = (
        "import sys, yolo_cvm, yolo_cvm.cli;"
        "assert not {'cv2', 'mxnet', 'scipy', 'yaml'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_is_told_in_a_line(model_folder: Path) -> None:
    told = repr(yolo_cvm.load(model_folder))
    assert told.startswith("Model(Graph(")
    assert len(told) < 120


def test_command_inspects_in_text_and_json(model_folder: Path) -> None:
    runner = CliRunner()
    short = runner.invoke(main, ["inspect", str(model_folder)])
    assert short.exit_code == 0
    assert "gas " in short.output
    assert "conv2d_0" not in short.output
    text = runner.invoke(main, ["inspect", str(model_folder), "--nodes"])
    assert text.output.endswith(short.output)
    assert "conv2d_0" in text.output
    assert "1x3x4x4" in text.output
    data = json.loads(runner.invoke(main, ["inspect", str(model_folder), "--json"]).output)
    rows = {row["name"]: row for row in data["rows"]}
    assert rows["conv2d_0"]["macs"] == 3 * 4 * 4 * 2 * 2
    assert rows["relu_0"]["ranges"] == [[0, 2047]]
    assert rows["conv2d_0"]["ranges"] == [[-127 * 18, 127 * 18]]
    assert data["gas"] == sum(row["gas"] for row in data["rows"])
    gas = json.loads(runner.invoke(main, ["gas", str(model_folder), "--json"]).output)
    assert gas["gas"] == data["gas"]
    assert gas["cost"]["macs"] == rows["conv2d_0"]["macs"]
    alone = runner.invoke(main, ["gas", str(model_folder / "symbol"), "--json"])
    assert json.loads(alone.output) == gas


def test_command_certifies_or_names_the_node(model_folder: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    proven = runner.invoke(main, ["certify", str(model_folder)])
    assert proven.exit_code == 0
    assert proven.output.startswith("proven: no value can leave its precision")
    assert proven.output.count("\n") == 1
    every = runner.invoke(main, ["certify", str(model_folder), "--nodes"])
    assert "relu_0" in every.output
    assert every.output.endswith(proven.output)
    records = json.loads(runner.invoke(main, ["certify", str(model_folder), "--json"]).output)
    assert {record["name"] for record in records} >= {"data", "w", "conv2d_0", "relu_0"}
    refused = runner.invoke(main, ["certify", str(unsound(tmp_path / "unsound"))])
    assert refused.exit_code == 2
    assert "'hidden' (where)" in refused.output
    assert "logic error, code 1" in refused.output


def test_command_runs_files(model_folder: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    out = tmp_path / "y.npy"
    x = model_folder / "input.npy"
    done = runner.invoke(main, ["run", str(model_folder), "--input", str(x), "--output", str(out)])
    assert done.exit_code == 0, done.output
    model = yolo_cvm.load(model_folder)
    assert np.array_equal(np.load(out), model.run(np.load(x))[0])
    (tmp_path / "x.bin").write_bytes(np.load(x).tobytes())
    raw = runner.invoke(
        main, ["run", str(model_folder), "--input", str(tmp_path / "x.bin"), "--output",
               str(tmp_path / "y.bin"), "--bytes", "chain"])  # fmt: skip
    assert raw.exit_code == 0, raw.output
    assert (tmp_path / "y.bin").read_bytes() == np.load(out).astype(">i4").tobytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "{m}", "--input", "{m}/none.npy"],
        ["run", "{m}", "--input", "{m}/symbol"],
        ["run", "{m}", "--input", "{m}/input.npy", "--max-gas", "1"],
        ["run", "{m}", "--input", "{m}/input.npy", "--max-memory", "1"],
        ["run", "{m}", "--input", "{m}/input.npy", "--engine", "none"],
        ["run", "{m}", "--input", "{m}/symbol", "--bytes", "c"],
        ["inspect", "{m}/none"],
        ["gas", "{m}/params"],
        ["detect", "{m}", "{m}/none.jpg"],
        ["verify", "{m}/symbol", "{m}", "--input", "{m}/input.npy"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], model_folder: Path) -> None:
    words = [word.format(m=model_folder) for word in arguments]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 no archive",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': ('<i4'",
        b"\x93NUMPY\x01\x00\x40\x1f{'shape': " + b"-" * 7990 + b"1}",
        b"\x93NUMPY\x01\x00\x41\x00{'descr':'<i4','fortran_order':False,'shape':(1099511627776,)}\n",
    ],
)
def test_a_damaged_array_is_one_line_and_exit_code_2(content: bytes, model_folder: Path) -> None:
    wrong = model_folder / "wrong.npy"
    wrong.write_bytes(content)
    result = CliRunner().invoke(main, ["run", str(model_folder), "--input", str(wrong)])
    assert result.exit_code == 2
    assert result.output.startswith(f"Error: {wrong}: is not an array")
    assert len(result.output.strip().splitlines()) == 1


def test_float_and_pickled_arrays_are_refused(model_folder: Path) -> None:
    wrong = model_folder / "wrong.npy"
    for array in (np.zeros((1, 2, 4, 5)), np.array([{}], dtype=object)):
        np.save(wrong, array, allow_pickle=True)
        result = CliRunner().invoke(main, ["run", str(model_folder), "--input", str(wrong)])
        assert result.exit_code == 2


def test_a_float_checkpoint_is_answered_with_the_command_that_quantizes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = Path("runs/exp/weights")
    weights.mkdir(parents=True)
    for name in ("best.yaml", "best-symbol.json", "best-0000.params"):
        (weights / name).touch()
    for words in (["inspect"], ["gas"], ["bundle", "--out", "b"], ["run", "--input", "x.npy"]):
        result = CliRunner().invoke(main, [words[0], "runs/exp", *words[1:]])
        assert result.exit_code == 2, result.output
        assert result.output == (
            "Error: runs/exp: is a float checkpoint; expected an integer model: yolo-mrt quantize "
            "runs/exp --data PICTURES --out qout/exp_cvm makes one\n"
        )
