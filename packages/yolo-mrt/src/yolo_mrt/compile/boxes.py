"""A model of rows as one whose graph decides, from its folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolo_core.errors import InputError
from yolo_core.files import read_bytes
from yolo_core.graph import Graph
from yolo_core.outputs import check_outputs
from yolo_core.yolo.decision import Decision
from yolo_core.yolo.model_folder import Extension, deciding, read_model_folder
from yolo_mrt.compile import deliver

_SAMPLE_LIMIT = 1 << 30


@dataclass(frozen=True)
class BoxesOptions:
    """What a user says about the boxes; see `Decision`, which the model's size completes."""

    conf: float = 0.25
    iou: str = "45"
    max_det: int = 100
    top_k: int = 1000
    agnostic: bool = False
    labels: str = "best"

    def decision(self, rows: int, classes: int) -> Decision:
        """For a model with so many rows and classes. InputError where an option is out of range."""
        try:
            iou = float(self.iou)
        except ValueError:
            iou = -0.5  # what is not a number is not a whole percent either
        if not iou.is_integer():
            raise InputError("iou", f"is {self.iou:.40}", "a whole percent from 1 to 100, as 45")
        return Decision.of(
            rows, classes, self.conf, int(iou), self.max_det, self.top_k, self.agnostic, self.labels
        )

    def check(self) -> None:
        """Refuse what no model can be asked for, before any work."""
        self.decision(1, 1)


def with_boxes(
    graph: Graph, extension: Extension, options: BoxesOptions
) -> tuple[Graph, Extension]:
    """The model with the deciding operators behind its rows."""
    architecture = extension.architecture
    decision = options.decision(architecture.rows(*extension.imgsz), architecture.nc)
    return deciding(graph, extension, decision)


def told(decision: Decision, options: BoxesOptions) -> str:
    """How the graph decides, in one line."""
    raised = ", the least there is," if decision.conf > options.conf else ""
    kind = "best class" if decision.labels == "best" else "every class"
    return (
        f"boxes [1, {decision.max_det}, 6] of score above {decision.conf:g}{raised} "
        f"IoU {decision.iou} %, {kind} of the {decision.select} rows of best objectness"
    )


def convert(folder: Path, out: Path, options: BoxesOptions) -> str:
    """Read a model folder of rows, write one of boxes; returns what to tell about it."""
    options.check()
    check_outputs(inputs=[folder], folders=[out])
    model = read_model_folder(folder)
    graph, extension = with_boxes(model.graph, model.extension(), options)
    assert extension.boxes is not None
    sample = folder / deliver.SAMPLE
    data = read_bytes(sample, _SAMPLE_LIMIT) if sample.is_file() else None
    summary = deliver.write(out, graph, extension, data)
    return f"{out}: {summary}\n{told(extension.boxes, options)}"
