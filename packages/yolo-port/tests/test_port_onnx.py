"""ONNX: what leaves decodes as YOLOv5 does, and only a YOLOv5 comes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from port_samples import random_checkpoint, same

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.yolo.architecture import Architecture
from yolo_port.matching import fused
from yolo_port.oracle import Oracle
from yolo_port.readers import load, read
from yolo_port.writers.onnx_file import write_onnx

onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")


@pytest.fixture
def exported(tmp_path: Path) -> Any:
    """A fused checkpoint and the ModelProto of its export."""
    checkpoint = fused(random_checkpoint())
    (path,) = write_onnx(tmp_path / "m", checkpoint)
    return checkpoint, onnx.load(path)


def _end_at_heads(model: Any) -> None:
    """Take the decoding of boxes off a graph."""
    last = max(i for i, node in enumerate(model.graph.node) if node.op_type == "Conv")
    kept = [
        node
        for node in model.graph.node[: last + 1]
        if node.op_type in ("Conv", "Sigmoid", "Mul", "Add", "Concat", "MaxPool", "Resize")
        and not node.output[0].startswith(("p3.", "p4.", "p5.", "rows"))
    ]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.output[0].name = "p3"


def _save(model: Any, tmp_path: Path) -> Any:
    path = tmp_path / "changed.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_opset_input_and_output(exported: Any) -> None:
    _, model = exported
    assert [entry.version for entry in model.opset_import] == [17]
    assert [value.name for value in model.graph.input] == ["images"]
    assert [value.name for value in model.graph.output] == ["output0"]
    names = {entry.key: entry.value for entry in model.metadata_props}["names"]
    assert names == "{0: 'class0', 1: 'class1', 2: 'class2'}"


def test_decoded_rows_of_any_batch_and_size(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    anchors = tuple(
        tuple((9.0 * stride + level, 5.0 * stride) for level in range(3)) for stride in (1, 2, 4)
    )
    architecture = Architecture.named("n", 3, anchors=anchors)
    checkpoint = replace(random_checkpoint(), architecture=architecture)
    (path,) = write_onnx(tmp_path / "m", checkpoint)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random((2, 3, 64, 96), np.float32)
    (found,) = session.run(None, {"images": images})
    for image, rows in zip(images, found):
        _, heads = Oracle(checkpoint).run(image)
        wanted = []
        for head, stride, pairs in zip(heads, (8, 16, 32), anchors):
            height, width = head.shape[1:]
            for values, (w, h) in zip(head.reshape(3, 8, height, width), pairs):
                s = 1 / (1 + np.exp(-values))
                y, x = np.mgrid[:height, :width]
                s[0], s[1] = (2 * s[0] - 0.5 + x) * stride, (2 * s[1] - 0.5 + y) * stride
                s[2], s[3] = (2 * s[2]) ** 2 * w, (2 * s[3]) ** 2 * h
                wanted.append(s.reshape(8, -1).T)
        assert np.allclose(rows, np.concatenate(wanted), rtol=1e-4, atol=1e-3)


def test_a_graph_that_onnxruntime_computes_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    run = Oracle.run

    def wrong(self: Oracle, image: Array) -> Any:
        layers, heads = run(self, image)
        return layers, tuple(head + 0.01 for head in heads)

    monkeypatch.setattr(Oracle, "run", wrong)
    with pytest.raises(InputError, match="under onnxruntime"):
        write_onnx(tmp_path / "m", random_checkpoint())
    assert list(tmp_path.iterdir()) == []


def test_names_of_tensors_do_not_matter(exported: Any, tmp_path: Path) -> None:
    checkpoint, model = exported
    model = _renamed(model)
    assert same(load(_save(model, tmp_path)), checkpoint)


def _renamed(model: Any) -> Any:
    fresh = onnx.ModelProto()
    fresh.CopyFrom(model)
    words = {tensor.name: f"onnx::{index}" for index, tensor in enumerate(fresh.graph.initializer)}
    for tensor in fresh.graph.initializer:
        tensor.name = words[tensor.name]
    for node in fresh.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = words.get(name, name)
    return fresh


def test_ultralytics_metadata_and_decoding_constants(exported: Any, tmp_path: Path) -> None:
    _, model = exported
    del model.metadata_props[:]
    with pytest.raises(InputError, match="anchors that cannot be found"):
        load(_save(model, tmp_path))
    onnx.helper.set_model_props(model, {"stride": "32", "names": "['a', 'b', 'c']"})
    wanted = []
    for stride in (8, 16, 32):
        cells = 64 // stride
        pairs = np.array([[9, 5], [10, 6], [11, 7]], np.float32) * stride
        wanted.append(tuple(map(tuple, pairs.tolist())))
        grid = np.stack(np.meshgrid(range(cells), range(cells)), -1).astype(np.float32)
        spread = np.broadcast_to(pairs[None, :, None, None], (1, 3, cells, cells, 2))
        for name, array in (
            (f"a{stride}", spread),
            (f"g{stride}", np.broadcast_to(grid, (1, 3, cells, cells, 2)) - 0.5),
        ):
            model.graph.initializer.append(onnx.numpy_helper.from_array(array.copy(), name))
    found = load(_save(model, tmp_path)).architecture
    assert found.names == ("a", "b", "c")
    assert found.anchors == tuple(wanted)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("['a', \"b's\", 'c\\\\d']", ("a", "b's", "c\\d")),
        ("{0: 'a', 1: 'é', 2: 'c, d'}", ("a", "é", "c, d")),
        ("[" + "1+" * 400_000 + "1]", None),
        ("[1]" + "[1]" * 300_000, None),
        ("a." * 300_000 + "b", None),
        ("[" * 100_000, None),
        ("['a' 'b', 'c', 'd']", None),
        ("{0: 'a', 0: 'b', 1: 'c'}", None),
        ("__import__('os')", None),
    ],
    ids=range(9),
)
def test_class_names_of_ultralytics(
    exported: Any, tmp_path: Path, text: Any, names: tuple[str, str, str] | None
) -> None:
    _, model = exported
    _end_at_heads(model)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {"names": text})
    if names is None:
        with pytest.raises(InputError, match="class names"):
            load(_save(model, tmp_path))
    else:
        assert load(_save(model, tmp_path)).architecture.names == names


def test_raw_heads_without_metadata_are_read_with_the_usual_anchors(
    exported: Any, tmp_path: Path
) -> None:
    checkpoint, model = exported
    del model.metadata_props[:]
    _end_at_heads(model)
    path = _save(model, tmp_path)
    assert read(path).anchors is None
    assert same(load(path), checkpoint)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda n: _set(_first(n, "MaxPool"), "kernel_shape", [3, 3]), "pool"),
        (lambda n: _set(n["model.11"], "mode", "linear"), "feeds"),
        (lambda n: _set(n["model.5.conv"], "group", 2), "shape"),
        (lambda n: _set(n["model.5.conv"], "strides", [1, 1]), "stride"),
        (lambda n: _set(n["model.5.conv"], "pads", [0, 0, 1, 1]), "unusual"),
        (lambda n: setattr(n["model.1.sigmoid"], "op_type", "HardSigmoid"), "feeds"),
        (lambda n: setattr(n["model.1.sigmoid"], "op_type", "QuantizeLinear"), "quantized"),
        (lambda n: n["model.1.conv"].input.__setitem__(1, "images"), "not stored"),
        (lambda n: _first(n, "Add").input.__setitem__(0, "model.0"), "adds"),
    ],
)
def test_other_graphs_are_refused(
    exported: Any, tmp_path: Path, change: Callable[..., Any], cause: str
) -> None:
    _, model = exported
    change({node.name: node for node in model.graph.node})
    with pytest.raises(InputError, match=cause):
        load(_save(model, tmp_path))


@pytest.mark.parametrize("kind", ["Elu", "Selu", "Erf", "Softplus", "Tanh"])
def test_activations_of_others_are_named(exported: Any, tmp_path: Path, kind: str) -> None:
    _, model = exported
    product = {node.name: node for node in model.graph.node}["model.1.sigmoid"]
    output = next(n.output[0] for n in model.graph.node if product.output[0] in n.input)
    for node in model.graph.node:
        if output in node.output:
            node.op_type = kind
            del node.input[1:]
    with pytest.raises(InputError, match=rf"feeds .* by {kind}.*SiLU, ReLU"):
        load(_save(model, tmp_path))


def test_an_image_of_channels_last_and_the_sigmoid_product_in_one_node(
    exported: Any, tmp_path: Path
) -> None:
    checkpoint, model = exported
    first = next(node for node in model.graph.node if "images" in node.input)
    name = model.graph.input[0].name
    first.input[list(first.input).index(name)] = "planar"
    turned = onnx.helper.make_node("Transpose", [name], ["planar"], perm=[0, 3, 1, 2])
    model.graph.node.insert(0, turned)
    nodes = {node.name: node for node in model.graph.node}
    gate = nodes["model.1.sigmoid"]
    for node in model.graph.node:
        if gate.output[0] in node.input:  # as ONNX Runtime's optimizer writes it
            node.op_type, node.domain = "QuickGelu", "com.microsoft"
            del node.input[:]
            node.input.append(gate.input[0])
            node.attribute.append(onnx.helper.make_attribute("alpha", 1.0))
    model.graph.node.remove(gate)
    assert same(load(_save(model, tmp_path)), checkpoint)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_anchors(tmp_path: Path, count: int) -> None:
    known = random_checkpoint("n", 3)
    anchors = tuple(
        tuple((float(stride * (each + 1)), float(stride * (each + 2))) for each in range(count))
        for stride in (8, 16, 32)
    )
    architecture = replace(known.architecture, anchors=anchors)
    random = np.random.default_rng(0)
    parameters = {
        name: known.parameters[name] if ".24." not in name
        else ((random.random(shape, np.float32) - 0.5) / 8).astype(np.float32)
        for name, shape in architecture.parameter_shapes(fused=False).items()
    }  # fmt: skip
    checkpoint = fused(replace(known, architecture=architecture, parameters=parameters))
    (path,) = write_onnx(tmp_path / "m", checkpoint)
    found = load(path)
    assert found.architecture.anchors == anchors
    image = random.random((3, 64, 64))
    for theirs, ours in zip(Oracle(checkpoint).run(image)[1], Oracle(found).run(image)[1]):
        assert np.array_equal(theirs, ours)


def test_another_wiring_is_an_architecture_of_its_own(exported: Any, tmp_path: Path) -> None:
    checkpoint, model = exported
    join = next(node for node in model.graph.node if node.name == "model.12")
    join.input[0], join.input[1] = join.input[1], join.input[0]
    found = load(_save(model, tmp_path))
    assert found.architecture.size == "custom"
    image = np.random.default_rng(0).random((3, 64, 64))
    for theirs, ours in zip(Oracle(checkpoint).run(image)[1], Oracle(found).run(image)[1]):
        assert theirs.shape == ours.shape
    assert np.abs(Oracle(checkpoint).run(image)[1][0] - Oracle(found).run(image)[1][0]).max() > 1e-6


def _first(nodes: Any, kind: str) -> Any:
    return next(node for node in nodes.values() if node.op_type == kind)


def _set(node: Any, name: str, value: Any) -> None:
    for attribute in list(node.attribute):
        if attribute.name == name:
            node.attribute.remove(attribute)
    node.attribute.append(onnx.helper.make_attribute(name, value))


def test_damaged_files_are_refused(exported: Any, tmp_path: Path) -> None:
    _, model = exported
    whole = model.SerializeToString()
    path = tmp_path / "bad.onnx"
    for changed in (whole[: len(whole) // 2], whole[:30], b"\x08" + b"\xff" * 400):
        path.write_bytes(changed)
        with pytest.raises(InputError, match=r"bad\.onnx"):
            load(path)
    weight = model.graph.initializer[3]
    for change in (
        lambda: weight.dims.append(7),
        lambda: weight.dims.__setitem__(-1, 1 << 40),
        lambda: setattr(weight, "data_location", onnx.TensorProto.EXTERNAL),
    ):
        change()
        with pytest.raises(InputError, match=r"changed\.onnx"):
            load(_save(model, tmp_path))


def test_without_the_library_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Any
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx.checker", None)
    with pytest.raises(InputError, match=r"yolo-port\[onnx\]"):
        load(tmp_path / "m.onnx")
