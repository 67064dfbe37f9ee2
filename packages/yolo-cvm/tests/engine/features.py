"""What a plan makes use of, by name: every step, every operation of programs, every means of the
planner.

python -m engine.features        (from the tests folder) prints the report of feature coverage
"""

from __future__ import annotations

from collections.abc import Iterator

from yolo_core.graph import Entry, Graph
from yolo_cvm.engine import planner
from yolo_cvm.engine.format import Binary, DType, Link, Step, Tile, Unary
from yolo_cvm.engine.planner.form import Form, PlanStep

from .random_graphs import random_program

#: Means of the planner, and what of them the native side tells apart.
MEANS = (
    "constants worked out",
    "constants computed in every run",
    "border on both axes",
    "border on one axis",
    "border of an image's own",
    "border made again with another code",
    "image in 16 bits",
    "image in 32 bits",
    "image made in its concatenation",
    "image copied into its concatenation",
    "image inside two concatenations",
    "plain value made in its concatenation",
    "plain value made in its head",
    "head copied",
    "plain value brought into an image",
    "image brought into a plain value",
    "scattered past moves",
    "scattered in natural order",
    "table of a part",
    "several tables by one index",
    "table with indices of more than 15 bits",
    "region of pixels",
    "region of one convolution",
    "rounding that carries an addition",
    "shift that could carry",
    "convolution without bias",
    "weights in 32 bits",
    "convolution by groups",
    "maximum of pixels in 16 or 32 bits",
    "Winograd",
    "no region cut",
    "region cut",
)
ALL = frozenset(
    [*MEANS]
    + [f"step {step.name}" for step in Step]
    + [f"tile {tile.name}" for tile in Tile]
    + [f"link {link.name}" for link in Link]
    + [f"unary {kind.name}" for kind in Unary]
    + [f"binary {kind.name}" for kind in Binary]
)


def features(graph: Graph) -> set[str]:
    """Everything of ALL that the plan of a graph makes use of."""
    names = list(planner.PASSES)
    fused = planner.apply(graph, names[: names.index("fusion") + 1])
    form = planner.apply(graph)
    found = set(_kinds(form))
    cut = len(form.fusion.regions) > len(fused.fusion.regions)
    found.add("region cut" if cut else "no region cut")
    for part in (_constants, _images, _plain, _regions):
        found |= set(part(form))
    return found


def _kinds(form: Form) -> Iterator[str]:
    for step in form.steps.steps:
        yield f"step {step.kind.name}"
        if step.kind == Step.UNARY:
            yield f"unary {Unary(step.fields['kind']).name}"
        if step.kind == Step.BINARY:
            yield f"binary {Binary(step.fields['kind']).name}"
        for operation in step.fields.get("code", ()):
            yield f"tile {operation.kind.name}"
        for operation in step.fields.get("links", ()):
            yield f"link {operation.kind.name}"
            if operation.kind == Link.UNARY:
                yield f"unary {Unary(operation.fields['kind']).name}"
            if operation.kind in (Link.BINARY, Link.SCALAR):
                yield f"binary {Binary(operation.fields['kind']).name}"


def _constants(form: Form) -> Iterator[str]:
    if form.constants.values:
        yield "constants worked out"
    for index, node in enumerate(form.graph.nodes):
        if not node.is_variable and not form.operands(node) and index not in form.constants.nodes:
            yield "constants computed in every run"


def _images(form: Form) -> Iterator[str]:
    for pad in form.fusion.pads.values():
        both = pad.top + pad.bottom and pad.left + pad.right
        yield "border on both axes" if both else "border on one axis"
    if form.layout.borders:
        yield "border of an image's own"
    halos = [s.fields["out"] for s in form.steps.steps if s.kind == Step.HALO]
    if len(halos) > len(form.layout.borders):
        yield "border made again with another code"
    for tensor in form.steps.tensors:
        if tensor.pixel_stride and tensor.dtype != DType.INT8:
            yield f"image in {8 * tensor.dtype.size} bits"
    homes = form.layout.image_homes
    if homes:
        yield "image made in its concatenation"
    if any(whole in homes for whole, _ in homes.values()):
        yield "image inside two concatenations"
    for index, node in enumerate(form.graph.nodes):
        moved = node.op == "concatenate" and Entry(index) in form.fusion.images
        moved = moved and Entry(index) not in form.fusion.pads
        if moved and any(homes.get(e, (e, 0))[0] != Entry(index) for e in node.inputs):
            yield "image copied into its concatenation"


def _plain(form: Form) -> Iterator[str]:
    outputs = len(form.layout.outputs)
    for buffer, _ in form.layout.plain_homes.values():
        head = buffer < outputs
        yield "plain value made in its head" if head else "plain value made in its concatenation"
    for step in form.steps.steps[-outputs:]:
        if step.kind == Step.COPY and step.fields["out"].buffer < outputs:
            yield "head copied"
    for step in form.steps.steps:
        if step.kind == Step.TO_IMAGE:
            yield "plain value brought into an image"
        code = step.fields.get("code", ())
        if [operation.kind for operation in code] == [Tile.LOAD, Tile.SCATTER]:
            yield "image brought into a plain value"


def _regions(form: Form) -> Iterator[str]:
    if form.epilogues.absorbed:
        yield "scattered past moves"
    for root, region in form.fusion.regions.items():
        yield "region of one convolution" if region.convolution else "region of pixels"
        kinds = [operation.kind for operation in form.epilogues.code[root]]
        if Tile.SCATTER in kinds and not form.epilogues.absorbed:
            yield "scattered in natural order"
        for index in region.nodes:
            node = form.graph.nodes[index]
            if node.op == "cvm_lut":
                yield from _table(form, root, node.attributes.in_dim)
    for step in form.steps.steps:
        yield from _requantizations(step)
        if step.kind == Step.CONV_IMAGE:
            yield from _convolution(form, step)
        if step.kind == Step.POOL_IMAGE and step.fields["x"].dtype != DType.INT8:
            yield "maximum of pixels in 16 or 32 bits"


def _table(form: Form, root: int, whole: int) -> Iterator[str]:
    tables = [op for op in form.epilogues.code[root] if "table" in op.fields]
    if any(op.fields["table"].size < whole for op in tables):
        yield "table of a part"
    if any(op.fields["table"].size > 1 << 15 for op in tables):
        yield "table with indices of more than 15 bits"
    registers = [op.a for op in tables]
    nodes = form.fusion.regions[root].nodes
    indices = {form.graph.nodes[n].inputs[0] for n in nodes if form.graph.nodes[n].op == "cvm_lut"}
    if len(registers) > len(set(registers)) and len(indices) > 1:
        yield "several tables by one index"


def _requantizations(step: PlanStep) -> Iterator[str]:
    for operation in step.fields.get("code", ()):
        if operation.kind == Tile.REQUANT and operation.fields["shift"]:
            free = operation.fields["carry_free"]
            yield "rounding that carries an addition" if free else "shift that could carry"


def _convolution(form: Form, step: PlanStep) -> Iterator[str]:
    fields = step.fields
    if fields["bias"] == -1:
        yield "convolution without bias"
    if form.steps.literals[fields["weight"]].itemsize == 4:
        yield "weights in 32 bits"
    if fields["groups"] > 1:
        yield "convolution by groups"
    window = [fields[f"{name}_{axis}"] for name in ("stride", "dilation") for axis in "hw"]
    three = fields["kernel_h"] == fields["kernel_w"] == 3
    if three and window == [1, 1, 1, 1] and min(fields["channels"], fields["image"].dims[3]) >= 64:
        yield "Winograd"


def coverage(graphs: Iterator[Graph]) -> dict[str, int]:
    """How many of the graphs make use of each feature."""
    counts = dict.fromkeys(sorted(ALL), 0)
    for graph in graphs:
        for name in features(graph):
            counts[name] += 1
    return counts


def main() -> None:
    """Print how many of 300 random programs make use of each feature."""
    for name, count in coverage(random_program(seed)[0] for seed in range(300)).items():
        print(f"{count:4d}  {name}")


if __name__ == "__main__":
    main()
