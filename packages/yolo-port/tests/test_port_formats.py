"""Out and back in every format, all five sizes."""

from __future__ import annotations

import importlib.util
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from port_samples import (
    arrays,
    random_checkpoint,
    same,
    state_dict,
    ultralytics_model,
    write_pt,
)
from safetensors.numpy import load_file, save, save_file

from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import read_checkpoint, write_checkpoint
from yolo_core.yolo.architecture import Architecture
from yolo_port.conversion import WRITERS, convert
from yolo_port.matching import fused
from yolo_port.readers import load, read

ENDINGS = {"mxnet": "", "safetensors": ".safetensors", "onnx": ".onnx", "pt": ".pt"}


def _needs(form: str) -> None:
    if form == "onnx":
        pytest.importorskip("onnx", reason="the onnx extra is not installed")


@pytest.mark.parametrize("form", list(WRITERS))
@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("nc", [1, 3, 80])
def test_every_format_gives_back_what_it_took(
    tmp_path: Path, form: Any, fuse: bool, nc: int
) -> None:
    _needs(form)
    checkpoint = random_checkpoint(nc=nc, activation={1: "leaky", 3: "silu", 80: "relu"}[nc])
    source = write_pt(tmp_path / "model.pt", ultralytics_model(checkpoint, "float32"))
    written, files = convert(source, tmp_path / "out", form, fuse)
    assert all(file.is_file() for file in files)
    assert same(written, fused(checkpoint) if fuse else checkpoint)
    assert same(load(tmp_path / "out" / f"model{ENDINGS[form]}"), written)


@pytest.mark.parametrize(("size", "nc"), [("s", 80), ("m", 3), ("l", 1), ("x", 3)])
def test_every_size_goes_through_every_format(tmp_path: Path, size: str, nc: int) -> None:
    wanted = random_checkpoint(size, nc)
    step = write_pt(tmp_path / "model.pt", ultralytics_model(wanted))
    for number, form in enumerate(WRITERS):
        if form == "onnx" and importlib.util.find_spec("onnx") is None:
            continue
        convert(step, tmp_path / str(number), form, fuse=False)
        if number:  # the chain keeps one file at a time
            _remove(step)
        step = tmp_path / str(number) / f"model{ENDINGS[form]}"
    found = load(step)
    assert same(found, wanted)
    assert found.architecture.size == size


def _remove(step: Any) -> None:
    for file in step.parent.iterdir():
        file.unlink()


@pytest.mark.parametrize("form", list(WRITERS))
def test_same_checkpoint_gives_the_same_bytes(tmp_path: Path, form: Any) -> None:
    _needs(form)
    source = write_pt(tmp_path / "m.pt", state_dict(random_checkpoint()))
    for folder in ("a", "b"):
        convert(source, tmp_path / folder, form)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.parametrize("form", ["safetensors", "onnx", "pt"])
def test_bgr_models_leave_as_rgb(tmp_path: Path, form: str) -> None:
    _needs(form)
    checkpoint = random_checkpoint(color="bgr")
    write_checkpoint(tmp_path / "own", checkpoint)
    assert same(load(tmp_path / "own"), checkpoint)
    written, _ = convert(tmp_path / "own", tmp_path / "out", form, fuse=False)
    found = load(tmp_path / "out" / f"own{ENDINGS[form]}")
    assert found.color == written.color == "rgb"
    first = "model.0.conv.weight"
    assert np.array_equal(found.parameters[first], checkpoint.parameters[first][:, ::-1])


def test_own_checkpoints_are_taken_by_any_of_their_names(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    for file in write_checkpoint(tmp_path / "own", checkpoint):
        assert same(load(file), checkpoint)


def test_meta_names_the_source(tmp_path: Path) -> None:
    source = write_pt(tmp_path / "m.pt", state_dict(random_checkpoint()))
    convert(source, tmp_path / "out")
    meta = read_checkpoint(tmp_path / "out" / "m").meta
    assert meta["source"] == "m.pt"
    assert len(meta["source_sha256"]) == 64


def test_batch_normalisation_cannot_be_kept_where_there_is_none(tmp_path: Path) -> None:
    source = write_pt(tmp_path / "m.pt", state_dict(random_checkpoint()))
    convert(source, tmp_path / "out", fuse=True)
    with pytest.raises(InputError, match="fused already"):
        convert(tmp_path / "out" / "m", tmp_path / "again", fuse=False)


def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    source = write_pt(tmp_path / "m.pt", state_dict(random_checkpoint()))
    before = source.read_bytes()
    with pytest.raises(InputError, match="is read by this command"):
        convert(source, tmp_path, "pt")
    assert source.read_bytes() == before
    convert(source, tmp_path, "mxnet")
    with pytest.raises(InputError, match="is read by this command"):
        convert(tmp_path / "m", tmp_path, "mxnet")


def test_fusing_is_exact_to_single_precision(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    folded = fused(checkpoint)
    values = {name: array.astype(np.float64) for name, array in checkpoint.parameters.items()}
    scale = values["model.1.bn.gamma"] / np.sqrt(values["model.1.bn.running_var"] + 1e-3)
    weight = values["model.1.conv.weight"] * scale[:, None, None, None]
    bias = values["model.1.bn.beta"] - values["model.1.bn.running_mean"] * scale
    assert np.array_equal(folded.parameters["model.1.conv.weight"], weight.astype("f4"))
    assert np.array_equal(folded.parameters["model.1.conv.bias"], bias.astype("f4"))


# safetensors.


def test_bare_safetensors_is_read(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(nc=80)
    save_file(arrays(checkpoint), tmp_path / "m.safetensors")
    assert same(load(tmp_path / "m.safetensors"), checkpoint)


def test_safetensors_holds_an_ultralytics_state_dict(tmp_path: Path) -> None:
    source = write_pt(tmp_path / "m.pt", state_dict(random_checkpoint()))
    convert(source, tmp_path / "out", "safetensors", fuse=False)
    found = load_file(tmp_path / "out" / "m.safetensors")
    assert found["model.24.anchors"].shape == (3, 3, 2)
    assert found["model.24.anchors"][1, 0].tolist() == [30 / 16, 61 / 16]
    assert found["model.0.bn.num_batches_tracked"].dtype == np.int64
    assert {"model.0.bn.weight", "model.0.bn.bias", "model.24.m.0.bias"} <= set(found)


def _headed(text: bytes) -> bytes:
    """The header of a safetensors file with its length before it."""
    return struct.pack("<Q", len(text)) + text


def test_damaged_safetensors_are_refused(tmp_path: Path) -> None:
    save_file(arrays(random_checkpoint()), tmp_path / "m.safetensors")
    whole = (tmp_path / "m.safetensors").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    path = tmp_path / "bad.safetensors"
    text = whole[8 : 8 + length]
    for changed in (
        whole[:-100],
        whole + b"more",
        whole[:20],
        struct.pack("<Q", 1 << 60) + whole[8:],
        whole[:8] + b"x" * length + whole[8 + length :],
        whole[:8] + text.replace(b"F32", b"F64") + whole[8 + length :],
        _headed(text.replace(b"{", b'{"__metadata__":{"a":"1"},"__metadata__":{"a":"2"},', 1))
        + whole[8 + length :],
        whole[:8] + text.replace(b"[16,3,6,6]", b"[16,3,6,7]") + whole[8 + length :],
    ):
        path.write_bytes(changed)
        with pytest.raises(InputError, match=r"bad\.safetensors"):
            load(path)


def test_damaged_description_is_refused(tmp_path: Path) -> None:
    tensors = arrays(random_checkpoint())
    deep = json.dumps(Architecture.named("n", 3).to_dict())[:-1] + ', "meta": '
    deep += '{"a": ' * 50 + "1" + "}" * 51
    twice = deep.partition(', "meta"')[0] + ', "activation": "relu"}'
    for text in ("{", "[]", json.dumps({"size": "n"}), "[" * 100_000, deep, twice):
        save_file(tensors, tmp_path / "m.safetensors", {"yolo_checkpoint": text})
        with pytest.raises(InputError, match=r"m\.safetensors"):
            load(tmp_path / "m.safetensors")


def test_half_precision_safetensors(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    half = {name: array.astype("f2") for name, array in arrays(checkpoint).items()}
    save_file(half, tmp_path / "m.safetensors")
    assert same(load(tmp_path / "m.safetensors"), checkpoint)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("model.24.proto.cv1.conv.weight", "segmentation"),
        ("model.9.linear.weight", "classification"),
        ("backbone.ERBlock_2.0.rbr_dense.conv.weight", "YOLOv6"),
        ("model.105.ia.0.implicit", "YOLOv7"),
        ("model.11.rbr_dense.0.weight", "YOLOv7"),
        ("model.22.dfl.conv.weight", "YOLOv8 or later"),
        ("backbone.backbone.stem.conv.conv.weight", "YOLOX"),
        ("backbone.stem.conv.branch_3x3.conv.weight", "YOLO-NAS"),
        ("model.28.decoder.layers.0.self_attn.in_proj_weight", "RT-DETR"),
        ("decoder.enc_score_head.weight", "RT-DETR"),
    ],
)
def test_tensors_of_other_families_and_tasks_are_named(
    tmp_path: Path, name: str, what: str
) -> None:
    tensors = {**arrays(random_checkpoint()), name: np.zeros(4, np.float32)}
    save_file(tensors, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=rf"is an? .*{what}.*\(it has {name}\)"):
        load(tmp_path / "m.safetensors")


def test_bfloat16_safetensors(tmp_path: Path) -> None:
    values = {
        name: (array.view(np.uint32) >> 16).astype("<u2")
        for name, array in arrays(random_checkpoint()).items()
    }
    whole = save(values)
    size = int.from_bytes(whole[:8], "little")
    header = whole[8 : 8 + size].replace(b'"U16"', b'"BF16"')
    content = struct.pack("<Q", len(header)) + header + whole[8 + size :]
    (tmp_path / "m.safetensors").write_bytes(content)
    first = load(tmp_path / "m.safetensors").parameters["model.0.conv.weight"]
    upper = values["model.0.conv.weight"].astype(np.uint32) << 16
    assert np.array_equal(first, upper.view(np.float32))


@pytest.mark.parametrize("dtype", ["u1", "?", "i8"])
def test_element_types_that_are_no_weights_are_refused(tmp_path: Path, dtype: str) -> None:
    tensors = arrays(random_checkpoint())
    tensors["model.3.conv.weight"] = tensors["model.3.conv.weight"].astype(dtype)
    save_file(tensors, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=r"model\.3\.conv\.weight as .*floating point"):
        load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("shape", [[0, 1 << 60, 1 << 60], [0, 1 << 62], [1] * 40, [0]])
def test_shapes_that_no_weight_has_are_refused(tmp_path: Path, shape: Any) -> None:
    size = 4 * int(0 not in shape)
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}
    header = json.dumps({"model.0.conv.weight": entry}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    with pytest.raises(InputError, match=r"model\.0\.conv\.weight of shape"):
        load(path)


# NumPy.


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_read(tmp_path: Path, save: Any) -> None:
    checkpoint = random_checkpoint()
    save(tmp_path / "m.npz", **arrays(checkpoint))
    assert same(load(tmp_path / "m.npz"), checkpoint)


@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f4", "f8"])
def test_pickled_npy_dictionary_is_read_without_unpickling(
    tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = random_checkpoint()
    values: Any = {name: array.astype(dtype) for name, array in arrays(checkpoint).items()}
    np.save(tmp_path / "m.npy", values)
    monkeypatch.setattr("pickle.load", None)
    monkeypatch.setattr("pickle.loads", None)
    assert same(load(tmp_path / "m.npy"), checkpoint)


def test_dictionaries_of_numpy_are_read_as_people_write_them(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    words: dict[str, Any] = dict(arrays(checkpoint))
    names = ["tin", "lid", "cap"]
    held: Any = {"state_dict": words, "names": names}
    np.save(tmp_path / "held.npy", held)
    nested: Any = {"run": {"best": words}, "names": np.array(names)}
    np.save(tmp_path / "nested.npy", nested)
    objects: Any = words
    np.savez(tmp_path / "object.npz", model=objects, names=np.array(names))
    np.savez(tmp_path / "names.npz", names=np.array(names), **words)
    for name in ("held.npy", "nested.npy", "object.npz", "names.npz"):
        found = load(tmp_path / name)
        assert found.architecture.names == tuple(names)
        assert all(np.array_equal(found.parameters[each], value)
                   for each, value in checkpoint.parameters.items())  # fmt: skip
    turned: dict[str, Any] = {name: np.asfortranarray(array) for name, array in words.items()}
    np.savez(tmp_path / "fortran.npz", **turned)
    pickled: Any = turned
    np.save(tmp_path / "fortran.npy", pickled)
    slashes: dict[str, Any] = {name.replace(".", "/"): each for name, each in words.items()}
    np.savez(tmp_path / "slash.npz", **slashes)
    for name in ("fortran.npz", "fortran.npy", "slash.npz"):
        assert same(load(tmp_path / name), checkpoint)
    several: Any = {"student": words, "teacher": words}
    np.save(tmp_path / "several.npy", several)
    with pytest.raises(InputError, match=r"several.npy: holds several models: student, teacher"):
        load(tmp_path / "several.npy")


@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8"])
def test_lists_in_the_order_of_a_state_dict(tmp_path: Path, dtype: str) -> None:
    checkpoint = random_checkpoint()
    convolutions = sorted(
        checkpoint.architecture.convolutions(),
        key=lambda conv: [(int(p), "") if p.isdigit() else (-1, p) for p in conv.name.split(".")],
    )
    parts = ("gamma", "beta", "running_mean", "running_var")
    names = [
        name
        for conv in convolutions
        for name in (
            f"{conv.name}.weight",
            f"{conv.name}.bias",
            *(f"{conv.batch_norm}.{part}" for part in parts),
        )
        if name in checkpoint.parameters
    ]
    values = [checkpoint.parameters[name].astype(dtype) for name in names]
    listed: Any = np.empty(len(values) + 1, object)
    listed[:-1], listed[-1] = values, np.array(7)
    np.save(tmp_path / "m.npy", listed)
    assert same(load(tmp_path / "m.npy"), checkpoint)


def test_mxnet_words_are_understood_in_dictionaries(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    parameters: dict[str, Any] = dict(checkpoint.parameters)
    np.savez(tmp_path / "m.npz", **parameters)
    assert same(load(tmp_path / "m.npz"), checkpoint)
    assert read(tmp_path / "m.npz").anchors is None


class _Evil:
    def __reduce__(self) -> Any:
        import os

        return os.system, ("true",)


def test_hostile_numpy_files_are_refused(tmp_path: Path) -> None:
    evil: Any = {"model.0.conv.weight": _Evil()}
    np.save(tmp_path / "code.npy", evil)
    np.save(tmp_path / "array.npy", np.zeros(5))
    np.save(tmp_path / "list.npy", np.array([{"a": 1}], object))
    np.savez(tmp_path / "object.npz", a=np.array({"x": 1}, object))
    np.savez(tmp_path / "text.npz", a=np.array(["words"]))
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(100_000_000, "f4"))
    whole = (tmp_path / "bomb.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.npy").write_bytes((tmp_path / "code.npy").read_bytes()[:100])
    (tmp_path / "header.npy").write_bytes(b"\x93NUMPY\x01\x00\x76\x00{'descr'" + b"(" * 118)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (549755813888,), }"
    with zipfile.ZipFile(tmp_path / "liar.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    empty: Any = {"model.0.conv.weight": np.zeros((0, 5, 7), "f4")}
    np.save(tmp_path / "empty.npy", empty)
    pickled = (tmp_path / "empty.npy").read_bytes()
    vast = b"\x8a\x08" + struct.pack("<q", 1 << 60)
    pickled = pickled.replace(b"K\x00K\x05K\x07\x87", b"K\x00" + vast * 2 + b"\x87")
    (tmp_path / "empty.npy").write_bytes(pickled)
    plain = (tmp_path / "array.npy").read_bytes()
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        archive.writestr("a.npy", plain)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", plain)
    np.savez_compressed(tmp_path / "many.npz", *[np.zeros(250_000)] * 500)
    np.savez_compressed(tmp_path / "noise.npz", a=np.arange(999.0))
    packed = bytearray((tmp_path / "noise.npz").read_bytes())
    packed[200:400] = bytes(200)
    (tmp_path / "noise.npz").write_bytes(packed)
    with zipfile.ZipFile(tmp_path / "lzma.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", plain)
    for name, cause in {
        "code.npy": "system.*allow-list", "array.npy": "one array", "list.npy": "not one of arrays",
        "object.npz": "no dictionary", "text.npz": "no dictionary", "bomb.npz": "zip bomb",
        "cut.npz": "damaged", "cut.npy": "", "header.npy": "header", "liar.npz": "bytes",
        "twice.npz": "one .npy", "many.npz": "zip bomb", "noise.npz": "damaged",
        "lzma.npz": "unusual way", "empty.npy": "of shape",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=rf"{name}.*{cause}"):
            load(tmp_path / name)
