"""A model's classes and a data set's categories: matched by name, chosen, or mapped by a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from command import run


def renamed(shapes: Path, folder: Path, **names: str) -> tuple[Path, Path]:
    """Pictures of `shapes`, and annotations of some of its classes under other names."""
    old = ("red", "green", "blue")
    folder.mkdir(exist_ok=True)
    categories = {name: number for number, name in enumerate(dict.fromkeys(names.values()), 1)}
    images: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for number, picture in enumerate(sorted((shapes / "images/val").iterdir()), 1):
        images.append({"id": number, "file_name": picture.name, "width": 64, "height": 64})
        labels = shapes / "labels/val" / f"{picture.stem}.txt"
        for line in labels.read_text().splitlines() if labels.exists() else ():
            label, *sides = line.split()
            x, y, w, h = (64 * float(side) for side in sides)
            if old[int(label)] in names:
                notes.append(
                    {
                        "id": len(notes) + 1, "image_id": number, "iscrowd": 0, "area": w * h,
                        "category_id": categories[names[old[int(label)]]],
                        "bbox": [x - w / 2, y - h / 2, w, h],
                    }
                )  # fmt: skip
    content = {
        "images": images,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": notes,
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return shapes / "images/val", folder / "instances.json"


def coco(model: Path, data: tuple[Path, Path], out: Path, *more: object) -> tuple[Result, Any]:
    command = ("coco", model, "--images", data[0], "--annotations", data[1], "--json", out)
    result = run(*command, *more)
    return result, json.loads(out.read_text()) if out.exists() else None


def test_a_subset_is_matched_by_name(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    data = renamed(shapes, tmp_path, green="green")
    result, content = coco(model(), data, tmp_path / "run.json")
    assert result.exit_code == 0, result.output
    assert content["metrics"]["AP"] == pytest.approx(1.0)
    assert "lacks 2 of the model's 3 classes (red, blue)" in result.output


def test_classes_that_the_model_lacks_are_said(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    data = renamed(shapes, tmp_path, green="green", red="helmet")
    result, content = coco(model(), data, tmp_path / "run.json")
    assert result.exit_code == 0, result.output
    assert "the model has no class for 1 of its 2 categories (helmet)" in result.output
    assert content["metrics"]["AP"] == pytest.approx(0.5)
    result, content = coco(model(), data, tmp_path / "one.json", "--classes", "green")
    assert "green of its 2 categories are scored alone" in result.output
    assert content["metrics"]["AP"] == pytest.approx(1.0)
    assert content["settings"]["classes"] == ["green"]
    assert {item["category_id"] for item in content["predictions"]} == {1}


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_a_file_says_which_class_is_which(
    model: Callable[..., Path], shapes: Path, tmp_path: Path, form: str
) -> None:
    data = renamed(shapes, tmp_path, green="leaf", red="stop", blue="sea")
    mapping = tmp_path / f"map.{form}"
    mapping.write_text(
        "green: leaf\nred: stop\nblue: sea\n"
        if form == "yaml"
        else '{"green": "leaf", "red": "stop", "blue": "sea"}'
    )
    result, content = coco(model(), data, tmp_path / "run.json", "--map-classes", mapping)
    assert result.exit_code == 0, result.output
    assert content["metrics"]["AP"] == pytest.approx(1.0)
    assert "red as stop, green as leaf, blue as sea" in result.output
    assert content["settings"]["class_map"] == {"blue": "sea", "green": "leaf", "red": "stop"}


def test_classes_that_become_one_suppress_each_other(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    data = renamed(shapes, tmp_path, green="colour", red="colour", blue="colour")
    mapping = tmp_path / "map.yaml"
    mapping.write_text("green: colour\nred: colour\nblue: colour\n")
    result, content = coco(model(), data, tmp_path / "run.json", "--map-classes", mapping)
    assert result.exit_code == 0, result.output
    assert content["metrics"]["AP"] == pytest.approx(1.0)
    by_image: dict[int, list[list[float]]] = {}
    for item in content["predictions"]:
        by_image.setdefault(item["image_id"], []).append(item["bbox"])
    for boxes in by_image.values():
        corners = np.round(boxes, 1).tolist()
        assert len({tuple(box) for box in corners}) == len(corners)


@pytest.mark.parametrize(
    ("options", "text", "cause"),
    [
        (("--classes", "gren"), "", "names 'gren', which is not a class of"),
        (("--classes", "red,,blue"), "", "--classes: is 'red,,blue'"),
        (("--classes", "red,red"), "", "each once"),
        (
            ("--map-classes", "map.yaml"),
            "crimson: red",
            "'crimson', which is not a class of the mod",
        ),
        (("--map-classes", "map.yaml"), "red: crimson", "'crimson', which is not a class of"),
        (("--map-classes", "map.yaml"), "- red", "is not a mapping of names"),
        (("--map-classes", "map.yaml"), "red: [1]", "maps 'red' to [1]"),
        (("--map-classes", "map.yaml"), 'red: "a\\u0007"', "U+0007"),
        (("--map-classes", "none.yaml"), "", "none.yaml"),
    ],
)
def test_what_is_no_choice_of_classes_is_one_line(
    model: Callable[..., Path],
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, str],
    text: str,
    cause: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "map.yaml").write_text(text)
    out = tmp_path / "run.json"
    result = run("coco", model(), "--data", shapes / "data.yaml", "--json", out, *options)
    assert result.exit_code == 2, result.output
    assert cause in result.output.strip().splitlines()[-1]
    assert result.output.strip().splitlines()[-1].startswith("Error: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.yaml", "model.fake"]


def test_runs_are_compared_in_chosen_and_mapped_classes(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    files = []
    for name, drop in (("a", []), ("b", [1])):
        files.append(tmp_path / f"{name}.json")
        fake = model(f"{name}.fake", drop=drop, kind="integer" if drop else "float")
        assert run("coco", fake, "--data", shapes / "data.yaml", "--json", files[-1]).exit_code == 0
    command = ("compare", "--no-measure", *files, "--resamples", 5)
    result = run(*command, "--out", tmp_path / "one", "--classes", "red,blue")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "one/metrics.json").read_text())
    assert found["comparisons"][0]["figures"]["AP"]["delta"] == pytest.approx(0)
    (tmp_path / "map.json").write_text('{"red": "warm", "green": "cold", "blue": "cold"}')
    result = run(*command, "--out", tmp_path / "two", "--map-classes", tmp_path / "map.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "two/metrics.json").read_text())
    assert [item["name"] for item in found["comparisons"][0]["classes"]] == ["warm", "cold"]
    assert found["comparisons"][0]["classes"][0]["AP"]["delta"] == pytest.approx(0)
    assert found["comparisons"][0]["classes"][1]["AP"]["delta"] < -0.3
