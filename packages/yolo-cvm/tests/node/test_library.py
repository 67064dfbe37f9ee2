"""`libcvm_runtime.so` as a node calls it (spec B), and what a dying daemon does to it."""

from __future__ import annotations

import base64
import contextlib
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cvm_samples import heads_of, write_model
from runtime import GETTERS, SENTINEL, Runtime, daemons, kill_daemon

from yolo_core.errors import InputError
from yolo_core.graph import GraphError
from yolo_cvm.chain_io import C_INTERFACE, write_output
from yolo_cvm.cli import main
from yolo_cvm.model import load
from yolo_cvm.node import machine
from yolo_cvm.node.install import LIBRARY, built, install

if not built().is_file():
    pytest.skip("the package was installed without a C compiler", allow_module_level=True)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library in the folder of a node."""
    folder = tmp_path_factory.mktemp("node") / "plugins"
    result = CliRunner().invoke(main, ["node", "install", str(folder)])
    assert result.exit_code == 0, result.output
    return folder / LIBRARY


@pytest.fixture(scope="module")
def runtime(library: Path) -> Runtime:
    return Runtime(library)


@pytest.fixture
def answer(sample: Any) -> bytes:
    """The bytes of the C interface for the sample's input."""
    folder = sample.root / ".tmp" / sample.model / "data"
    model = load(folder)
    return write_output(model.graph, model.run(sample.values), C_INTERFACE)


def test_calls_in_the_order_of_a_node(runtime: Runtime, sample: Any, answer: bytes) -> None:
    for device in (0, 1, 2):
        code, net = runtime.load(sample.files["symbol"], sample.files["params"], device)
        assert code == 0
        told = {name: runtime.figure(call, net) for name, call in GETTERS.items()}
        _, figures = machine.load(sample.files["symbol"], lambda: sample.files["params"])
        assert told == {name: (0, getattr(figures, name)) for name in GETTERS}
        for _ in range(2):
            found = runtime.infer(net, sample.values.tobytes(), len(answer))
            assert found == (0, answer)
        assert runtime.free(net) == 0


def test_exactly_twelve_names_are_exported(library: Path) -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("there is no nm to list the names with")
    done = subprocess.run([nm, "-D", "--defined-only", library], capture_output=True, text=True)
    names = {line.split()[-1] for line in done.stdout.splitlines()}
    assert names == {
        "CVMAPILoadModel", "CVMAPIFreeModel", "CVMAPIInference", "CVMAPIGetVersion",
        "CVMAPIGetPreprocessMethod", "CVMAPIGetGasFromGraphFile", *GETTERS.values(),
    }  # fmt: skip


def test_nothing_of_the_process_changes(runtime: Runtime, sample: Any) -> None:
    def state() -> tuple[Any, ...]:
        status = Path("/proc/self/status").read_text().splitlines()
        # SigQ counts signals of all processes of the user.
        names = ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd", "Threads")
        kept = [line for line in status if line.startswith(names)]
        return kept, os.getcwd(), os.environ.copy()

    before = state()
    code, net = runtime.load(sample.files["symbol"], sample.files["params"])
    assert code == 0
    runtime.infer(net, sample.values.tobytes(), 4096)
    runtime.free(net)
    assert state() == before


def test_failures_leave_outputs_alone(runtime: Runtime, sample: Any, answer: bytes) -> None:
    symbol, params = sample.files["symbol"], sample.files["params"]
    for device in (3, 99, -1):
        assert runtime.load(symbol, params, device) == (2, None)
    assert runtime.load(b"", params) == (2, None)
    assert runtime.load(symbol, b"") == (1, None)
    code, net = runtime.load(symbol, params)
    assert code == 0
    data = sample.values.tobytes()
    for wrong in (data[:-1], data + b"\0", b""):
        assert runtime.infer(net, wrong, 64) == (1, b"\xa5" * 64)
    assert runtime.infer(net, data, len(answer)) == (0, answer)
    assert runtime.c.CVMAPIInference(net, None, 1, b"") == 2
    for call in GETTERS.values():
        assert runtime.figure(call, None) == (2, SENTINEL)
    assert runtime.gas_of_file(b"{") == (2, SENTINEL)
    assert runtime.free(net) == 0


def test_handles_that_were_freed_or_are_foreign(runtime: Runtime, sample: Any) -> None:
    _, net = runtime.load(sample.files["symbol"], sample.files["params"])
    assert runtime.free(net) == 0
    assert runtime.free(None) == 0
    for handle in (net, id(runtime), 1, (1 << 64) - 1):
        assert runtime.infer(handle, sample.values.tobytes(), 8) == (2, b"\xa5" * 8)
        assert runtime.figure("CVMAPIGetGasFromModel", handle) == (2, SENTINEL)
        assert runtime.free(handle) == 2


def test_texts(runtime: Runtime, sample: Any) -> None:
    import ctypes

    _, net = runtime.load(sample.files["symbol"], sample.files["params"])
    for call, expected in (("GetVersion", b"cvm_1.0.0"), ("GetPreprocessMethod", b"")):
        text = ctypes.create_string_buffer(b"?" * 40)
        assert getattr(runtime.c, f"CVMAPI{call}")(ctypes.c_void_p(net), text) == 0
        assert text.value == expected
        assert text.raw[34:40] == b"?" * 6
    runtime.free(net)


@pytest.mark.parametrize(
    ("postprocess", "heads"), [("argmax", 1), ("detection", 2), ("", 1), ("no word", 1)]
)
def test_the_method_is_the_post_processing_word(
    runtime: Runtime, tmp_path: Path, postprocess: str, heads: int
) -> None:
    import ctypes

    folder = write_model(tmp_path, heads_of(*[(2, 3)] * heads, postprocess=postprocess))
    _, net = runtime.load((folder / "symbol").read_bytes(), (folder / "params").read_bytes())
    text = ctypes.create_string_buffer(34)
    assert runtime.c.CVMAPIGetPreprocessMethod(ctypes.c_void_p(net), text) == 0
    assert text.value.decode() == postprocess
    runtime.free(net)


def test_null_is_runtime_and_touches_nothing(runtime: Runtime, sample: Any) -> None:
    import ctypes

    symbol, params = sample.files["symbol"], sample.files["params"]
    _, net = runtime.load(symbol, params)
    data = sample.values.tobytes()
    c = runtime.c
    assert c.CVMAPILoadModel(symbol, len(symbol), params, len(params), None, 0, 0) == 2
    assert c.CVMAPILoadModel(None, 0, params, len(params), None, 0, 0) == 2
    other = ctypes.c_void_p(SENTINEL)
    for files, code in (
        ((None, 0, params, len(params)), 2), ((symbol, len(symbol), None, 0), 1),
        ((None, 5, params, len(params)), 2), ((symbol, len(symbol), None, 5), 2),
        ((symbol, -1, params, len(params)), 1), ((symbol, len(symbol), params, -5), 1),
    ):  # fmt: skip
        assert c.CVMAPILoadModel(*files, ctypes.byref(other), 0, 0) == code
        assert other.value == SENTINEL
    assert c.CVMAPIInference(net_of(net), data, -1, b"?" * 4096) == 1
    for call in GETTERS.values():
        assert getattr(c, call)(net_of(net), None) == 2
    for call in ("CVMAPIGetVersion", "CVMAPIGetPreprocessMethod"):
        assert getattr(c, call)(net_of(net), None) == 2
        assert getattr(c, call)(None, b"?" * 34) == 2
    assert c.CVMAPIInference(net_of(net), None, len(data), b"?" * 4096) == 2
    assert c.CVMAPIInference(net_of(net), data, len(data), None) == 2
    assert runtime.infer(None, data, 8) == (2, b"\xa5" * 8)
    assert c.CVMAPIGetGasFromGraphFile(None, None) == 2
    assert c.CVMAPIGetGasFromGraphFile(symbol, None) == 2
    runtime.free(net)


def net_of(handle: int | None) -> Any:
    import ctypes

    return ctypes.c_void_p(handle)


def test_files_belong_to_the_caller_and_their_lengths_count(
    runtime: Runtime, sample: Any, answer: bytes
) -> None:
    import ctypes

    symbol, params = sample.files["symbol"], sample.files["params"]
    held = [ctypes.create_string_buffer(f + b"{" * 50, len(f) + 50) for f in (symbol, params)]
    net = ctypes.c_void_p()
    code = runtime.c.CVMAPILoadModel(
        held[0], len(symbol), held[1], len(params), ctypes.byref(net), 0, 7
    )
    assert code == 0
    for buffer in held:
        ctypes.memset(buffer, 0xFF, len(buffer))
    kill_daemon()  # so that the library has to load its own copy again
    data = ctypes.create_string_buffer(sample.values.tobytes())
    assert runtime.infer(net.value, data.raw[:-1], len(answer)) == (0, answer)
    runtime.free(net.value)


def test_stale_bytes_after_params_are_read_over(
    runtime: Runtime, sample: Any, answer: bytes
) -> None:
    """The original's writer leaves them where one process saves several models."""
    stale = sample.files["params"] + sample.files["params"][-700:]
    code, net = runtime.load(sample.files["symbol"], stale)
    assert code == 0
    assert runtime.infer(net, sample.values.tobytes(), len(answer)) == (0, answer)
    runtime.free(net)


def test_heads_of_different_rows_have_figures_and_no_output(
    runtime: Runtime, tmp_path: Path
) -> None:
    folder = write_model(tmp_path, heads_of((2, 3), (3, 2), (1, 5)))
    code, net = runtime.load((folder / "symbol").read_bytes(), (folder / "params").read_bytes())
    assert code == 0
    told = {name: runtime.figure(call, net) for name, call in GETTERS.items()}
    assert told["output_length"] == (0, 6 + 6 + 5)
    assert all(code == 0 for code, _ in told.values())
    assert runtime.infer(net, bytes(24), 17) == (1, b"\xa5" * 17)
    runtime.free(net)


def test_a_handle_is_freed_by_another_thread_than_its_own(
    runtime: Runtime, sample: Any, answer: bytes
) -> None:
    symbol, params = sample.files["symbol"], sample.files["params"]
    _, first = runtime.load(symbol, params)
    _, second = runtime.load(symbol, params)
    assert first != second
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(runtime.free(first)))
    thread.start()
    thread.join()
    assert codes == [0]
    assert runtime.infer(first, sample.values.tobytes(), 8)[0] == 2
    assert runtime.infer(second, sample.values.tobytes(), len(answer)) == (0, answer)
    runtime.free(second)


def test_a_graph_without_a_nul_at_the_end_of_memory(runtime: Runtime, sample: Any) -> None:
    import ctypes

    symbol = sample.files["symbol"].rstrip()
    gas = machine.gas(symbol)
    pages = len(symbol) // mmap.PAGESIZE + 2
    area = mmap.mmap(-1, pages * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    last = (pages - 1) * mmap.PAGESIZE
    libc = ctypes.CDLL(None)
    assert libc.mprotect(ctypes.c_void_p(address + last), mmap.PAGESIZE, 0) == 0
    for text, expected in ((symbol, (0, gas)), (symbol[:-1], (2, SENTINEL))):
        ctypes.memmove(address + last - len(text), text, len(text))
        value = ctypes.c_ulonglong(SENTINEL)
        place = ctypes.c_void_p(address + last - len(text))
        code = runtime.c.CVMAPIGetGasFromGraphFile(place, ctypes.byref(value))
        assert (code, value.value) == expected
    assert runtime.gas_of_file(symbol + b"\n garbage {") == (0, gas)
    libc.mprotect(ctypes.c_void_p(address + last), mmap.PAGESIZE, 3)


def test_many_threads(runtime: Runtime, sample: Any, answer: bytes) -> None:
    symbol, params = sample.files["symbol"], sample.files["params"]
    gas = machine.gas(symbol)
    wrong: list[Any] = []
    _, shared = runtime.load(symbol, params)

    def work() -> None:
        for _ in range(10):
            code, net = runtime.load(symbol, params)
            for handle in (net, shared):
                found = runtime.infer(handle, sample.values.tobytes(), len(answer))
                if found != (0, answer):
                    wrong.append(found[0])
            if (code, runtime.gas_of_file(symbol)) != (0, (0, gas)) or runtime.free(net):
                wrong.append("load, gas or free")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    runtime.free(shared)


def test_a_killed_daemon_is_runtime_and_the_next_call_works(
    runtime: Runtime, sample: Any, answer: bytes
) -> None:
    symbol, params = sample.files["symbol"], sample.files["params"]
    data = sample.values.tobytes()
    _, net = runtime.load(symbol, params)
    kill_daemon()
    assert runtime.infer(net, data, len(answer)) == (0, answer)
    kill_daemon()
    assert runtime.gas_of_file(symbol) == (0, machine.gas(symbol))
    kill_daemon()
    assert runtime.figure("CVMAPIGetInputLength", net) == (0, len(data))
    code, other = runtime.load(symbol, params)
    assert code == 0
    stopped = time.monotonic() + 2

    def kill() -> None:
        while time.monotonic() < stopped:
            for process in daemons():
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.4)

    thread = threading.Thread(target=kill)
    thread.start()
    codes = set()
    while thread.is_alive():
        code, output = runtime.infer(net, data, len(answer))
        assert (code, output) in ((0, answer), (2, b"\xa5" * len(answer)))
        codes.add(code)
    thread.join()
    assert 0 in codes
    runtime.infer(net, data, len(answer))
    assert runtime.infer(net, data, len(answer)) == (0, answer)
    assert runtime.infer(other, data, len(answer)) == (0, answer)
    assert len(daemons()) == 1
    assert runtime.free(net) == runtime.free(other) == 0


def test_the_daemon_ends_with_its_node(library: Path, sample: Any) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from runtime import Runtime, daemons\n"
        "folder = Path(sys.argv[3])\n"
        "files = [(folder / n).read_bytes() for n in ('symbol', 'params')]\n"
        "assert Runtime(Path(sys.argv[1])).load(*files)[0] == 0\n"
        "print(*daemons(), flush=True)\n"
        "input()\n"
    )
    folder = sample.root / ".tmp" / sample.model / "data"
    node = subprocess.Popen(
        [sys.executable, "-c", code, library, Path(__file__).parent, folder],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert node.stdout is not None
    process = int(node.stdout.readline())
    node.kill()
    node.communicate()
    until = time.monotonic() + 30
    while Path(f"/proc/{process}/cmdline").exists() and time.monotonic() < until:
        if b"yolo_cvm" not in Path(f"/proc/{process}/cmdline").read_bytes():
            break
        time.sleep(0.02)
    assert time.monotonic() < until


def test_a_c_program_in_the_order_of_a_node(
    library: Path, sample: Any, answer: bytes, tmp_path: Path
) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source, program = Path(__file__).with_name("node_order.c"), tmp_path / "node_order"
    subprocess.run([compiler, "-O1", source, "-o", program, "-ldl", "-pthread"], check=True)
    folder = sample.root / ".tmp" / sample.model / "data"
    data, output = tmp_path / "input", tmp_path / "output"
    data.write_bytes(sample.values.tobytes())
    output.write_bytes(answer)
    done = subprocess.run(
        [program, library, folder / "symbol", folder / "params", data, output],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout == f"gas {machine.gas(sample.files['symbol'])}, 4 threads, 40 inferences\n"


def test_install_spares_what_is_not_ours(tmp_path: Path) -> None:
    assert install(tmp_path) == tmp_path / "plugins" / LIBRARY
    assert install(tmp_path / "plugins" / LIBRARY) == tmp_path / "plugins" / LIBRARY
    (tmp_path / "plugins" / LIBRARY).write_bytes(b"\x7fELF another runtime")
    with pytest.raises(InputError, match="not a result of ours"):
        install(tmp_path)


def test_recorded_calls(runtime: Runtime, golden: Path) -> None:
    recorded = golden.parent / "cases" / "node" / "library_calls.json"
    if not recorded.is_file():
        pytest.skip("YOLO_SHARED has no recorded calls of a node")
    for case in json.loads(recorded.read_text()):
        handles: dict[str, int | None] = {"none": None}
        for number, call in enumerate(case["calls"]):
            _replay(runtime, golden, call, handles, f"{case['id']} call {number}")


def _replay(
    runtime: Runtime, golden: Path, call: dict[str, Any], handles: dict[str, int | None], at: str
) -> None:
    import ctypes

    name, net = call["f"], handles.get(call.get("net", ""))
    if name == "CVMAPILoadModel":
        files = {}
        for kind in ("symbol", "params"):
            data = (golden / call[kind]).read_bytes() if call[kind] else b""
            delta = call.get(f"{'json' if kind == 'symbol' else kind}_len_delta", 0)
            files[kind] = data[: len(data) + delta]
        code, handle = runtime.load(files["symbol"], files["params"], call["device_type"])
        assert (code, handle is None) == (call["rc"], call["net_is_null_after"]), at
        handles[call["net"]] = handle
    elif name == "CVMAPIInference":
        given = call["input_b64"]
        data = None if given is None else base64.b64decode(given)
        room = call["output_room"]
        buffer = ctypes.create_string_buffer(b"\xa5" * room, room)
        to = None if call.get("output_null") else buffer
        code = runtime.c.CVMAPIInference(ctypes.c_void_p(net), data, len(data or b"x"), to)
        assert code == call["rc"], at
        expected = base64.b64decode(call["output_b64"]) if code == 0 else b"\xa5" * room
        assert buffer.raw == expected, at
    elif name == "CVMAPIGetGasFromGraphFile":
        text = (golden / call["symbol"]).read_bytes() + call.get("append", "").encode()
        assert runtime.gas_of_file(text) == (call["rc"], call.get("value", SENTINEL)), at
    elif name == "CVMAPIFreeModel":
        assert runtime.free(net) == call["rc"], at
    elif name in ("CVMAPIGetVersion", "CVMAPIGetPreprocessMethod"):
        text = ctypes.create_string_buffer(34)
        code = getattr(runtime.c, name)(ctypes.c_void_p(net), text)
        assert code == call["rc"], at
        assert "text" not in call or text.value.decode() == call["text"], at
    elif call.get("size_null"):
        assert getattr(runtime.c, name)(ctypes.c_void_p(net), None) == call["rc"], at
    else:
        assert runtime.figure(name, net) == (call["rc"], call["value"]), at


def test_codes_of_refused_models(runtime: Runtime, golden: Path) -> None:
    """The codes of B12; where we refuse on purpose what the original takes, see the book."""
    for folder in sorted((golden / "reject").iterdir()):
        symbol = (folder / "symbol").read_bytes()
        params = (folder / "params").read_bytes()
        try:
            machine.load(symbol, (folder / "params").read_bytes)
            expected = 0
        except GraphError as error:
            expected = error.code
        code, net = runtime.load(symbol, params)
        assert code == expected, folder.name
        runtime.free(net)
        try:
            gas: tuple[int, int] = (0, machine.gas(symbol))
        except GraphError as error:
            gas = (error.code, SENTINEL)
        if b"\0" not in symbol:
            assert runtime.gas_of_file(symbol) == gas, folder.name
