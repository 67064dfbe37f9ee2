"""Each rule of remote inference (spec A), on a store and with tables of our own."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from cvm_samples import heads_of, write_model
from node_samples import BIG, BUDGET, LOGIC, RUNTIME, Client, name_of, npy, ok, put, running

from yolo_core.graph import GraphBuilder, RuntimeFault
from yolo_cvm.bundle import torrent
from yolo_cvm.cli import main
from yolo_cvm.node import machine, members, requests
from yolo_cvm.node.keccak import keccak256_of_string
from yolo_cvm.node.serving import Serving
from yolo_cvm.node.store import Store

UNKNOWN = requests.failure("unknown request property type")
UNREADABLE = requests.failure("data parse error") + RUNTIME


def content(sample: Any) -> str:
    return f"0x{sample.values.tobytes().hex()}"


def gas_of(sample: Any) -> bytes:
    answer: bytes = ok(machine.gas(sample.files["symbol"]).to_bytes(8, "big"))
    return answer


def test_three_requests_are_answered(client: Client, sample: Any) -> None:
    assert client.infer(type=3, model=sample.model, modelSize=BIG) == gas_of(sample)
    words = client.infer(type=2, model=sample.model, input=content(sample), modelSize=BIG)
    assert words == ok(sample.answer)
    stored = client.infer(
        type=1, model="0x" + sample.model.upper(), input=sample.stored, modelSize=BIG,
        inputSize=BIG, cvm_version=1, cvm_networkid=21,
    )  # fmt: skip
    assert stored == ok(sample.answer)


def test_the_address_of_the_stock_server_is_the_default() -> None:
    assert "[default: 127.0.0.1:4321]" in CliRunner().invoke(main, ["serve", "--help"]).output


def test_headers_and_query_are_not_looked_at(client: Client, sample: Any) -> None:
    body = json.dumps({"type": 3, "model": sample.model, "modelSize": BIG}).encode()
    for headers in (
        {"Content-Type": "application/json; charset=utf-8", "Accept": "text/html;q=0"},
        {
            "Content-Type": "multipart/form-data",
            "Authorization": "Basic x",
            "Accept-Encoding": "br",
        },
        {"Host": "elsewhere", "Origin": "http://elsewhere"},
    ):
        answer = client.ask("POST", "/infer?type=1&model=0", body, headers)
        assert answer == (200, "text/plain; charset=utf-8", gas_of(sample))


def test_the_method_is_looked_at_before_the_body(client: Client) -> None:
    with client.raw() as connection:
        connection.sendall(b"PUT /infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        answer = b""
        while part := connection.recv(4096):
            answer += part
    assert answer.endswith(requests.failure("request method not POST"))


def test_spelling_of_answers() -> None:
    assert bytes(requests.success(np.empty(0, np.int8))) == b'{"data":"0x","info":"ok"}'
    assert requests.gas_answer(23792) == b'{"data":"0x0000000000005cf0","info":"ok"}'
    assert requests.failure("data parse error") == (
        b'{"data":"0x64617461207061727365206572726f72","info":"error"}'
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_told_so(client: Client, method: str) -> None:
    answer = client.ask(method, "/infer?x=1")
    text = requests.failure("request method not POST")
    assert answer == (200, "text/plain; charset=utf-8", text)


@pytest.mark.parametrize("path", ["/", "/infer/", "/inference", "/detect/x"])
def test_other_paths_are_not_found(client: Client, path: str) -> None:
    answer = client.ask("POST", path, b"{}")
    assert answer == (404, "text/plain; charset=utf-8", b"404 page not found\n")


@pytest.mark.parametrize(
    "body",
    [
        "", "{", "[]", "null", '"x"', '{"type":3}x', "\ufeff" + '{"type":3}', '{"model":"m"}',
        '{"type":null}', '{"type":"3"}', '{"type":3.0}', '{"type":3e0}', '{"type":-3}',
        '{"type":4294967299}', '{"type":0}', '{"type":4}', '{"type":true}', '{"type":NaN}',
        '{"type":03}', '{"type":"x","type":3}', "[" * 5000,
    ],
)  # fmt: skip
def test_unknown_types(client: Client, body: str) -> None:
    assert client.ask("POST", "/infer", body.encode())[2] == UNKNOWN


@pytest.mark.parametrize(
    "change",
    [
        {"modelSize": "1"}, {"modelSize": -1}, {"modelSize": 1.5}, {"modelSize": 1 << 64},
        {"cvm_networkid": 1 << 63}, {"model": 5}, {"model": None}, {"cvm_networkid": []},
    ],
)  # fmt: skip
def test_broken_records_of_gas(client: Client, sample: Any, change: dict[str, Any]) -> None:
    assert client.infer(**{"type": 3, "model": sample.model, "modelSize": BIG, **change}) == (
        UNREADABLE
    )


@pytest.mark.parametrize("given", ["0x1", "12", "0xzz", "0x" + "0" * 5001, None, 7, ["0x"]])
def test_broken_contents(client: Client, sample: Any, given: Any) -> None:
    assert client.infer(type=2, model=sample.model, input=given, modelSize=BIG) == UNREADABLE


def test_keys_of_other_types_are_not_looked_at(client: Client, sample: Any) -> None:
    body = {"type": 3, "model": sample.model, "modelSize": BIG, "input": 5, "inputSize": "x"}
    assert client.infer(**body) == gas_of(sample)


@pytest.mark.parametrize(
    ("more", "read"),
    [
        ("[" * 9999 + "]" * 9999, True),
        ('{"a":' * 9999 + "1" + "}" * 9999, True),
        ("[" * 10000 + "]" * 10000, False),
        ('[{}, [ ], {"a" : -1.5e+3, "b":["\\u00e9\\"",true,false,null,0]}\n]', True),
        *((broken, False) for broken in (
            "[1,]", "[,1]", '{"a":1,}', '{"a"}', '{1:1}', '{"a" 1}', "[1 2]", "[01]", "[1}",
            '["\\x"]', '["\\u12g4"]', '["\t"]', "[-]", "[1.]", "[NaN]", "tru", '["a]', "]",
        )),
    ],
)  # fmt: skip
def test_other_members_are_passed_over(client: Client, sample: Any, more: str, read: bool) -> None:
    body = f'{{"x":{more},"type":3,"model":"{sample.model}","modelSize":{BIG}}}'
    answer = client.ask("POST", "/infer", body.encode())[2]
    assert answer == (gas_of(sample) if read else UNKNOWN)


def test_a_body_of_very_many_values_is_too_large(client: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(members, "TOKENS", 100)
    body = b'{"type":3,"x":[' + b"1," * 100 + b"1]}"
    assert client.ask("POST", "/infer", body)[2] == requests.failure("request body read error")


def test_escapes_are_read_in_names_and_not_in_contents(client: Client, sample: Any) -> None:
    begin = f'{{"ty\\u0070e":2,"model":"{sample.model}","modelSize":{BIG},'
    for more, expected in (
        (f'"input":"{content(sample)}"', ok(sample.answer)),
        (f'"input":"\\u0030x{content(sample)[2:]}"', UNREADABLE),
        (f'"\\u0069nput":"{content(sample)}"', ok(sample.answer)),
        (f'"model":"\\ud800","input":"{content(sample)}"', RUNTIME),
    ):
        body = (begin + more + "}").encode()
        assert client.ask("POST", "/infer", body)[2] == expected, more


def test_case_repetition_null_and_space(client: Client, sample: Any) -> None:
    body = (
        '\n {"TYPE":2,"type":3 , "Model":"q","model":"'
        f'{sample.model}","modelsize":null,"MODELſIZE":{BIG}}} \r\n'
    )
    assert client.ask("POST", "/infer", body.encode())[2] == gas_of(sample)


def test_a_last_null_counts_as_absent(client: Client, sample: Any) -> None:
    begin = f'{{"type":3,"model":"{sample.model}","modelSize":{BIG}'
    for more, expected in (
        (',"modelsize":null}', RUNTIME), (',"Model":null}', UNREADABLE), (',"TYPE":null}', UNKNOWN),
        (',"input":null}', gas_of(sample)),
    ):  # fmt: skip
        assert client.ask("POST", "/infer", (begin + more).encode())[2] == expected, more


@pytest.mark.parametrize("target", ["http://node:4321/infer", "HTTP://[::1]/infer?x", "/%69nfer"])
def test_other_spellings_of_the_path(client: Client, sample: Any, target: str) -> None:
    body = json.dumps({"type": 3, "model": sample.model, "modelSize": BIG}).encode()
    assert client.ask("POST", target, body)[2] == gas_of(sample)


def test_long_contents_pass_by_the_json_reader(client: Client, sample: Any) -> None:
    padded = content(sample) + "AB" * 9000
    answer = client.infer(type=2, model=sample.model, input=padded, modelSize=BIG)
    assert answer == ok(sample.answer)
    as_model = client.infer(type=2, model=padded, input="0x", modelSize=BIG)
    assert as_model == RUNTIME
    assert client.infer(type=2, model=sample.model, input=padded + "G0", modelSize=BIG) == (
        UNREADABLE
    )


@pytest.mark.parametrize("name", ["", "0x", "12", "zz" * 20, "../" + "a" * 37, "0x" + "a" * 41])
def test_what_is_no_hash(client: Client, sample: Any, name: str) -> None:
    assert client.infer(type=3, model=name, modelSize=BIG) == RUNTIME
    assert client.infer(type=1, model=sample.model, input=name, modelSize=BIG) == RUNTIME


def test_a_capital_prefix_finds_the_file_under_another_name(sample: Any) -> None:
    serving = Serving(Store([sample.root]), BUDGET)
    serving.gas("0X" + sample.model, BIG, 21)
    with pytest.raises(RuntimeFault):
        serving.gas(sample.model, 0, 21)
    serving.close()


def test_network_43_has_another_model(sample: Any) -> None:
    put(sample.root, "c816d85a023abacb687080ca57f580d4999b8b1d", sample.files)
    with running(sample.root) as client:
        asked = {"type": 3, "model": "31f75c90e8fe1c5b16cbdc466dc6127487a92add", "modelSize": BIG}
        assert client.infer(**asked, cvm_networkid=43) == gas_of(sample)
        assert client.infer(**asked, cvm_networkid=21) == RUNTIME
        capital = {**asked, "model": "0X" + asked["model"]}
        assert client.infer(**capital, cvm_networkid=43) == RUNTIME


def test_fixed_answers_come_before_files_and_sizes(sample: Any) -> None:
    model, stored = "11" * 20, "22" * 20
    table = {
        "9f61e80b2524eb7a272fa58445b1bc431ae08505e90cfac01be86a00b386dfb1": b"\x01\xff",
        "2364753a8b3e7989c5f87bfde3029126981c3282c473b125e8be4cffe2f76a96": b"\x02",
    }
    serving = Serving(Store([sample.root]), BUDGET, table)
    assert serving.infer_content(model, b"\1\2\3", 0, 21).tobytes() == b"\x01\xff"
    assert serving.infer_stored(model, stored, 0, 0, 7).tobytes() == b"\x02"
    with pytest.raises(RuntimeFault):
        serving.infer_content(model, b"\1\2\4", 0, 21)
    serving.close()


def test_digests_of_the_tables_are_keccak_with_its_own_padding() -> None:
    assert keccak256_of_string(b"\1\2\3") == (
        "dcc9e5db73e389f1b3775ff069c41ddced5b919545febc334ecaaf609f4d9dfe"
    )


def test_hits_ignore_sizes_and_files_that_have_gone(client: Client, sample: Any) -> None:
    asked = {"model": sample.model, "modelSize": BIG}
    client.infer(type=3, **asked)
    client.infer(type=2, input=content(sample), **asked)
    client.infer(type=1, input=sample.stored, inputSize=BIG, **asked)
    shutil.rmtree(sample.root)
    sample.root.mkdir()
    nothing = {"model": sample.model, "modelSize": 0}
    assert client.infer(type=3, **nothing) == gas_of(sample)
    assert client.infer(type=2, input=content(sample), **nothing) == ok(sample.answer)
    assert client.infer(type=1, input=sample.stored, **nothing) == ok(sample.answer)
    # The model is still in memory, so that another content needs no file either.
    other = (-sample.values).tobytes().hex()
    assert client.infer(type=2, input="0x" + other, **nothing).endswith(b'"ok"}')


def test_version_and_network_change_nothing(client: Client, sample: Any) -> None:
    asked = {"type": 2, "model": sample.model, "input": content(sample)}
    assert client.infer(**asked, modelSize=BIG, cvm_version=0, cvm_networkid=21) == (
        ok(sample.answer)
    )
    for version, network in ((1, 42), (-7, 43), (1 << 62, 0)):
        given = {"cvm_version": version, "cvm_networkid": network}
        assert client.infer(**asked, **given) == ok(sample.answer)


def test_contents_that_differ_are_different_inputs(client: Client, sample: Any) -> None:
    """The whole content names a result, though the model reads its beginning alone."""
    asked = {"type": 2, "model": sample.model}
    assert client.infer(**asked, input=content(sample), modelSize=BIG) == ok(sample.answer)
    (sample.root / sample.model).unlink()
    client.tell(bytes([1]))
    while "reload" not in client.log.getvalue():
        pass
    assert client.infer(**asked, input=content(sample) + "00", modelSize=BIG) == RUNTIME


def test_failures_are_not_kept(client: Client, sample: Any) -> None:
    asked = {"type": 1, "model": sample.model, "input": sample.stored, "inputSize": BIG}
    assert client.infer(**asked, modelSize=1) == RUNTIME
    assert client.infer(**asked, modelSize=BIG) == ok(sample.answer)


def test_each_file_alone_is_held_to_its_size(client: Client, sample: Any) -> None:
    symbol, params = (len(sample.files[name]) for name in ("symbol", "params"))
    assert client.infer(type=3, model=sample.model, modelSize=symbol - 1) == RUNTIME
    assert client.infer(type=3, model=sample.model, modelSize=symbol) == gas_of(sample)
    largest = max(symbol, params)
    asked = {"type": 2, "model": sample.model, "input": content(sample)}
    assert client.infer(**asked, modelSize=largest - 1) == RUNTIME
    assert client.infer(**asked, modelSize=largest) == ok(sample.answer)
    size = len(npy(sample.values))
    stored = {"type": 1, "model": sample.model, "input": sample.stored, "modelSize": BIG}
    assert client.infer(**stored, inputSize=size - 1) == RUNTIME
    assert client.infer(**stored, inputSize=size) == ok(sample.answer)


def test_long_contents_are_cut_and_short_ones_refused(client: Client, sample: Any) -> None:
    asked = {"type": 2, "model": sample.model, "modelSize": BIG}
    assert client.infer(input=content(sample) + "00" * 24, **asked) == ok(sample.answer)
    assert client.infer(input=content(sample)[:-2], **asked) == RUNTIME
    assert client.infer(input="", **asked) == RUNTIME


def test_the_prefix_of_contents_has_either_case(client: Client, sample: Any) -> None:
    spelled = "0X" + sample.values.tobytes().hex().upper()
    answer = client.infer(type=2, model=sample.model, input=spelled, modelSize=BIG)
    assert answer == ok(sample.answer)


def test_values_beyond_the_precision_are_clamped(tmp_path: Path) -> None:
    b = GraphBuilder()
    graph = b.build([b.operator("abs", [b.input("data", (1, 4), 12)])])
    folder = write_model(tmp_path / "model", graph)
    put(tmp_path, name_of("m"), {n: (folder / n).read_bytes() for n in ("symbol", "params")})
    given = np.array([2**31 - 1, -(2**31), 2048, -5], ">i4").tobytes()
    with running(tmp_path) as client:
        answer = client.infer(type=2, model=name_of("m"), input="0x" + given.hex(), modelSize=BIG)
    assert answer == ok(np.array([2047, 2047, 2047, 5], ">i4").tobytes())


@pytest.mark.parametrize(
    ("shapes", "bits", "postprocess", "expected"),
    [
        (((2, 3),), 8, "", np.array([0, 1, 2, 3, 4, 5], np.int8)),
        (((2, 3), (2, 2)), 8, "", np.array([0, 1, 2, 0, 1, 3, 4, 5, 2, 3], np.int8)),
        (((2, 3), (2, 2)), 12, "", np.array([0, 1, 2, 0, 1, 3, 4, 5, 2, 3], ">i4")),
        (((2, 3), (2, 2)), 8, "detection", np.array([0, 1, 2, 0, 1, 3, 4, 5, 2, 3], ">i4")),
        (((2, 3),), 8, "argmax", np.array([2, 2], ">i4")),
        (((2, 3),), 8, "detection", None),
        (((2, 3), (3, 2)), 8, "", None),
    ],
)
def test_outputs_of_one_head_and_of_several(
    tmp_path: Path, shapes: Any, bits: int, postprocess: str, expected: Any
) -> None:
    folder = write_model(tmp_path / "m", heads_of(*shapes, bits=bits, postprocess=postprocess))
    put(tmp_path, name_of("m"), {n: (folder / n).read_bytes() for n in ("symbol", "params")})
    with running(tmp_path) as client:
        asked = {"type": 2, "model": name_of("m"), "input": "0x" + "00" * 24, "modelSize": BIG}
        assert client.infer(**asked) == (RUNTIME if expected is None else ok(expected.tobytes()))


def test_stale_bytes_after_params_are_read_over(client: Client, sample: Any) -> None:
    """The original's writer leaves them where one process saves several models."""
    stale = {**sample.files, "params": sample.files["params"] + sample.files["params"][-700:]}
    put(sample.root, name_of("stale"), stale)
    asked = {"model": name_of("stale"), "modelSize": BIG}
    assert client.infer(type=3, **asked) == gas_of(sample)
    assert client.infer(type=2, input=content(sample), **asked) == ok(sample.answer)


@pytest.mark.parametrize(
    ("files", "gas", "infer"),
    [
        ({"symbol": b"", "params": b"x"}, RUNTIME, RUNTIME),
        ({"symbol": b"{", "params": b"x"}, RUNTIME, RUNTIME),
        ({"symbol": b"{}", "params": b"x"}, LOGIC, RUNTIME),
        ({"params": b"x"}, RUNTIME, RUNTIME),
    ],
)
def test_bad_models_are_runtime_to_inference(
    client: Client, sample: Any, files: dict[str, bytes], gas: bytes, infer: bytes
) -> None:
    put(sample.root, name_of("bad"), files)
    asked = {"model": name_of("bad"), "modelSize": BIG}
    assert client.infer(type=3, **asked) == gas
    assert client.infer(type=2, input="0x00", **asked) == infer


def test_empty_params_are_runtime(client: Client, sample: Any) -> None:
    put(sample.root, name_of("bare"), {"symbol": sample.files["symbol"], "params": b""})
    asked = {"type": 2, "model": name_of("bare"), "input": content(sample), "modelSize": BIG}
    assert client.infer(**asked) == RUNTIME


@pytest.mark.parametrize("top_k", [-1, 4096])
def test_suppression_without_end_is_refused_before_it_runs(tmp_path: Path, top_k: int) -> None:
    b = GraphBuilder()
    rows = b.operator("tile", [b.input("data", (1, 200, 6), 8)], reps=(1, 1000, 1))
    count = b.operator("get_valid_counts", [rows], score_threshold=0)
    attributes: dict[str, Any] = {
        "iou_threshold": 100,
        "force_suppress": True,
        "max_output_size": -1,
    }
    graph = b.build(
        [b.operator("non_max_suppression", [b.output(count, 1), count], top_k=top_k, **attributes)]
    )
    folder = write_model(tmp_path / "m", graph)
    put(tmp_path, name_of("m"), {n: (folder / n).read_bytes() for n in ("symbol", "params")})
    with running(tmp_path) as client:
        asked = {"model": name_of("m"), "modelSize": BIG}
        assert client.infer(type=3, **asked).endswith(b'"ok"}')
        answer = client.infer(type=2, input="0x" + "00" * 1200, **asked)
        assert (answer == RUNTIME) == (top_k == -1)
        assert ("overlaps" in client.log.getvalue()) == (top_k == -1)


def test_gas_needs_no_params(client: Client, sample: Any) -> None:
    put(sample.root, name_of("half"), {"symbol": sample.files["symbol"] + b"\n garbage"})
    assert client.infer(type=3, model=name_of("half"), modelSize=BIG) == gas_of(sample)
    assert client.infer(type=2, model=name_of("half"), input=content(sample), modelSize=BIG) == (
        RUNTIME
    )


def test_links_out_of_the_store_are_not_followed(
    client: Client, sample: Any, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    put(outside, name_of("out"), sample.files)
    home = outside / ".tmp" / name_of("out")
    for name, target in (
        ("absolute", str(home)), ("relative", f"../outside/.tmp/{name_of('out')}"),
    ):  # fmt: skip
        os.symlink(target, sample.root / name_of(name))
        assert client.infer(type=3, model=name_of(name), modelSize=BIG) == RUNTIME
    (sample.root / name_of("deep") / "data").mkdir(parents=True)
    os.symlink(home / "data" / "symbol", sample.root / name_of("deep") / "data" / "symbol")
    assert client.infer(type=3, model=name_of("deep"), modelSize=BIG) == RUNTIME
    os.mkfifo(sample.root / name_of("fifo"))
    assert client.infer(type=1, model=sample.model, input=name_of("fifo"), inputSize=BIG) == (
        RUNTIME
    )


def test_plain_folders_and_further_roots_are_read(client: Client, sample: Any) -> None:
    home = sample.root / name_of("plain")
    shutil.copytree(sample.root / ".tmp" / sample.model, home)
    assert client.infer(type=3, model=name_of("plain"), modelSize=BIG) == gas_of(sample)
    other = sample.root.parent / "other"
    put(other, name_of("else"), sample.files)
    with running(sample.root, other) as both:
        assert both.infer(type=3, model=name_of("else"), modelSize=BIG) == gas_of(sample)


def test_hashes_are_compared_where_that_is_asked_for(sample: Any) -> None:
    info = torrent.model_info(sample.files["symbol"], sample.files["params"])
    stored = torrent.input_info(npy(sample.values))
    for each, files in ((info, sample.files), (stored, {"data": npy(sample.values)})):
        put(sample.root, each.info_hash, files)
        home = sample.root / ".tmp" / each.info_hash
        (home / "torrent").write_bytes(torrent.encode(each, torrent.Envelope()))
    with running(sample.root, checked=True) as client:
        asked = {"model": info.info_hash, "modelSize": BIG}
        found = client.infer(type=1, input=stored.info_hash, inputSize=BIG, **asked)
        assert found == ok(sample.answer)
        assert client.infer(type=3, model=sample.model, modelSize=BIG) == RUNTIME
    symbol = sample.root / info.info_hash / "data" / "symbol"
    symbol.write_bytes(sample.files["symbol"].replace(b"cvm_1.0.0", b"cvm_1.1.0"))
    with running(sample.root, checked=True) as client:
        assert client.infer(type=3, model=info.info_hash, modelSize=BIG) == RUNTIME
    with running(sample.root) as client:
        assert client.infer(type=3, model=info.info_hash, modelSize=BIG) == gas_of(sample)


def test_a_reload_reads_changed_files(client: Client, sample: Any) -> None:
    asked = {"type": 3, "model": sample.model, "modelSize": BIG}
    assert client.infer(**asked) == gas_of(sample)
    (sample.root / sample.model / "data" / "symbol").write_bytes(b"{")
    assert client.infer(**asked) == gas_of(sample)
    client.tell(bytes([1]))
    while "reload" not in client.log.getvalue():
        pass
    assert client.infer(**asked) == RUNTIME


def test_health_and_figures(client: Client, sample: Any) -> None:
    client.infer(type=3, model=sample.model, modelSize=BIG)
    assert client.ask("GET", "/healthz")[::2] == (200, b"ok\n")
    status, kind, figures = client.ask("GET", "/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'yolo_cvm_answers_total{outcome="ok",request="infer"} 1.0' in figures
    events = [json.loads(line) for line in client.log.getvalue().splitlines()]
    assert events[0]["event"] == "request"
    assert events[0]["outcome"] == "ok"
