"""From a graph to a fast plan."""

from __future__ import annotations

import numpy as np

from yolo_core.graph import Entry, Graph
from yolo_cvm.engine import lower
from yolo_cvm.engine.ranges import ranges
from yolo_cvm.engine.words import DType, Plan, PlanWriter, Step, Tensor

SCATTER = 14


def plan(graph: Graph) -> Plan:
    """The plan of a whole program."""
    writer = PlanWriter(graph.input_shape)
    known = ranges(graph)
    tensors: dict[Entry, Tensor] = {}
    for index, node in enumerate(graph.nodes):
        writer.source = index
        if node.is_variable:
            found = [writer.input() if index == graph.input_index
                     else writer.constant_tensor(graph.parameters[node.name])]
        elif node.op == "conv2d" and _bytes(graph, known, node):
            found = [_conv(writer, graph, node, tensors)]
        else:
            inputs = [tensors[e] for e in node.inputs]
            found = lower.lower(writer, node, inputs, [None] * len(node.shapes))
        for output, tensor in enumerate(found):
            tensors[Entry(index, output)] = tensor
    for head in graph.heads:
        tensor = tensors[head]
        target = writer.plain(tensor.dims, writer.output(tensor.dims))
        lower.copy(writer, tensor, target, (tensor.count,), (1,))
    return writer.finish()


def _bytes(graph, known, node) -> bool:
    variables = all(graph.nodes[e.node].is_variable and graph.nodes[e.node].name in graph.parameters
                    for e in node.inputs[1:])
    return (variables and node.attributes.groups == 1
            and all(-127 <= v <= 127 for e in node.inputs[:2] for v in known[e]))


def _conv(writer, graph, node, tensors):
    a = node.attributes
    x = tensors[node.inputs[0]]
    b, c, h, w = x.dims
    image = writer.image((b, h, w, c), DType.INT8, max(a.padding), 0)
    writer.step(Step.TO_IMAGE, [x.number, image.number], [x], [image])
    if image.halo:
        writer.step(Step.HALO, [image.number], [], [image])
    out = writer.plain(node.shapes[0])
    _, o, ho, wo = out.dims
    weight = writer.constant(graph.parameters[graph.nodes[node.inputs[1].node].name])
    bias = -1
    if len(node.inputs) == 3:
        bias = writer.constant(graph.parameters[graph.nodes[node.inputs[2].node].name])
    offsets = writer.constant(np.arange(o) * ho * wo)
    program = [1, SCATTER, 0, 0, 0, out.number, offsets, o * ho * wo, wo, 1]
    writer.step(Step.CONV_IMAGE, [image.number, weight, bias, b, ho, wo, o, *a.kernel_size,
                                  *a.strides, *a.padding, *a.dilation, *program], [image], [out])
    return out
