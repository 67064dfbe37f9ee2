"""What a contract reads: the Python twin against the predictor, Solidity on a local EVM.

The second half needs Node.js with the package `solc` (its folder in NODE_PATH) and py-evm;
`nox -s contract` brings both.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from cvm_samples import deciding_detector, small_graph, some_input, write_detector, write_model

from yolo_core.arrays import Array
from yolo_core.graph import interpret
from yolo_core.yolo.letterbox import Letterbox
from yolo_cvm import chain_io
from yolo_cvm.cli import main

#: Width and height of pictures, ties of rounding and extreme proportions among them.
SIZES = ((810, 1080), (1280, 720), (1, 1), (33, 64), (3000, 1), (1, 3000), (640, 640), (37, 53))

_COMPILE = """
const solc = require('solc');
const sources = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const wanted = {'*': {'*': ['evm.bytecode.object', 'abi']}};
console.log(solc.compile(JSON.stringify({
  language: 'Solidity', sources, settings: {outputSelection: wanted, optimizer: {enabled: true}},
})));
"""
#: Cortex's compiler has `infer` built in; here it copies what the test left in storage.
_STUB = """
function infer(address, address, uint256[] memory output) view {
    for (uint256 index = 0; index < output.length; index++) {
        assembly { mstore(add(add(output, 32), mul(32, index)), sload(add(1000, index))) }
    }
}
"""


def output_of_a_model() -> Array:
    graph, _ = deciding_detector()
    return interpret.run(graph, some_input(graph).astype(np.int32))[0]


def written(folder: Path, mode: str) -> Path:
    """The contract's files of a small model."""
    graph, extension = deciding_detector()
    write_detector(folder / "model", graph, replace(extension, letterbox=mode))
    words = ["contract", str(folder / "model"), "--out", str(folder / "contract")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    return folder / "contract"


@pytest.fixture(params=["letterbox", "squash"])
def twin(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Python twin of a model, and how its pictures are fitted."""
    monkeypatch.syspath_prepend(str(written(tmp_path, request.param)))
    sys.modules.pop("boxes_abi", None)
    return importlib.import_module("boxes_abi"), Letterbox(32, 32, request.param)


def test_the_twin_reads_the_bytes_of_the_chain(twin: tuple[ModuleType, Letterbox]) -> None:
    graph, _ = deciding_detector()
    output = output_of_a_model()
    data = chain_io.write_output(graph, [output], "chain")
    found = twin[0].boxes(twin[0].words(data))
    assert found == [tuple(row) for row in output[0].tolist() if row[0] >= 0]
    assert len(found) == 20


def test_the_twin_places_pictures_as_the_letterbox_does(
    twin: tuple[ModuleType, Letterbox],
) -> None:
    abi, fit = twin
    rng = np.random.default_rng(0)
    for width, height in [*SIZES, *rng.integers(1, 4000, (200, 2)).tolist()]:
        at = fit.place(height, width)
        assert abi.place(width, height) == (at.resized[1], at.resized[0], at.left, at.top)
        box = rng.integers(-500, 3000, 4)
        exact = at.to_image(box[None] / abi.PIXEL)[0]
        assert np.abs(abi.in_picture((0, 0, *box.tolist()), width, height)[2:] - exact).max() <= 0.5


def test_rows_have_no_contract(tmp_path: Path) -> None:
    write_model(tmp_path / "model", small_graph())
    words = ["contract", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(main, words).exit_code == 2
    assert not (tmp_path / "out").exists()


def compiled(folder: Path) -> dict[str, Any]:
    """The example by solc, with the stub for `infer`."""
    sources = {name: {"content": (folder / name).read_text()} for name in
               ("Boxes.sol", "BoxesExample.sol")}  # fmt: skip
    sources["BoxesExample.sol"]["content"] += _STUB
    try:
        done = subprocess.run(["node", "-e", _COMPILE], input=json.dumps(sources),
                              capture_output=True, text=True, check=False)  # fmt: skip
    except FileNotFoundError:
        pytest.skip("there is no Node.js")
    if "Cannot find module 'solc'" in done.stderr:
        pytest.skip("Node.js finds no package solc in NODE_PATH")
    found = json.loads(done.stdout[done.stdout.index("{") :])
    errors = [e["formattedMessage"] for e in found.get("errors", []) if e["severity"] == "error"]
    assert not errors, errors[0]
    contract: dict[str, Any] = found["contracts"]["BoxesExample.sol"]["BoxesExample"]
    return contract


def machine(code: bytes, words: list[int]) -> Callable[[str, list[int]], list[int]]:
    """A contract on py-evm with words in its storage; calls it by the text of a signature."""
    base = pytest.importorskip("eth.chains.base", reason="py-evm is not installed")
    database = importlib.import_module("eth.db.atomic").AtomicDB()
    forks = importlib.import_module("eth.vm.forks")
    keccak = importlib.import_module("eth_utils").keccak
    chain = base.Chain.configure("Local", vm_configuration=((0, forks.ShanghaiVM),))
    start = {"difficulty": 0, "gas_limit": 30_000_000}
    vm = chain.from_genesis(database, start).get_vm()
    sender, place = b"\0" * 20, b"\1" * 20

    def execute(program: bytes, data: bytes) -> bytes:
        computation = vm.execute_bytecode(
            origin=sender, to=place, sender=sender, value=0, data=data, gas=16_777_216,
            gas_price=0, code=program,
        )  # fmt: skip
        computation.raise_if_error()
        return bytes(computation.output)

    runtime = execute(code, b"")
    for index, word in enumerate(words):
        vm.state.set_storage(place, 1000 + index, word)

    def call(signature: str, arguments: list[int]) -> list[int]:
        data = keccak(signature.encode())[:4]
        data += b"".join(value.to_bytes(32, "big") for value in arguments)
        output = execute(runtime, data)
        return [
            int.from_bytes(output[at : at + 32], "big", signed=True)
            for at in range(0, len(output), 32)
        ]

    return call


@pytest.mark.parametrize("mode", ["letterbox", "squash"])
def test_solidity_reads_the_same(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path, mode)
    contract = compiled(folder)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("boxes_abi", None)
    abi = importlib.import_module("boxes_abi")
    graph, _ = deciding_detector()
    output = output_of_a_model()
    output[0, 12:] = -1
    words = abi.words(chain_io.write_output(graph, [output], "chain"))
    code = bytes.fromhex(contract["evm"]["bytecode"]["object"]) + b"\0" * 32
    call = machine(code, words)
    found = abi.boxes(words)
    assert len(found) == 12
    for label in (0, 1):
        for least in (0, found[5][1]):
            expected = sum(box[0] == label and box[1] >= least for box in found)
            assert call("countOf(address,uint256,uint256)", [0, label, least]) == [expected]
    for number, box in enumerate(found):
        for width, height in SIZES:
            told = call("boxOf(address,uint256,uint256,uint256)", [0, number, width, height])
            assert tuple(told) == abi.in_picture(box, width, height)
    with pytest.raises(Exception, match="no such box"):
        call("boxOf(address,uint256,uint256,uint256)", [0, 12, 10, 10])
