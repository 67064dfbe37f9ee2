"""Options that several commands share, and their parsing."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, Callable

import click

from yolo_core.errors import InputError
from yolo_eval.runs.ground_truth import GroundTruth, from_coco, from_data_yaml

#: click's type of every file or folder option; existence is checked where it is read.
PATH = click.Path(path_type=Path)


def imgsz(value: str | None) -> tuple[int, int] | None:
    """`640` or `480x640` (height x width) as (height, width), rounded up to multiples of 32.

    A model with a larger stride rounds further.
    """
    from yolo_core.yolo.letterbox import rounded_imgsz

    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", value)
    if match is None:
        raise InputError("--imgsz", f"is {value!r}", "640 or 480x640")
    height = int(match[1])
    return rounded_imgsz((height, int(match[2] or height)), "--imgsz")


def mode(squash: bool | None) -> str | None:
    """How images are fitted; None where nothing was said."""
    return None if squash is None else ("squash" if squash else "letterbox")


def shard(value: str | None) -> tuple[int, int] | None:
    """`2/3` as (2, 3)."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", value)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError("--shard", f"is {value!r}", "i/n with 1 ≤ i ≤ n, as 2/3")
    return int(match[1]), int(match[2])


def spread(dask: str | None, jobs: int) -> Any:
    """How images are shared by the Dask cluster at an address; None without one."""
    if dask is None:
        return None
    if jobs != 1:
        raise InputError("--jobs", "does not go with --dask", "one of them")
    from yolo_eval.runs.cluster import over_cluster

    return functools.partial(over_cluster, dask)


def sizes(value: str) -> str:
    """Letters of YOLOv5's sizes, each once."""
    if not value or set(value) - set("nsmlx") or len(set(value)) != len(value):
        raise InputError("--sizes", f"is {value!r}", "some of nsmlx")
    return value


def truth(
    data: Path | None,
    split: str,
    images: Path | None,
    annotations: Path | None,
    strict: bool = False,
    pictures: bool = True,
) -> GroundTruth:
    """The ground truth that the options name: --data, or --images with --annotations.

    strict: refuse what would be left out. pictures: whether the command reads them; without, the
    annotations are enough. What is left out is told on standard error.
    """
    if data is not None and images is None and annotations is None:
        return from_data_yaml(data, split, strict, _tell)
    if data is None and annotations is not None and (images is not None or not pictures):
        return from_coco(annotations, images, strict, _tell, pictures)
    raise InputError("options", "name no ground truth", "--data, or --images and --annotations")


def _tell(line: str) -> None:
    click.echo(line, err=True)


def ground_truth_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--data/--split, or --images/--annotations."""
    for option in (
        click.option("--annotations", type=PATH, help="COCO instances.json."),
        click.option("--images", type=PATH, help="Folder of the annotated images."),
        click.option(
            "--split",
            type=click.Choice(["train", "val", "test"]),
            default="val",
            show_default=True,
            help="Which part of --data.",
        ),
        click.option("--data", type=PATH, help="YOLO dataset: data.yaml."),
        click.option("--strict", is_flag=True, help="Stop instead of leaving faulty data out."),
    ):
        command = option(command)
    return command


def class_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which classes count, and which names mean the same."""
    for option in (
        click.option(
            "--map-classes",
            type=PATH,
            help="YAML or JSON file with lines like `car: vehicle`: other names of classes.",
        ),
        click.option("--classes", help="Only these classes, by name: person,car"),
    ):
        command = option(command)
    return command


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How models are opened."""
    for option in (
        click.option("--device", default="cpu", show_default=True, help="cpu or gpu:0."),
        click.option("--threads", type=click.IntRange(1, 1024), help="Threads per process."),
        click.option(
            "--squash/--letterbox",
            default=None,
            help="Stretch images, or keep their proportions; default as the model says.",
        ),
        click.option(
            "--imgsz",
            "--img",
            "--img-size",
            "imgsz",
            help="640 or 480x640 (height x width); default the model's own.",
        ),
    ):
        command = option(command)
    return command
