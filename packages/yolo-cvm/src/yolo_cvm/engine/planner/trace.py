"""The plan of a trace: one operator after the other, as they stand in the graph, nothing fused."""

from __future__ import annotations

from yolo_core.graph import Entry, Graph
from yolo_cvm.engine.format import Storage
from yolo_cvm.engine.planner.form import Buffer, Form, Layout, Tensor, product, start
from yolo_cvm.engine.planner.lowering import copy, lower
from yolo_cvm.engine.planner.writer import Writer

NAME = "trace"


def run(graph: Graph) -> tuple[Form, dict[Entry, Tensor], list[int]]:
    """The steps, the tensor of every value, and for every node the number of steps after which
    its outputs are complete. Their memory may be used again by the steps of the next node that
    does not read them.
    """
    outputs = tuple(dict.fromkeys(graph.heads))
    writer = Writer(
        [Buffer(Storage.OUTPUT, k, 4 * product(graph.shape(e))) for k, e in enumerate(outputs)]
    )
    tensors: dict[Entry, Tensor] = {}
    done: list[int] = []
    for index, node in enumerate(graph.nodes):
        writer.source = index
        if index == graph.input_index:
            found = [writer.plain(graph.input_shape, writer.buffer(Buffer(Storage.INPUT)))]
        elif node.is_variable:
            found = [writer.constant_tensor(graph.parameters[node.name])]
        else:
            inputs = [tensors[e] for e in node.inputs]
            found = lower(writer, node, inputs, [None] * len(node.shapes))
        for output, tensor in enumerate(found):
            tensors[Entry(index, output)] = tensor
            writer.keep(tensor)
        done.append(len(writer.steps))
    for number, head in enumerate(outputs):
        tensor = tensors[head]
        copy(writer, tensor, writer.plain(tensor.dims, number), (tensor.count,), (1,))
    form = start(graph).after(NAME, layout=Layout(outputs), steps=writer.finished())
    return form, tensors, done
