"""`.pt` files that want something: refused in one line, and nothing of them runs."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from port_samples import (
    dump_pickle,
    module,
    random_checkpoint,
    state_dict,
    training_checkpoint,
    ultralytics_model,
    write_archive,
    write_pt,
)

from yolo_core.errors import InputError
from yolo_port.pickle_machine import read_pickle
from yolo_port.readers import load


def _archive(tmp_path: Path, data: bytes, storages: Any = ()) -> Any:
    return write_archive(tmp_path / "evil.pt", data, list(storages))


class _Exploit:
    """Runs a command when it is unpickled by Python."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_code_does_not_run_and_its_global_is_named(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    data = pickle.dumps({"model": _Exploit(f"touch {marker}")}, protocol)
    with pytest.raises(InputError, match=rf"{os.system.__module__}\.system.*allow-list"):
        load(_archive(tmp_path, data))
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        b"builtins\neval", b"builtins\n__import__", b"torch\nload",
        b"torch\nhub", b"numpy\nload", b"collections\nOrderedDict.__reduce__", b"models.yolo\nos",
        b"torch._utils\n_rebuild_tensor", b"torch.storage\n_load_from_bytes",
        b"numpy.testing._private.utils\nrunstring", b"__main__\nModel",
    ],
)  # fmt: skip
def test_globals_off_the_list_are_refused(tmp_path: Path, name: bytes) -> None:
    data = b"\x80\x02c" + name + b"\n(X\x01\x00\x00\x001tR."
    dotted = name.replace(b"\n", b".").decode()
    with pytest.raises(InputError) as error:
        load(_archive(tmp_path, data))
    assert dotted in str(error.value)


@pytest.mark.parametrize(
    "data",
    [
        b"(S'ls'\nios\nsystem\n.", b"\x80\x02(X\x02\0\0\0lsios\nsystem\n.",
        b"\x80\x02(cos\nsystem\nX\x02\0\0\0lso.", b"\x80\x04cos\nsystem\n)}\x92.",
        b"\x80\x04I1\n0\x8c\x02os\x8c\x06system\x93X\x02\0\0\0ls\x85R.",
        b"I1\n.cos\nsystem\n(S'ls'\ntR.",
    ],
)  # fmt: skip
@pytest.mark.parametrize("bare", [False, True])
def test_the_global_behind_other_opcodes_is_named_too(
    tmp_path: Path, data: bytes, bare: bool
) -> None:
    (tmp_path / "bare.pt").write_bytes(data)
    with pytest.raises(InputError, match=r"os\.system.*allow-list"):
        load(tmp_path / "bare.pt" if bare else _archive(tmp_path, data))


def test_the_global_in_a_file_of_before_1_6_is_named(tmp_path: Path) -> None:
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    (tmp_path / "old.pt").write_bytes(magic + pickle.dumps(1001, 2) + b"\x80\x02cos\nsystem\n.")
    with pytest.raises(InputError, match=r"os\.system.*allow-list"):
        load(tmp_path / "old.pt")


def test_opcodes_off_the_list_are_named(tmp_path: Path) -> None:
    for data, name in ((b"\x80\x02\x82\x01.", "EXT1"), (b"\x80\x02Px\n.", "PERSID")):
        with pytest.raises(InputError, match=f"opcode {name}"):
            load(_archive(tmp_path, data))


def test_getattr_is_admitted_for_the_method_of_a_fused_model_alone(tmp_path: Path) -> None:
    data = b"\x80\x02cbuiltins\ngetattr\ncbuiltins\nlist\nX\x06\x00\x00\x00appendq\x00\x86R."
    with pytest.raises(InputError, match="getattr for more"):
        load(_archive(tmp_path, data))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("models.yolo.SegmentationModel", "segmentation"),
        ("models.yolo.ClassificationModel", "classification"),
        ("ultralytics.nn.tasks.DetectionModel", "YOLOv8 or later"),
        ("ultralytics.nn.tasks.YOLOv10DetectionModel", "YOLOv10"),
        ("ultralytics.nn.tasks.RTDETRDetectionModel", "RT-DETR"),
        ("super_gradients.training.models.CustomizableDetector", "YOLO-NAS"),
        ("models.yolo.IDetect", "YOLOv7"),
        ("models.common.MP", "YOLOv7"),
        ("models.common.RepNCSPELAN4", "YOLOv9"),
        ("yolov6.models.yolo.Model", "YOLOv6"),
        ("yolox.models.yolox.YOLOX", "YOLOX"),
        ("models.common.Sum", "variant"),
    ],
)
def test_other_families_and_tasks_are_named(tmp_path: Path, name: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        load(write_pt(tmp_path / "m.pt", training_checkpoint(module(name))))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x80\x02", b"\x80\x02}", b"\x80\x02.", b"\x80\x02(.", b"\x80\x02}}.", b"\x80\x07}.",
        b"cos\nsystem\n(S'ls'\ntR.", b"\x80\x02ios\nsystem\n.", b"\x80\x02\x82\x01.",
        b"\x80\x02h\x05.",
        b"\x80\x02K\x01K\x02R.", b"\x80\x02}K\x01b.", b"\x80\x02K\x01a.", b"\x80\x02}]K\x01s.",
        b"\x80\x02}}}s.", b"\x80\x02t.", b"\x80\x02X\xff\xff\xff\xff.", b"\x80\x02X\x01\0\0\0\xff.",
        b"\x80\x02\x8a\xff" + b"\x01" * 255 + b".", b"\x80\x02K\x01K\x01\x93.", b"\x80\x02cos",
        b"\x80\x04\x96" + struct.pack("<Q", 1 << 62) + b".", b"\x80\x02}q\x00Q.", b"\x80\x02}.more",
    ],
)  # fmt: skip
def test_malformed_pickles_are_refused(tmp_path: Path, data: Any) -> None:
    with pytest.raises(InputError):
        load(_archive(tmp_path, data))


def test_every_truncation_of_a_pickle_is_refused(tmp_path: Path) -> None:
    data, _ = dump_pickle(training_checkpoint(module("models.yolo.Model", names=["a"])))
    for end in range(len(data)):
        with pytest.raises(InputError):
            read_pickle(data[:end], "cut", lambda reference: True)


def test_nested_and_self_containing_values_end(tmp_path: Path) -> None:
    deep = b"\x80\x02" + b"]" * 140_000 + b"a" * 139_999 + b"."
    with pytest.raises(InputError, match="neither a model"):
        load(_archive(tmp_path, deep))
    endless = module("models.yolo.Model")
    endless._modules["again"] = endless
    with pytest.raises(InputError, match="too deep"):
        load(write_pt(tmp_path / "endless.pt", endless))
    layer = module("models.common.Conv")
    for _ in range(10):  # shared modules that unfold to 20 to the power of 10
        layer = module("models.common.Conv", {str(index): layer for index in range(20)})
    with pytest.raises(InputError, match="too many modules"):
        load(write_pt(tmp_path / "wide.pt", module("models.yolo.Model", {"0": layer})))


def test_too_many_opcodes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="opcodes"):
        load(_archive(tmp_path, b"\x80\x02" + b"N0" * 200_000 + b"N."))


# The container.


def test_truncated_archives_are_refused(tmp_path: Path) -> None:
    whole = write_pt(tmp_path / "m.pt", state_dict(random_checkpoint())).read_bytes()
    path = tmp_path / "cut.pt"
    for share in (0.0, 0.01, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=r"cut\.pt"):
            load(path)


def test_flipped_weight_bits_are_found(tmp_path: Path) -> None:
    path = write_pt(tmp_path / "m.pt", state_dict(random_checkpoint()))
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match="damaged"):
        load(path)


def test_compressed_entries_are_refused_as_bombs(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "bomb.pt", b"\x80\x02}.", [np.zeros(10_000_000, "f4")],
                         compression=zipfile.ZIP_DEFLATED)  # fmt: skip
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match="zip bomb"):
        load(path)


def test_entries_inside_one_another_are_refused(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "m.pt", b"\x80\x02}.", [np.zeros(1000, "f4")] * 2)
    data = path.read_bytes()
    first, second = data.find(b"archive/data/0"), data.rfind(b"archive/data/1")
    offset_of_first = struct.pack("<I", first - 30)
    changed = bytearray(data)
    changed[second - 4 : second] = offset_of_first  # the central record of the second entry
    path.write_bytes(changed)
    with pytest.raises(InputError, match="inside another"):
        load(path)


def test_a_directory_of_a_million_entries_is_not_even_listed(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "m.pt", b"\x80\x02}.", [])
    data = bytearray(path.read_bytes())
    data[-10:-6] = struct.pack("<I", 60_000_000)  # the size of the directory in the end record
    path.write_bytes(data)
    with pytest.raises(InputError, match="directory of 60000000 bytes"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(20_001):
            archive.writestr(f"a/{index}", b"")
    with pytest.raises(InputError, match="20000 zip entries"):
        load(path)


def test_other_zips_are_refused(tmp_path: Path) -> None:
    for name, entries in {
        "empty.zip": {},
        "flat.zip": {"data.pkl": b"\x80\x02}."},
        "two.zip": {"a/data.pkl": b"\x80\x02}.", "b/version": b"3"},
        "other.zip": {"a/readme.txt": b"hello"},
        "big.pt": {"a/data.pkl": b"\x80\x02}.", "a/byteorder": b"big"},
    }.items():
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            for entry, content in entries.items():
                archive.writestr(entry, content)
        with pytest.raises(InputError, match=name):
            load(path)


@pytest.mark.parametrize(
    "name", ["archive/../../evil", "../archive/0", "/archive/0", "archive//0", "archive\\..\\0"]
)
def test_paths_that_lead_away_are_refused(tmp_path: Path, name: str) -> None:
    path = write_pt(tmp_path / "m.pt", state_dict(random_checkpoint()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(InputError, match="leads away"):
        load(path)


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name, content in {
        "empty.pt": b"", "text.pt": b"not a checkpoint\n", "zeros.pt": bytes(5000),
        "magic.pt": b"PK\x03\x04", "legacy.pt": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"rest",
    }.items():  # fmt: skip
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=name):
            load(path)
    for name in ("folder", "missing.pt"):
        with pytest.raises(InputError, match=name):
            load(tmp_path / name)


# Tensors.


def _tensor_pickle(storage: bytes = b"HalfStorage", count: int = 4, offset: int = 0,
                   shape: Any = (2, 2), strides: Any = (2, 1)) -> bytes:  # fmt: skip
    def number(value: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", value)

    def numbers(values: Any) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    return (
        b"\x80\x02}X\x13\x00\x00\x00model.0.conv.weightctorch._utils\n_rebuild_tensor_v2\n(("
        b"X\x07\x00\x00\x00storagectorch\n" + storage + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + number(count) + b"tQ" + number(offset) + numbers(shape) + numbers(strides)
        + b"\x89}tRs."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"count": 5}, "storage"),
        ({"count": 1 << 39}, "storage"),
        ({"storage": b"FloatStorage"}, "storage"),
        ({"offset": 1}, "outside"),
        ({"shape": (3, 2)}, "outside"),
        ({"shape": (1 << 38, 1 << 38), "strides": (0, 0)}, "outside"),
        ({"shape": (4, 4), "strides": (0, 1)}, "outside"),
        ({"strides": (-1, 1)}, "not sizes"),
        ({"shape": (-2, 2)}, "not sizes"),
        ({"shape": (2, 2, 1)}, "strides"),
        ({"shape": (1,) * 9, "strides": (1,) * 9}, "sizes"),
        ({"shape": (0, 1 << 39, 1 << 39), "strides": (1, 1, 1)}, "not sizes"),
        ({"offset": -1}, "not sizes"),
    ],
)
def test_sizes_that_disagree_with_the_storage_are_refused(
    tmp_path: Path, changes: Any, cause: str
) -> None:
    path = _archive(tmp_path, _tensor_pickle(**changes), [np.ones(4, "f2")])
    with pytest.raises(InputError, match=cause):
        load(path)


def test_missing_storage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks the storage"):
        load(_archive(tmp_path, _tensor_pickle()))


def test_many_tensors_of_one_storage_are_refused(tmp_path: Path) -> None:
    values = state_dict(random_checkpoint())
    big = values["model.8.cv3.conv.weight"]
    data, storages = dump_pickle(OrderedDict((f"t{index}", big) for index in range(300)))
    # Every tensor got its own storage number; point them all at the first.
    path = tmp_path / "m.pt"
    for index in range(1, len(storages)):
        text = str(index).encode()
        data = data.replace(b"X" + struct.pack("<I", len(text)) + text + b"q", b"X\x01\0\0\x000q")
    write_archive(path, data, storages[:1])
    with pytest.raises(InputError, match="too many tensors"):
        load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: Any) -> None:
    checkpoint = random_checkpoint()
    checkpoint.parameters["model.4.cv1.conv.weight"][0, 0, 0, 0] = value
    path = write_pt(tmp_path / "m.pt", ultralytics_model(checkpoint))
    with pytest.raises(InputError, match=r"model\.4\.cv1\.conv\.weight that is not finite"):
        load(path)


def test_values_beyond_single_precision_are_refused(tmp_path: Path) -> None:
    values = state_dict(random_checkpoint(), "float64")
    values["model.0.conv.weight"].array[0] = 1e300
    with pytest.raises(InputError, match="not finite"):
        load(write_pt(tmp_path / "m.pt", values))


def test_negative_variance_is_refused(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    checkpoint.parameters["model.0.bn.running_var"][0] = -1
    with pytest.raises(InputError, match="negative variance"):
        load(write_pt(tmp_path / "m.pt", ultralytics_model(checkpoint)))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda v: v.update({"model.0.conv.weight": v["model.3.conv.weight"]}), "32 input"),
        (lambda v: v.pop("model.0.conv.weight"), "no layout"),
        (lambda v: v.pop("model.9.cv1.bn.bias"), "lacks model.9.cv1.bn.beta"),
        (lambda v: v.update({"model.25.conv.weight": v["model.1.conv.weight"]}), "no layout"),
        (lambda v: v.update({"model.3.conv.weight": v["model.1.conv.weight"]}), "shape"),
        (lambda v: v.update({"model.24.m.3.weight": v["model.24.m.0.weight"]}), "no layout"),
        (lambda v: v.update({"model.24.m.0.weight": v["model.0.bn.weight"]}), "shape"),
        (lambda v: v.update({"model.24.anchors": v["model.0.bn.weight"]}), "anchors"),
        (lambda v: v.update({"model.model.0.conv.weight": v["model.1.conv.weight"]}), "two"),
    ],
)
def test_tensors_that_fit_no_yolov5_are_refused(
    tmp_path: Path, change: Callable[..., Any], cause: str
) -> None:
    values = state_dict(random_checkpoint())
    change(values)
    with pytest.raises(InputError, match=cause):
        load(write_pt(tmp_path / "m.pt", values))


def test_notes_do_not_reach_the_terminal_as_control_characters(
    tmp_path: Path, run: Callable[..., Result]
) -> None:
    saved = training_checkpoint(ultralytics_model(random_checkpoint()))
    path = write_pt(tmp_path / "m.pt", {**saved, "date": "\x1b[2Jtoday"})
    assert "\\x1b[2Jtoday" in run("inspect", path).output
    write_pt(path, {**saved, "date": "\ud800"})
    with pytest.raises(InputError, match="notes"):
        load(path)


def test_class_names_that_do_not_count_are_refused(tmp_path: Path) -> None:
    model = ultralytics_model(random_checkpoint(nc=3))
    for names, cause in (
        (["a", "b"], "2 class names"),
        ({0: "a", 2: "b", 3: "c"}, "gaps"),
        (["a", "b", ["c"]], "not text"),
        ("abc", "1 class names"),
        (["a", "b", "\x1b[2J"], "control characters"),
        (["a", "b", "\ud800"], "control characters"),
    ):
        model.names = names
        with pytest.raises(InputError, match=cause):
            load(write_pt(tmp_path / "m.pt", model))
