"""The vectors, ours and the original's, and that the runner can fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from yolo_cvm.cli import main
from yolo_cvm.conform import FAILED, KNOWN, PASSED, conform, shipped

VECTORS = Path(__file__).parents[1] / "vectors"


def content(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_committed_vectors_are_what_the_reference_gives_today(tmp_path: Path) -> None:
    made = tmp_path / "vectors"
    subprocess.run([sys.executable, "generate.py", str(made)], cwd=VECTORS, check=True)
    for kind in ("ops", "reject", "network", "dispute", "model_dispute"):
        assert content(made / kind) == content(VECTORS / kind)


@pytest.mark.parametrize("engine", ["reference", None])
def test_our_vectors_pass(engine: str | None) -> None:
    outcomes = list(conform(VECTORS, engine))
    assert [one for one in outcomes if one.status != PASSED] == []
    operators = {
        one.name.split("/")[1].rsplit("_", 1)[0] for one in outcomes if one.name.startswith("ops/")
    }
    assert len(operators) == 37


@pytest.mark.parametrize("engine", ["reference", None])
def test_vectors_of_the_original_pass(golden: Path, engine: str | None) -> None:
    outcomes = list(conform(golden, engine))
    assert [one for one in outcomes if one.status == FAILED] == []
    known = [one.name for one in outcomes if one.status == KNOWN]
    assert known == [f"ops/cvm_right_shift_{n}" for n in ("00", "18", "22")]
    assert {"ops/conv2d_00", "reject/params_truncated", "network/yolov5n_64"} <= {
        one.name for one in outcomes
    }


# The original's codes for its own refused models: gas from the symbol, and loading.
CODES = {
    (0, 0): "input_length",
    (0, 1): "head_index_out_of_range param_missing param_shape",
    (0, 2): "no_data_node param_extra params_bad_tensor_magic params_float params_int16",
    (1, 1): "broadcast_mul_prec33 broadcast_same_storage concat_axis conv2d_bad_groups "
    "conv2d_data_prec9 conv2d_nhwc conv2d_same_storage conv2d_wrong_out_shape cvm_clip_prec_0 "
    "dense_3d dim_gt_2p24 dltype_int8 elemwise_add_prec33 expand_range gvc_k1 missing_heads "
    "missing_precision ndim7 nms_batch nms_iou0 op_type_other pool_3d pool_ceil_empty_window "
    "pool_pad4 pool_size_gt_input prec33 relu_with_attr repeat_zero reshape_size "
    "right_shift_prec_0 right_shift_sb_-1 right_shift_sb_33 size_gt_2p30 slice_like_larger "
    "slice_stride0 storage_len sum_axis sum_prec35 tile_default topological_order "
    "transpose_range upsampling_scale0 v10_bad_row_ptr",
    (2, 2): "conv2d_missing_channels conv2d_unknown_attr json_empty left_shift_prec33 "
    "node_attr_unknown_key op_broadcast_min_absent op_pad_absent unknown_top_key version_1_2",
}


@pytest.mark.parametrize(
    ("name", "codes"), [(name, codes) for codes, names in CODES.items() for name in names.split()]
)
def test_a_refused_model_of_the_original_has_its_codes(
    golden: Path, name: str, codes: tuple[int, int], tmp_path: Path
) -> None:
    shutil.copytree(golden / "reject" / name, tmp_path / name)
    gas, load = codes
    meta = {"expect": "reject", "codes": {"gas": gas, "load": load}}
    (tmp_path / name / "meta.json").chmod(0o644)
    (tmp_path / name / "meta.json").write_text(json.dumps(meta))
    assert [(one.status, one.note) for one in conform(tmp_path) if one.status != PASSED] == []


@pytest.mark.parametrize("codes", [{"gas": 1}, {"load": 2}, {"load": 0}])
def test_a_vector_of_other_codes_fails(codes: dict[str, int], tmp_path: Path) -> None:
    shutil.copytree(VECTORS / "reject" / "head_nowhere", tmp_path / "v")
    meta = {"expect": "reject", "codes": codes}
    (tmp_path / "v" / "meta.json").write_text(json.dumps(meta))
    (outcome,) = conform(tmp_path)
    assert outcome.status == FAILED
    assert "code" in outcome.note


def test_command_counts_and_ends_with_0_when_all_pass() -> None:
    result = CliRunner().invoke(main, ["conform", str(VECTORS / "ops"), "--quiet"])
    assert result.exit_code == 0
    assert result.output.strip().endswith("0 failed, 0 known divergences from the original")


@pytest.mark.parametrize("change", ["output", "gas", "accepted", "crash"])
def test_a_wrong_vector_fails(change: str, tmp_path: Path) -> None:
    vector = tmp_path / "relu_00"
    shutil.copytree(VECTORS / "ops" / "relu_01", vector)
    meta = json.loads((vector / "meta.json").read_text())
    if change == "output":
        wrong = np.load(vector / "output.npy")
        wrong[0, 0, 0] += 1
        np.save(vector / "output.npy", wrong)
    elif change == "gas":
        meta["gas"] += 1
    elif change == "accepted":
        meta = {"name": "relu", "expect": "reject"}
    else:
        (vector / "params").write_bytes(b"no params")
    (vector / "meta.json").write_text(json.dumps(meta))
    result = CliRunner().invoke(main, ["conform", str(tmp_path)])
    assert result.exit_code == 1
    assert "1 failed" in result.output


def test_the_vectors_that_come_with_the_package_are_found() -> None:
    assert {path.name for path in shipped().iterdir()} >= {"ops", "reject", "network", "dispute"}


def test_a_folder_without_vectors_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["conform", str(tmp_path)])
    assert result.exit_code == 2
    assert "holds no vectors" in result.output


@pytest.mark.parametrize(
    ("name", "text"),
    [("meta.json", "[]"), ("meta.json", "{}"), ("node_crc.json", "[1]"), ("node_crc.json", "{")],
)
def test_a_broken_record_is_refused(name: str, text: str, tmp_path: Path) -> None:
    shutil.copytree(VECTORS / "ops" / "relu_01", tmp_path / "relu_00")
    (tmp_path / "relu_00" / name).write_text(text)
    result = CliRunner().invoke(main, ["conform", str(tmp_path)])
    assert result.exit_code == 2
    assert name in result.output
