"""What the two commands do, once their words are understood."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from yolo_core import console
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_write, read_json
from yolo_core.mxnet.checkpoint import (
    checkpoint_stem,
    checkpoint_stride,
    trained_imgsz,
    trained_score,
)
from yolo_core.outputs import check_outputs
from yolo_core.replacing import only_one
from yolo_core.yolo.dataset import is_yaml
from yolo_core.yolo.letterbox import check_imgsz, rounded_imgsz
from yolo_core.yolo.model_folder import model_sources
from yolo_mrt.compile.boxes import BoxesOptions
from yolo_mrt.config import overriding, read_config
from yolo_mrt.pictures import FEW, calibration_images, judging_images, spread
from yolo_mrt.settings import EFFORTS, LETTERBOX_MODES, STAGES, Settings
from yolo_mrt.stage_files import RUN, STAGE_FILES, estimated
from yolo_mrt.stages import run as run_stages

#: Nodes that `report` prints where not all are asked for; the page has them all.
_WORST = 10
#: mAP@0.5 below which a network finds next to nothing.
_NOTHING = 0.01

DEFAULT_IMGSZ = (640, 640)
#: Images that a target is judged on, at most and at least.
MAX_TRUSTED, LEAST_JUDGED = 64, 4


def _check_stages(stages: Sequence[str]) -> tuple[str, ...]:
    for stage in stages:
        if stage not in STAGES:
            raise InputError("--stage", f"is {stage!r:.60}", ", ".join(STAGES))
    return tuple(stages) or STAGES


def boxes_options(wanted: bool, given: Mapping[str, Any]) -> BoxesOptions | None:
    """How the graph is to decide; None where it is not. given: options, None where left out."""
    said = {name: value for name, value in given.items() if value is not None}
    if not wanted:
        if said:
            name = next(iter(said)).replace("_", "-")
            raise InputError(f"--{name}", "says how the graph decides", "--boxes with it")
        return None
    options = BoxesOptions(**said)
    options.check()
    return options


def _warn(line: str) -> None:
    click.echo(f"Warning: {line}", err=True)


def _teller(quiet: bool) -> Callable[[str], None]:
    begin = time.monotonic()

    def say(text: str) -> None:
        if not quiet:
            click.echo(f"[{time.monotonic() - begin:5.1f} s] {text}")

    return say


def from_options(
    checkpoint: Path, data: str, num_calib: int, imgsz: Sequence[int], out: Path, effort: str,
    letterbox: str, work: Path | None, scheme: Path | None, refine: Sequence[str],
    stages: Sequence[str], boxes: BoxesOptions | None = None, strict: bool = False,
    target_loss: float | None = None,
) -> bool:  # fmt: skip
    """`yolo-mrt quantize CHECKPOINT --data … --out …`; False where `target_loss`, points of AP,
    is given and cannot be met."""
    wanted = _check_stages(stages)
    settings = settings_of(
        checkpoint, data, out, num_calib, imgsz, effort, letterbox, work, scheme, refine, boxes,
        strict, _warn,
    )  # fmt: skip
    say = _teller(quiet=False)
    if target_loss is None:
        carry_out(settings, wanted, [data], say)
        _tell_next(settings, wanted, data)
        return True
    met = spend_effort(with_judges(settings, data, say), target_loss, [data], say)
    _tell_next(settings, wanted, data)
    return met


def settings_of(
    checkpoint: Path, data: PathLike, out: Path, num_calib: int, imgsz: Sequence[int], effort: str,
    letterbox: str, work: Path | None, scheme: Path | None, refine: Sequence[str],
    boxes: BoxesOptions | None, strict: bool, warn: Callable[[str], None],
) -> Settings:  # fmt: skip
    """The settings that these options ask for; calibration images are read and thinned."""
    if len(imgsz) > 2:
        raise InputError("--imgsz", f"is given {len(imgsz)} times", "once or twice")
    stem = checkpoint_stem(checkpoint)
    size = _input_size(stem, imgsz, warn)
    score = trained_score(stem)
    if score is not None and score < _NOTHING:
        warn(
            f"{checkpoint} reached mAP@0.5 {score:.4f} in its training: it finds next to nothing, "
            "and the integer model will not find more"
        )
    _check_refine(refine, scheme)
    images = calibration_images(data, num_calib, warn, strict, size)
    return Settings(
        checkpoint=stem,
        images=images,
        imgsz=size,
        work=stage_folder(out, work) / stem.name,
        out=out,
        effort=effort,
        letterbox=letterbox,
        judged=judging_images(data, images),
        scheme=scheme,
        boxes=boxes,
        refine=tuple(refine),
    )


def with_judges(settings: Settings, data: PathLike, say: Callable[[str], None]) -> Settings:
    """The settings with as many images to judge on as a target is worth; where calibration takes
    them all, a quarter of them is kept back. InputError where that leaves too few."""
    images = settings.images
    judged = judging_images(data, images, MAX_TRUSTED)
    if len(judged) < FEW:
        every = (*images, *judged)
        back = min(len(every) // 4, MAX_TRUSTED)
        if back < LEAST_JUDGED:
            raise InputError(
                "--target-loss", f"has {len(every)} images to calibrate and to judge on",
                f"at least {4 * LEAST_JUDGED}",
            )  # fmt: skip
        judged = tuple(spread(every, back))
        images = tuple(image for image in every if image not in set(judged))
        say(f"target: {back} of {len(every)} images are kept back to judge on")
    return replace(settings, images=images, judged=judged, evaluate_images=len(judged))


def spend_effort(
    settings: Settings, target: float, read: Sequence[PathLike], say: Callable[[str], None]
) -> bool:
    """Quantize with more and more effort until the estimated loss, at the upper end of its
    interval, is at most `target` points of AP; False where the greatest does not reach that.

    The model of the last effort is the one that is written. See `carry_out`.
    """
    for effort in EFFORTS[EFFORTS.index(settings.effort) :]:
        carry_out(replace(settings, effort=effort), STAGES, read, say)
        found = estimated(settings)
        if found is None:
            raise InputError(
                "--target-loss", "cannot be judged: the float network finds nothing",
                "a trained network, and images that show what it was trained on",
            )  # fmt: skip
        lost = "{} ({} to {})".format(*found.spelled())
        if found.high <= target:
            say(f"target: met with effort {effort}: at most {target:g} points of AP, estimated "
                f"{lost}")  # fmt: skip
            return True
        say(f"target: not met with effort {effort}: at most {target:g} points of AP, estimated "
            f"{lost}")  # fmt: skip
    return False


def _tell_next(settings: Settings, stages: Sequence[str], data: PathLike = "DATA.yaml") -> None:
    """data: the pictures; where they are a data.yaml, the model is scored on it next."""
    if "compile" in stages:
        out = settings.out
        boxes = out.with_name(f"{out.name.removesuffix('_cvm')}_boxes")
        scored = data if is_yaml(data) else "DATA.yaml"
        for_a_contract = [] if settings.boxes else [("yolo-mrt", "boxes", out, "--out", boxes)]
        console.next_steps(
            ("yolo-cvm", "detect", out, "PICTURE", "--out", "results"),
            ("yolo-eval", "coco", out, "--data", scored, "--json", "quant.json"),
            ("yolo-mrt", "report", out),
            *for_a_contract,
            ("yolo-cvm", "bundle", out, "--out", "bundle"),
        )


def _check_refine(refine: Sequence[str], scheme: Path | None) -> None:
    if refine and scheme is not None:
        raise InputError("--refine", "changes what --scheme decides", "one of the two")


def split_words(
    words: Sequence[str], options: Sequence[click.Parameter]
) -> tuple[str | None, dict[str, dict[str, Any]]]:
    """(checkpoint, values of `--section.key VALUE`) from what a command line has beside options.

    options: of the command, to be suggested where a word was meant as one of them.
    """
    at = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    if at > 1:
        raise click.UsageError(f"Got unexpected extra argument ({words[1]})")
    for word in words[at:]:
        name = word.partition("=")[0]
        if name.startswith("-") and "." not in name and not _is_number(name):
            known = [each for option in options for each in option.opts]
            raise click.NoSuchOption(name, possibilities=get_close_matches(name, known))
    return (words[0] if at else None), overriding(words[at:])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _input_size(stem: Path, asked: Sequence[int], warn: Callable[[str], None]) -> tuple[int, int]:
    """(height, width) as asked, else as trained, else 640; says where it does not follow."""
    trained = trained_imgsz(stem)
    if not asked:
        return trained or DEFAULT_IMGSZ
    sides = asked[0] if len(asked) == 1 else list(asked)
    size = rounded_imgsz(sides, "--imgsz", checkpoint_stride(stem))
    if trained and size != trained:
        warn(
            f"the input is {size[1]}x{size[0]} as asked; {stem.name} was trained at "
            f"{trained[1]}x{trained[0]}, and accuracy depends on it"
        )
    return size


def from_config(
    config: Path, effort: str, refine: Sequence[str], stages: Sequence[str],
    boxes: BoxesOptions | None, changes: Mapping[str, Mapping[str, Any]],
) -> None:  # fmt: skip
    """`yolo-mrt quantize --config FILE`. changes: see `overriding`."""
    configured = read_config(config, effort, tell=_warn, changes=changes)
    settings = replace(configured.settings, boxes=boxes, refine=tuple(refine))
    wanted = _check_stages(stages) if stages else configured.stages
    quiet = configured.verbosity not in ("debug", "info")
    carry_out(settings, wanted, [config], _teller(quiet))
    if not quiet:
        _tell_next(settings, wanted)


def stage_folder(out: Path, work: Path | None) -> Path:
    """Where the stage files of a model folder lie."""
    return work if work is not None else _beside(out, ".stages")


def _beside(folder: Path, ending: str) -> Path:
    """A place beside a folder that is called like it, with `ending`. InputError for the root."""
    if folder.name in ("", ".."):  # such as the working folder, "."
        folder = Path(os.path.abspath(folder))
    if not folder.name:
        raise InputError(folder, "is the root of the file system", "a model folder")
    return folder.with_name(folder.name + ending)


def _check_outputs(settings: Settings, stages: Sequence[str], read: Sequence[PathLike]) -> None:
    """Refuse a model folder or stage files that would replace what is not theirs."""
    inputs = [*model_sources(settings.checkpoint), *settings.images, *settings.judged, *read]
    if settings.scheme is not None:
        inputs.append(settings.scheme)
    files = [settings.stage_file(ending) for ending in STAGE_FILES]
    folders = [settings.out] if "compile" in stages else []
    check_outputs(inputs, files, folders, cache=True)


def carry_out(
    settings: Settings, stages: Sequence[str], read: Sequence[PathLike], say: Callable[[str], None]
) -> None:
    """Run the stages; nothing is written where the checkpoint is refused.

    read: what was read for the settings. InputError where an output would replace what is not
    ours, and while another command works with the same stage files.
    """
    _check_outputs(settings, stages, read)
    with only_one(settings.work):
        console.goes_on()  # finished stages are not run again
        run_stages(settings, [stage for stage in stages if stage == "prepare"], say)
        _remember(settings, stages)
        run_stages(settings, [stage for stage in stages if stage != "prepare"], say)
    judged = settings.stage_file(".evaluate.json")
    console.answer({
        "model": str(settings.out), "stages": str(settings.work.parent), "imgsz": settings.imgsz,
        "evaluate": read_json(judged) if judged.is_file() else None,
    })  # fmt: skip


def _remember(settings: Settings, stages: Sequence[str]) -> None:
    """Note beside the stage files what they belong to, for the report."""
    if "prepare" not in stages and not settings.stage_file(RUN).exists():
        return
    record = {
        "images": [str(image.resolve()) for image in settings.images],
        "judged": [str(image.resolve()) for image in settings.judged],
        "imgsz": list(settings.imgsz),
        "letterbox": settings.letterbox,
        "effort": settings.effort,
        "head_bits": settings.head_bits,
    }
    content = json.dumps(record, indent=1) + "\n"
    atomic_write(settings.stage_file(RUN), content, cache=True)


def recall(folder: Path, work: Path | None) -> Settings:
    """The settings that a model folder was made with, from its stage files."""
    if not folder.is_dir():
        cause = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(folder, cause, "a model folder that quantize wrote")
    place = stage_folder(folder, work)
    if not place.is_dir() and work is None:
        # A qconf run keeps its stage files beside the folder that it dumps to.
        place = folder.parent
    found = sorted(place.glob(f"*{RUN}"))
    own = [path for path in found if folder.name in (path.name[: -len(RUN)],
                                                     path.name[: -len(RUN)] + "_cvm")]  # fmt: skip
    found = own or found
    if len(found) != 1:
        cause = f"has {len(found)} files *{RUN} in {place}"
        raise InputError(folder, cause, "the stage files of one model (--work names their folder)")
    data: Any = read_json(found[0])
    try:
        fields: dict[str, Any] = {
            "images": tuple(Path(str(image)) for image in data["images"]),
            "judged": tuple(Path(str(image)) for image in data["judged"]),
            "imgsz": check_imgsz(list(data["imgsz"]), str(found[0])),
            "letterbox": str(data["letterbox"]),
            "effort": str(data["effort"]),
            "head_bits": int(data["head_bits"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(found[0], f"is damaged ({error!r:.60})", "what quantize wrote") from error
    if fields["letterbox"] not in LETTERBOX_MODES or fields["effort"] not in EFFORTS:
        raise InputError(found[0], "is damaged", "what quantize wrote")
    stem = found[0].with_name(found[0].name[: -len(RUN)])
    return Settings(checkpoint=stem, work=stem, out=folder, **fields)


def report_of(folder: Path, work: Path | None, out: Path | None, images: int, every: bool) -> None:
    """`yolo-mrt report FOLDER`. every: print all nodes, not only the worst."""
    from yolo_mrt.report import judge_nodes, page, refinable, summary, table

    if not 1 <= images <= 1000:
        raise InputError("--images", f"is {images}", "1 to 1000")
    settings = recall(folder, work)
    target = out if out is not None else _beside(folder, ".report.html")
    stages = [settings.stage_file(ending) for ending in STAGE_FILES]
    check_outputs([*model_sources(folder), *stages, *settings.images, *settings.judged], [target])
    report = judge_nodes(settings, images, click.echo)
    atomic_write(target, page(report, folder.name))
    console.answer({"page": str(target)})
    shown = report.nodes if every else report.nodes[:_WORST]
    click.echo(table(shown))
    if len(shown) < len(report.nodes):
        click.echo(f"… and {len(report.nodes) - len(shown)} more: --nodes prints all of them")
    for line in summary(report):
        click.echo(line)
    click.echo(f"Page with histograms: {target}")
    name = refinable(report)
    again = ("yolo-mrt", "quantize", "CHECKPOINT", "--data", "PICTURES", "--out", folder)
    console.next_steps(
        *([] if name is None else [(*again, "--refine", name)]),
        ("yolo-cvm", "bundle", folder, "--out", "bundle"),
    )
