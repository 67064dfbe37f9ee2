"""Which test holds which rule of the node's specification, and the rules with no better place.

A: the protocol of remote inference; B: the library; C: the files.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import pytest
from node_samples import BIG, BUDGET, LOGIC, RUNTIME, Client, name_of, npy, ok, put, running

from yolo_core.graph import LogicError, RuntimeFault
from yolo_cvm.bundle import torrent
from yolo_cvm.node import requests
from yolo_cvm.node.http import Limits
from yolo_cvm.node.serving import SUBSTITUTES, Serving
from yolo_cvm.node.store import Store
from yolo_cvm.node.work import PATIENCE_SECONDS

TESTS = Path(__file__).parents[1]
PROTOCOL, CACHES, FAULTS = "node/test_protocol.py", "node/test_caches.py", "node/test_faults.py"
INPUTS, LIBRARY, OWN = "node/test_stored_inputs.py", "node/test_library.py", "node/test_rules.py"
LAYOUT, TORRENT = "bundle/test_layout.py", "bundle/test_torrent.py"
UNREADABLE = requests.failure("data parse error") + RUNTIME
#: Rule, file and tests. A27, B2 (absent names), B11, C7 and parts of A2 bind the node, not us.
RULES = """
A1 P the_address_of_the_stock_server_is_the_default headers_and_query_are_not_looked_at
A1 F only_the_loopback_unless_told_otherwise
A2 O times_are_those_of_a_node_and_end_before_its_own
A3 P spelling_of_answers three_requests_are_answered
A4 P spelling_of_answers unknown_types other_methods_are_told_so broken_records_of_gas
A4 F a_body_that_ends_too_early_is_told a_body_that_is_too_large_is_told_and_not_kept
A5 P other_methods_are_told_so the_method_is_looked_at_before_the_body
A6 P other_paths_are_not_found other_spellings_of_the_path headers_and_query_are_not_looked_at
A7 P unknown_types a_last_null_counts_as_absent
A8 P case_repetition_null_and_space a_last_null_counts_as_absent other_members_are_passed_over
A8 P escapes_are_read_in_names_and_not_in_contents the_prefix_of_contents_has_either_case
A9 P broken_records_of_gas broken_contents keys_of_other_types_are_not_looked_at
A9 O broken_records_of_every_type
A10 P spelling_of_answers three_requests_are_answered what_is_no_hash
A11 P three_requests_are_answered what_is_no_hash
A11 O an_empty_model_is_runtime_to_every_type
A12 P three_requests_are_answered
A12 O an_empty_model_is_runtime_to_every_type
A13 P what_is_no_hash a_capital_prefix_finds_the_file_under_another_name
A14 P network_43_has_another_model
A14 O network_43_has_another_model_for_inference_too
A15 P fixed_answers_come_before_files_and_sizes
A15 P digests_of_the_tables_are_keccak_with_its_own_padding
A16 P hits_ignore_sizes_and_files_that_have_gone version_and_network_change_nothing
A16 P contents_that_differ_are_different_inputs failures_are_not_kept
A16 C contents_of_one_sample_are_told_apart
A17 O the_order_of_checks_of_an_inference
A17 I a_bad_input_is_told_before_the_model_is_looked_at
A18 P gas_needs_no_params bad_models_are_runtime_to_inference
A18 O the_order_of_checks_of_gas
A19 P bad_models_are_runtime_to_inference
A20 I headers_of_stored_inputs versions_of_stored_inputs a_header_longer_than_its_file
A21 I integers_of_four_bytes_pass_as_the_original_passes_them
A22 P long_contents_are_cut_and_short_ones_refused values_beyond_the_precision_are_clamped
A23 P outputs_of_one_head_and_of_several
A24 P each_file_alone_is_held_to_its_size
A25 C memory_for_models_is_the_original_s models_beyond_the_budget_are_read_again
A25 C the_least_recently_used_goes_first
A26 P empty_params_are_runtime bad_models_are_runtime_to_inference
A26 C a_result_is_kept_though_its_client_has_left what_is_absent_is_not_waited_for
A28 C what_is_absent_is_not_waited_for what_has_come_since_is_found
B1 L install_spares_what_is_not_ours calls_in_the_order_of_a_node
B2 L exactly_twelve_names_are_exported
B3 L recorded_calls codes_of_refused_models
B4 L failures_leave_outputs_alone null_is_runtime_and_touches_nothing
B4 L handles_that_were_freed_or_are_foreign
B5 L files_belong_to_the_caller_and_their_lengths_count failures_leave_outputs_alone
B6 L a_c_program_in_the_order_of_a_node texts the_method_is_the_post_processing_word
B7 L calls_in_the_order_of_a_node heads_of_different_rows_have_figures_and_no_output
B8 L a_handle_is_freed_by_another_thread_than_its_own
B9 L nothing_of_the_process_changes many_threads
B10 L a_graph_without_a_nul_at_the_end_of_memory
B12 L codes_of_refused_models
B12 X a_refused_model_of_the_original_has_its_codes
C1 P links_out_of_the_store_are_not_followed plain_folders_and_further_roots_are_read
C2 P plain_folders_and_further_roots_are_read
C2 T models_join_a_root_and_pass a_plain_folder_is_read_and_never_seeded
C3 O a_torrent_counts_by_its_own_hash_alone
C4 S stored_input_is_a_single_file torrent_file_says_what_the_original_says
C5 O the_hash_of_three_bytes_depends_on_the_piece_length
C5 S vectors
C6 T models_join_a_root_and_pass the_card_tells_how_to_seed
C7 T models_join_a_root_and_pass layouts_by_command
C8 F a_store_that_changes_is_old_or_new_or_runtime
"""
FILES = {
    "P": PROTOCOL, "C": CACHES, "F": FAULTS, "I": INPUTS, "L": LIBRARY, "O": OWN, "T": LAYOUT,
    "S": TORRENT, "X": "test_conform.py",
}  # fmt: skip


def test_every_rule_has_a_test() -> None:
    listed = [line.split() for line in RULES.split("\n") if line]
    known = {
        letter: {
            node.name
            for node in ast.parse((TESTS / name).read_text("utf-8")).body
            if isinstance(node, ast.FunctionDef)
        }
        for letter, name in FILES.items()
    }
    for rule, letter, *names in listed:
        assert {f"test_{name}" for name in names} <= known[letter], rule
    wanted = [f"A{k}" for k in range(1, 29)] + [f"B{k}" for k in range(1, 13)]
    wanted += [f"C{k}" for k in range(1, 9)]
    assert set(wanted) - {rule for rule, *_ in listed} == {"A27", "B11"}


def test_times_are_those_of_a_node_and_end_before_its_own() -> None:
    assert Limits().request_seconds == 15.0
    assert 14.0 < PATIENCE_SECONDS < 15.0


@pytest.mark.parametrize(
    ("kind", "change", "readable"),
    [
        (1, {"inputSize": "1"}, False),
        (1, {"inputSize": -1}, False),
        (1, {"inputSize": 1 << 64}, False),
        (1, {"inputSize": None}, True),
        (1, {"input": None}, False),
        (1, {"input": 5}, False),
        (1, {"cvm_version": 1.5}, False),
        (1, {"cvm_version": 1 << 63}, False),
        (1, {"cvm_networkid": "21"}, False),
        (2, {"cvm_version": True}, False),
        (2, {"modelSize": [1]}, False),
        (2, {"inputSize": "x"}, True),
        (2, {"model": {}}, False),
        (3, {"cvm_version": "x", "input": 1, "inputSize": -1}, True),
    ],
)
def test_broken_records_of_every_type(
    client: Client, sample: Any, kind: int, change: dict[str, Any], readable: bool
) -> None:
    given = sample.stored if kind == 1 else f"0x{sample.values.tobytes().hex()}"
    asked = {"type": kind, "model": sample.model, "input": given, "modelSize": BIG}
    answer = client.infer(**{**asked, "inputSize": BIG, **change})
    assert (answer == UNREADABLE) != readable


def test_an_empty_model_is_runtime_to_every_type(client: Client, sample: Any) -> None:
    given = {"modelSize": BIG, "inputSize": BIG}
    assert client.infer(type=1, model="", input=sample.stored, **given) == RUNTIME
    assert client.infer(type=2, model="", input="0x00", **given) == RUNTIME
    assert client.infer(type=3, model="", **given) == RUNTIME


def test_network_43_has_another_model_for_inference_too(sample: Any) -> None:
    ((network, old), new) = next(iter(SUBSTITUTES.items()))
    put(sample.root, new, sample.files)
    asked = {"type": 2, "model": f"0x{old.upper()}", "modelSize": BIG}
    asked["input"] = f"0x{sample.values.tobytes().hex()}"
    with running(sample.root) as client:
        assert client.infer(**asked, cvm_networkid=21) == RUNTIME
        assert client.infer(**asked, cvm_networkid=network) == ok(sample.answer)


def test_the_order_of_checks_of_an_inference(sample: Any) -> None:
    """Each request has the fault of its step and of all later ones; only step 5 is LOGIC."""
    put(sample.root, name_of("no array"), {"data": b"no array"})
    put(sample.root, name_of("short"), {"data": npy(sample.values.reshape(-1)[:-1])})
    put(sample.root, name_of("bad"), {"symbol": b"{}", "params": sample.files["params"]})
    # The digest of model 11.. and input 22.. that stands in spec A15.
    key = "2364753a8b3e7989c5f87bfde3029126981c3282c473b125e8be4cffe2f76a96"
    serving = Serving(Store([sample.root]), BUDGET, {key: b"\7"})

    def code(model: str, stored: str, model_size: int = BIG, input_size: int = BIG) -> int:
        try:
            serving.infer_stored(model, stored, model_size, input_size, 21)
        except (LogicError, RuntimeFault) as error:
            return error.code
        return 0

    broken = name_of("no array")
    assert code("no hash", "no hash") == 2
    assert code("no hash", broken) == 2
    assert code("11" * 20, "22" * 20, 0, 0) == 0
    assert code(name_of("absent"), name_of("absent")) == 2
    assert code(name_of("absent"), broken, 0, 1) == 2
    assert code(name_of("absent"), broken, 0) == 1
    assert code(name_of("bad"), broken) == 1
    assert code(sample.model, sample.stored, 0) == 2
    assert code(name_of("bad"), sample.stored) == 2
    assert code(sample.model, name_of("short")) == 2
    assert code(sample.model, sample.stored) == 0
    # From here on the result is kept, and neither sizes nor files are looked at.
    os.unlink(sample.root / sample.stored)
    assert code(sample.model, sample.stored, 0, 0) == 0
    serving.close()


def test_the_order_of_checks_of_gas(client: Client, sample: Any) -> None:
    put(sample.root, name_of("logic"), {"symbol": b"{}"})
    asked = {"type": 3, "model": name_of("logic")}
    assert client.infer(**asked, modelSize=1) == RUNTIME
    assert client.infer(**asked, modelSize=2) == LOGIC
    right = client.infer(type=3, model=sample.model, modelSize=BIG)
    os.unlink(sample.root / sample.model)
    assert client.infer(type=3, model=sample.model, modelSize=0) == right


def test_a_torrent_counts_by_its_own_hash_alone(sample: Any) -> None:
    """It is looked for in the folder of the hash, then in the hidden one."""
    info = torrent.model_info(sample.files["symbol"], sample.files["params"])
    other = torrent.input_info(npy(sample.values))
    right, wrong = (torrent.encode(each, torrent.Envelope()) for each in (info, other))
    put(sample.root, info.info_hash, sample.files)
    hidden, plain = sample.root / ".tmp" / info.info_hash, sample.root / info.info_hash
    plain.unlink()
    (plain / "data").mkdir(parents=True)
    for name, data in sample.files.items():
        (plain / "data" / name).write_bytes(data)
    for outer, inner, found in (
        (None, None, False), (wrong, None, False), (wrong, right, True), (right, wrong, True),
    ):  # fmt: skip
        for folder, data in ((plain, outer), (hidden, inner)):
            (folder / "torrent").unlink(missing_ok=True)
            if data is not None:
                (folder / "torrent").write_bytes(data)
        with running(sample.root, checked=True) as client:
            answer = client.infer(type=3, model=info.info_hash, modelSize=BIG)
        assert (answer != RUNTIME) == found


@pytest.mark.parametrize(
    ("piece_length", "info_hash"),
    [
        (4096, "22236be888acf6dd6ce60573238bc136340c22b8"),
        (262144, "4dfbd47e579b2c31c540a977872219eb4211c73a"),
    ],
)
def test_the_hash_of_three_bytes_depends_on_the_piece_length(
    piece_length: int, info_hash: str
) -> None:
    assert torrent.input_info(b"\1\2\3", piece_length).info_hash == info_hash
