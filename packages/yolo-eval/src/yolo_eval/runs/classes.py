"""Which classes of a model are scored as which categories of a data set.

Classes are matched by name. `restrict` looks at a few categories alone, `renamed` and the mapping
of `read_map` say which names mean the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from yolo_core.datasets.coco_json import Category
from yolo_core.errors import InputError
from yolo_core.words import NAME_LIMIT, shown, text_fault
from yolo_core.yaml_file import read_yaml
from yolo_core.yolo.coco import category_ids
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.run import Predictions, Run

#: Names that a line lists before it says how many more there are.
_LISTED = 8


def parse_classes(text: str | None) -> tuple[str, ...] | None:
    """The names of `--classes person,car`. InputError where there is none, or one twice."""
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise InputError("--classes", f"is {text!r:.60}", "names of classes, each once: person,car")
    return names


def read_map(path: Path | None) -> dict[str, str]:
    """The content of a `--map-classes` file, YAML or JSON: a name → the data set's name for it.

    Several names may lead to one. {} without a file. InputError for anything else than names.
    """
    if path is None:
        return {}
    content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise InputError(path, "is not a mapping of names", "lines like `car: vehicle`")
    mapping = {}
    for name, target in content.items():
        if not isinstance(target, (str, int)) or isinstance(target, bool) or target == "":
            raise InputError(path, f"maps {name!r:.60} to {target!r:.60}", "a name")
        for word in (str(name), str(target)):
            fault = text_fault(word, NAME_LIMIT)
            if fault:
                raise InputError(path, f"has a name that {fault}", "printable text")
        mapping[str(name)] = str(target)
    return mapping


def restrict(truth: GroundTruth, names: Sequence[str]) -> GroundTruth:
    """The same images with these categories alone. InputError for a name that is none of them."""
    known = {category.name: category for category in truth.categories}
    for name in names:
        if name not in known:
            raise _unknown("--classes", name, list(known), truth.source)
    chosen = {known[name].id for name in names}
    return replace(
        truth,
        categories=tuple(c for c in truth.categories if c.id in chosen),
        boxes=tuple(box for box in truth.boxes if box.category_id in chosen),
    )


def restrict_run(run: Run, names: Sequence[str]) -> Run:
    """A run looked at in these categories alone; its figures are no longer those of the file."""
    truth = restrict(run.truth, names)
    ids = np.array([category.id for category in truth.categories], dtype=np.int64)
    keep = np.isin(run.predictions.category, ids)
    return replace(run, truth=truth, predictions=run.predictions.only(keep), metrics=None)


def rename_run(run: Run, mapping: Mapping[str, str]) -> Run:
    """A run with its categories called by other names; those that get one name become one.

    InputError for a name that is none of the run's categories.
    """
    known = [category.name for category in run.truth.categories]
    for name in mapping:
        if name not in known:
            raise _unknown("--map-classes", name, known, run.truth.source)
    ids: dict[str, int] = {}
    moved = {}
    for category in run.truth.categories:
        moved[category.id] = ids.setdefault(mapping.get(category.name, category.name), category.id)
    truth = replace(
        run.truth,
        categories=tuple(Category(number, name) for name, number in ids.items()),
        boxes=tuple(replace(box, category_id=moved[box.category_id]) for box in run.truth.boxes),
    )
    old = np.array(list(moved), dtype=np.int64)
    new = np.array(list(moved.values()), dtype=np.int64)
    found = run.predictions
    renamed = new[np.searchsorted(old, found.category)]
    predictions = Predictions(found.image, renamed, found.box, found.score)
    return replace(run, truth=truth, predictions=predictions, metrics=None)


def targets(
    names: Sequence[str], truth: GroundTruth, mapping: Mapping[str, str]
) -> tuple[int | None, ...]:
    """For each class of a model the id of its category, None where it has none.

    mapping: of `read_map`; classes that it does not name keep their own. InputError where no class
    has a category, or the mapping names what does not exist.
    """
    if not mapping:
        categories = [{"id": c.id, "name": c.name} for c in truth.categories]
        return category_ids(names, categories, truth.source)
    known = {category.name: category.id for category in truth.categories}
    for name, target in mapping.items():
        if name not in names:
            raise _unknown("--map-classes", name, list(names), "the model")
        if target not in known:
            raise _unknown("--map-classes", target, list(known), truth.source)
    return tuple(known.get(mapping.get(name, name)) for name in names)


def left_out(
    names: Sequence[str], ids: Sequence[int | None], truth: GroundTruth, whole: int
) -> list[str]:
    """In words, a line each: what of the model and of the data set takes no part.

    truth: with the scored categories alone, of the `whole` that the data set has.
    """
    lines = []
    unnamed = [name for name, number in zip(names, ids) if number is None]
    if len(truth.categories) < whole:
        scored = _some([category.name for category in truth.categories])
        lines.append(f"{truth.source}: {scored} of its {whole} categories are scored alone")
    elif unnamed:
        lines.append(
            f"{truth.source}: lacks {len(unnamed)} of the model's {len(names)} classes "
            f"({_some(unnamed)}); what is found of them does not count"
        )
    by_id = {category.id: category.name for category in truth.categories}
    matched = [(name, by_id[number]) for name, number in zip(names, ids) if number is not None]
    if matched and len(set(names)) == len(names) and not set(names) & set(by_id.values()):
        pairs = _some([f"{name} as {other}" for name, other in matched if name != other])
        lines.append(f"{truth.source}: the model's classes are scored as its categories: {pairs}")
    absent = [category.name for category in truth.categories if category.id not in ids]
    if absent:
        lines.append(
            f"{truth.source}: the model has no class for {len(absent)} of its "
            f"{len(truth.categories)} categories ({_some(absent)}); they count as not found, "
            "--classes leaves them out"
        )
    return lines


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _LISTED
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(shown(name, 60) for name in names[:_LISTED]) + more


def _unknown(option: str, name: str, known: Sequence[str], source: str) -> InputError:
    near = get_close_matches(name, known, 1, 0.6)
    hint = f"a class, perhaps {near[0]!r}" if near else f"one of {_some(known)}"
    return InputError(option, f"names {name!r:.60}, which is not a class of {source}", hint)
