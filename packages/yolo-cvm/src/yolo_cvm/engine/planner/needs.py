"""How much memory a plan would take, worked out before any of it is taken.

The bound holds for every instruction set: weights are packed in blocks of at most 32 channels and
words of four bytes, tables are copied in 32 and 8 bits with their straight pieces, constants are
copied per channel, and a convolution by Winograd's way expands the weights of one layer.
"""

from __future__ import annotations

from collections.abc import Sequence

from yolo_cvm.engine.format import CONSTANTS, TILES, Step, Tile
from yolo_cvm.engine.planner.form import Form, Operation, PlanStep, product

#: A plan may take this many times what the reference needs at its peak, and this much more.
MOST_TIMES = 2
MORE = 32 << 20
_LANES = 64
_SEGMENTS = 1024


def budget(form: Form) -> int:
    """Bytes that a plan of the graph may take."""
    return MOST_TIMES * form.peak + MORE


def needs(form: Form) -> int:
    """Most bytes that the plan takes: arena, constants, what is packed and copied, heads.

    Of the working memory that each further thread takes for one layer, none is counted.
    """
    steps = form.steps
    own = form.memory.arena + sum(array.nbytes for array in steps.literals)
    outputs = sum(4 * product(form.graph.shape(head)) for head in form.layout.outputs)
    copied = sum(_copied(form, step) for step in steps.steps)
    expanded = max((_expanded(step) for step in steps.steps), default=0)
    return own + outputs + copied + expanded


def _copied(form: Form, step: PlanStep) -> int:
    """Packed weights, and copies of constants and tables, of one step."""
    code: Sequence[Operation] = step.fields.get("code", ())
    total = 0
    for operation in code:
        for field in TILES[operation.kind]:
            if field.kind in CONSTANTS and operation.fields[field.name] >= 0:
                count = form.steps.literals[operation.fields[field.name]].size
                table = operation.kind in (Tile.LOOKUP, Tile.LOOKUP_STORE)
                channels = step.fields["channels"] + _LANES
                total += 5 * count + _SEGMENTS if table else 4 * channels
    if step.kind == Step.DENSE_BYTES:
        total += _dense(step)
    if step.kind in (Step.CONV_IMAGE, Step.CONV_ROWS):
        taps = step.fields.get("kernel_h", 1) * step.fields.get("kernel_w", 1)
        outputs = step.fields["channels"]
        inputs = _inputs_of_a_block(step)
        total += (outputs + _LANES) * ((inputs + 3) * taps + 4)
    return total


def _dense(step: PlanStep) -> int:
    """Packed weights of a dense layer."""
    return int(step.fields["inner"]) * (int(step.fields["units"]) + _LANES)


def _inputs_of_a_block(step: PlanStep) -> int:
    """Most input channels that a block of outputs reads: those of the groups that it touches."""
    channels, groups = int(step.fields["image"].dims[3]), int(step.fields.get("groups", 1))
    touched = _LANES // (step.fields["channels"] // groups) + 2
    return int(min(channels, touched * (channels // groups)))


def _expanded(step: PlanStep) -> int:
    """Shared working memory of one convolution, 36 words of 16 bits for nine taps."""
    if step.kind != Step.CONV_IMAGE or (step.fields["kernel_h"], step.fields["kernel_w"]) != (3, 3):
        return 0
    inputs, outputs = int(step.fields["image"].dims[3]), int(step.fields["channels"])
    return 36 * 2 * (inputs + _LANES) * (outputs + _LANES)
