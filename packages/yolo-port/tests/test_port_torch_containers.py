"""Containers of `.pt` files beside today's zip, and tensors that share or decorate storages."""

from __future__ import annotations

import pickle
import zipfile
from collections import ChainMap, UserDict, UserList, deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from port_samples import (
    arrays,
    dump_pickle,
    empty_tensor,
    random_checkpoint,
    same,
    stand_in,
    state_dict,
    training_checkpoint,
    ultralytics_model,
    write_archive,
    write_pt,
)
from safetensors.numpy import save_file

from yolo_core.errors import InputError
from yolo_port.matching import assumptions, fused
from yolo_port.oracle import Oracle
from yolo_port.readers import load
from yolo_port.source import Answers

#: What `torch.save` writes first without its zip: a number that no other program begins with.
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


def write_legacy(path: Path, cut: int = 0, version: int = 1001) -> Path:
    """A model in the layout of before PyTorch 1.6; `cut` bytes are missing at its end."""
    value = training_checkpoint(ultralytics_model(random_checkpoint()))
    content, storages = dump_pickle({**value, "optimizer": empty_tensor()})
    keys = [str(index) for index in range(len(storages))]
    parts = [pickle.dumps(each, 2) for each in (_MAGIC_NUMBER, version, {"little_endian": True})]
    parts += [content, pickle.dumps(keys, 2)]
    parts += [array.size.to_bytes(8, "little") + array.tobytes() for array in storages]
    whole = b"".join(parts)
    path.write_bytes(whole[: len(whole) - cut])
    return path


def test_the_layout_of_before_the_zip_is_read(tmp_path: Path) -> None:
    assert same(load(write_legacy(tmp_path / "m.pt")), random_checkpoint())


def test_what_is_cut_off_of_it_is_missed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no complete storage"):
        load(write_legacy(tmp_path / "m.pt", cut=1000))
    with pytest.raises(InputError, match="has layout 7"):
        load(write_legacy(tmp_path / "m.pt", version=7))


def test_big_endian_storages_are_turned(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    content, storages = dump_pickle(training_checkpoint(ultralytics_model(checkpoint)))
    turned = [array.byteswap() for array in storages]
    path = write_archive(tmp_path / "m.pt", content, turned, {"byteorder": b"big"})
    assert same(load(path), checkpoint)
    path = write_archive(tmp_path / "m.pt", content, turned, {"byteorder": b"middle"})
    with pytest.raises(InputError, match="byte order"):
        load(path)


def test_a_zip_that_was_packed_again_is_read(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    saved = training_checkpoint(ultralytics_model(checkpoint))
    path = write_pt(tmp_path / "m.pt", saved, compression=zipfile.ZIP_DEFLATED)
    assert same(load(path), checkpoint)


class _View:
    """A tensor that is a part of a longer storage, as PyTorch pickles one."""

    def __init__(self, whole: object, start: int, shape: tuple[int, ...]) -> None:
        strides = tuple(int(np.prod(shape[at + 1 :])) for at in range(len(shape)))
        self.record: tuple[object, ...] = (whole, start, shape, strides, False, {})

    def __reduce__(self) -> tuple[object, ...]:
        plain = stand_in("torch._utils", "_rebuild_tensor_v2")
        attributes = stand_in("torch._tensor", "_rebuild_from_type_v2")
        return attributes, (plain, stand_in("torch", "Tensor"), self.record, {"mine": 1})


def test_views_of_one_storage_and_tensors_with_attributes(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    arrays = {name: tensor.array for name, tensor in state_dict(checkpoint).items()
              if tensor.array.dtype.kind == "f"}  # fmt: skip
    kind = type(next(iter(state_dict(checkpoint).values())).__reduce__()[1][0])
    flat = np.concatenate([array.astype(np.float32).ravel() for array in arrays.values()])
    whole, start = kind(flat), 0
    values: dict[str, _View] = {}
    for name, array in arrays.items():
        values[name] = _View(whole, start, array.shape)
        start += array.size
    content, storages = dump_pickle(values)
    assert len(storages) == 1
    found = load(write_archive(tmp_path / "m.pt", content, storages))
    assert all(
        np.array_equal(found.parameters[name], checkpoint.parameters[name])
        for name in checkpoint.parameters
    )


def test_networks_that_are_partly_folded_compute_the_same(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    tensors = {name: tensor.array for name, tensor in state_dict(checkpoint).items()}
    folded = fused(checkpoint).parameters
    for part in ("weight", "bias", "running_mean", "running_var"):
        del tensors[f"model.0.bn.{part}"]
    tensors["model.0.conv.weight"] = folded["model.0.conv.weight"]
    tensors["model.0.conv.bias"] = folded["model.0.conv.bias"]
    # A convolution with a bias and a normalisation behind it.
    bias = np.linspace(-1, 1, len(tensors["model.1.bn.running_mean"]), dtype=np.float32)
    tensors["model.1.conv.bias"] = bias
    tensors["model.1.bn.running_mean"] = tensors["model.1.bn.running_mean"] + bias
    np.savez(tmp_path / "m.npz", **tensors)
    found = load(tmp_path / "m.npz")
    assert not found.fused
    image = np.random.default_rng(0).random((3, 64, 64))
    for ours, theirs in zip(Oracle(found).run(image)[1], Oracle(checkpoint).run(image)[1]):
        assert np.abs(ours - theirs).max() < 1e-4


def test_names_that_cannot_be_used_are_replaced_by_the_users(tmp_path: Path) -> None:
    model = ultralytics_model(random_checkpoint())
    for names in ({"0": "a", "1": "b", "2": "c"}, ["a\r", " b", "c\n"]):
        model.names = names
        assert load(write_pt(tmp_path / "m.pt", model)).architecture.names == ("a", "b", "c")
    model.names = ["a", "b", "c", "d"]
    with pytest.raises(InputError, match=r"has 4 class names; expected 3, .* or --names DATA.yaml"):
        load(write_pt(tmp_path / "m.pt", model))
    for unusable in ({0: "a", 5: "b"}, "abc", ["a\tb", "c", "d"], ["a", "b", "c", "d"]):
        model.names = unusable
        path = write_pt(tmp_path / "m.pt", model)
        with pytest.raises(InputError, match="class names"):
            load(path)
        answers = Answers(names=("x", "y", "z"))
        assert load(path, answers).architecture.names == ("x", "y", "z")


def test_holders_and_prefixes_that_people_write(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    words, model = state_dict(checkpoint), ultralytics_model(checkpoint)
    for key in ("module", "params", "network", "model_ema"):
        assert load(write_pt(tmp_path / "m.pt", {key: words})).architecture.nc == 3
    around = stand_in("torch.nn.modules.container", "Sequential")()
    around.__dict__["_modules"] = {"0": model}
    averaged = stand_in("torch.optim.swa_utils", "AveragedModel")()
    averaged.__dict__["_modules"] = {"module": model}
    for held in ({"ckpt": {"model": model}}, [model], around, {"model": averaged}):
        assert same(load(write_pt(tmp_path / "m.pt", held)), checkpoint)
    for held in (
        {"checkpoint": {"state_dict": words}},
        {f"net.model.{name}": value for name, value in words.items()},
        {name[len("model.") :]: value for name, value in words.items()},
    ):
        assert load(write_pt(tmp_path / "m.pt", held)).architecture.nc == 3
    deep = {"run": {"checkpoint": {"model": {"state_dict": words}}}, "optimizer": {"state": words}}
    plain: dict[str, Any] = dict(arrays(checkpoint))
    for held in (deep, {"mine": words}, {"mine": model}, list(words.items()), plain,
                 {"state_dict": plain}, model.__dict__["_modules"]["model"]):  # fmt: skip
        assert load(write_pt(tmp_path / "m.pt", held)).architecture.nc == 3
    several = {"student": words, "teacher": dict(words)}
    with pytest.raises(InputError, match=r"holds several models: student, teacher"):
        load(write_pt(tmp_path / "m.pt", several))
    (count,) = [value for name, value in words.items() if name == "model.24.m.0.bias"]
    prefixed = {f"module.{name}": value for name, value in words.items()}
    path = write_pt(tmp_path / "m.pt", {"n_averaged": count, **prefixed})
    assert load(path).architecture.nc == 3


def test_activations_of_the_repository_are_read_or_named(tmp_path: Path) -> None:
    for name, word in (
        ("models.common.Swish", "silu"),
        ("utils.activations.Hardswish", "hardswish"),
        ("utils.activations.MemoryEfficientMish", "mish"),
    ):
        model = ultralytics_model(random_checkpoint())
        _replace_activations(model, stand_in(*name.rsplit(".", 1)))
        assert load(write_pt(tmp_path / "m.pt", model)).architecture.activation == word
    _replace_activations(model, stand_in("utils.activations", "FReLU"))
    with pytest.raises(InputError, match="has the activation FReLU in"):
        load(write_pt(tmp_path / "m.pt", model))


def _replace_activations(module: Any, kind: type) -> None:
    children = module.__dict__["_modules"]
    for name, child in children.items():
        if name == "act":
            children[name] = kind()
            children[name].__dict__["_modules"] = {}
        else:
            _replace_activations(child, kind)


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        ("torch._dynamo.eval_frame", "OptimizeContext", r"torch.compile.*_orig_mod"),
        ("torch._utils", "_rebuild_sparse_tensor", r"sparse.*to_dense"),
    ],
)
def test_what_torch_wraps_gets_the_remedy(
    tmp_path: Path, module: str, name: str, words: str
) -> None:
    named = b"\x80\x02c" + f"{module}\n{name}\n.".encode()
    with pytest.raises(InputError, match=words):
        load(write_archive(tmp_path / "m.pt", named, []))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"\x1f\x8b\x08\0", "gunzip"),
        (b"BZh91AY", "bunzip2"),
        (bytes(257) + b"ustar\x0000", "tar -xf"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"<?xml version='1.0'?><net name='m'>", "OpenVINO"),
    ],
)
def test_files_in_a_models_place_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(InputError, match=words):
        load(tmp_path / "m.pt")


def test_a_model_inside_of_something_is_told(tmp_path: Path) -> None:
    inner = write_pt(tmp_path / "best.pt", {"model": ultralytics_model(random_checkpoint())})
    with zipfile.ZipFile(tmp_path / "sent.zip", "w") as archive:
        archive.write(inner, "weights/best.pt")
        archive.writestr("__MACOSX/weights/._best.pt", b"")
    with pytest.raises(InputError, match=r"sent.zip: is a zip archive of weights/best.pt; .*unzip"):
        load(tmp_path / "sent.zip")
    with zipfile.ZipFile(inner, "a") as archive:
        archive.writestr("__MACOSX/archive/._data.pkl", b"")
    assert same(load(inner), random_checkpoint())
    with pytest.raises(InputError, match=r"is a folder; expected one file: best.pt"):
        load(tmp_path)
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("m/archive_format", b"pt2")
        archive.writestr("m/data/weights/weight_0", bytes(64))
    with pytest.raises(InputError, match=r"m.pt2: is a program of torch.export.*ONNX"):
        load(tmp_path / "m.pt2")
    (tmp_path / "m.yaml").write_text("nc: 3")
    with pytest.raises(InputError, match=r"m.yaml: is a description.*--cfg"):
        load(tmp_path / "m.yaml")


@pytest.mark.parametrize(
    ("ending", "words"),
    [("_g", "remove_weight_norm"), ("_u", "remove_spectral_norm")],
)
def test_rewritten_weights_get_the_remedy(tmp_path: Path, ending: str, words: str) -> None:
    values = state_dict(random_checkpoint())
    values[f"model.0.conv.weight{ending}"] = values["model.0.bn.bias"]
    with pytest.raises(InputError, match=words):
        load(write_pt(tmp_path / "m.pt", values))
    model = ultralytics_model(random_checkpoint())
    model.quant = stand_in("torch.ao.quantization.stubs", "QuantStub")()
    with pytest.raises(InputError, match="the float model"):
        load(write_pt(tmp_path / "m.pt", model))


def test_names_that_lie_beside_a_state_dict_are_used(tmp_path: Path) -> None:
    words = state_dict(random_checkpoint())
    listed, names = ["a", "b", "c"], ("a", "b", "c")
    for beside in (
        {"class_names": listed},
        {"classes": {"0": "a", "1": "b", "2": "c"}},
        {"classes": 3, "meta": {"CLASSES": tuple(listed)}},
        {"names": '["a", "b", "c"]'},
    ):
        path = write_pt(tmp_path / "m.pt", {"state_dict": words, **beside})
        assert load(path).architecture.names == names
    unusable = write_pt(tmp_path / "m.pt", {"state_dict": words, "classes": {0: "a", 7: "b"}})
    with pytest.raises(InputError, match="gaps"):
        load(unusable)
    assert load(unusable, Answers(names=names)).architecture.names == names
    for text in ('{"0": "a", "1": "x", "2": "c", "1": "b"}', "{0: 'a', 1: 'x', 2: 'c', 1: 'b'}"):
        with pytest.raises(InputError, match=r"has the key 1 twice|two class names alike"):
            load(write_pt(tmp_path / "m.pt", {"state_dict": words, "names": text}))
    with pytest.raises(InputError, match="gaps"):
        load(write_pt(tmp_path / "m.pt", {"state_dict": words, "names": {"0": "a", "00": "b"}}))
    values = {name: each.array for name, each in words.items()}
    for text in ('{"0": "a", "1": "b", "2": "c"}', "{0: 'a', 1: 'b', 2: 'c'}", '["a","b","c"]'):
        save_file(values, tmp_path / "m.safetensors", metadata={"names": text})
        assert load(tmp_path / "m.safetensors").architecture.names == names


def test_other_dictionaries_and_what_training_scripts_keep_beside_a_model(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    words, model = state_dict(checkpoint), ultralytics_model(checkpoint)
    easy = stand_in("easydict", "EasyDict")()
    easy.lr = 0.1
    beside = {
        "args": UserDict(a=1), "seen": deque([1, 2]), "config": easy,
        "sizes": {(640, 640): 1}, "layers": ChainMap({"a": 1}, {"b": 2}), "list": UserList([1]),
    }  # fmt: skip
    for held in ({"model": model, **beside}, UserDict(model=model), ChainMap({"model": model}),
                 UserList([{"model": model}])):  # fmt: skip
        assert same(load(write_pt(tmp_path / "m.pt", held)), checkpoint)
    for held in (UserDict(words), {"state_dict": UserDict(words)}):
        assert load(write_pt(tmp_path / "m.pt", held)).architecture.nc == 3
    model.names = UserDict({0: "a", 1: "b", 2: "c"})
    assert load(write_pt(tmp_path / "m.pt", model)).architecture.names == ("a", "b", "c")
    endless: UserDict[str, Any] = UserDict()
    endless.data = endless  # type: ignore[assignment]
    with pytest.raises(InputError, match="holds neither a model nor a dictionary"):
        load(write_pt(tmp_path / "m.pt", endless))


def test_normalisations_without_scale_or_offset(tmp_path: Path) -> None:
    whole = random_checkpoint()
    parameters = {
        name: np.full_like(array, name.endswith(".gamma"))
        if name.endswith((".gamma", ".beta")) else array
        for name, array in whole.parameters.items()
    }  # fmt: skip
    wanted = replace(whole, parameters=parameters)
    model = ultralytics_model(wanted)
    _drop_affine(model)
    assert same(load(write_pt(tmp_path / "m.pt", model)), wanted)
    words = state_dict(wanted)
    bare = {name: each for name, each in words.items()
            if ".bn." not in name or not name.endswith((".weight", ".bias"))}  # fmt: skip
    found = load(write_pt(tmp_path / "m.pt", bare))
    assert all(map(np.array_equal, found.parameters.values(), wanted.parameters.values()))
    assert any("weight 1 of every batch norm" in line for line in assumptions(found))
    some = ("model.0.bn", "model.4.cv1.bn", "model.23.cv3.bn")
    for parts in (("weight", "bias"), ("bias",)):
        lean = {f"{stem}.{part}" for stem in some for part in parts}
        left = {name: each for name, each in words.items() if name not in lean}
        found = load(write_pt(tmp_path / "m.pt", left))
        assert all(map(np.array_equal, found.parameters.values(), wanted.parameters.values()))
        assert any("bias 0 of 3 batch norm" in line for line in assumptions(found))
    counted = {
        **words,
        "total_ops": words["model.0.bn.bias"],
        "model.0.total_params": words["model.0.bn.bias"],
    }
    assert load(write_pt(tmp_path / "m.pt", counted)).architecture.nc == 3  # a profiler was here
    del words["model.3.bn.weight"]  # one alone is a damage
    with pytest.raises(InputError, match=r"lacks model.3.bn.gamma"):
        load(write_pt(tmp_path / "m.pt", words))


def _drop_affine(module: Any) -> None:
    for name, child in module.__dict__["_modules"].items():
        if name == "bn":
            child.__dict__["_parameters"].update(weight=None, bias=None)
        elif child is not None:
            _drop_affine(child)
