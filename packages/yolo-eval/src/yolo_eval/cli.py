"""The command line of yolo-eval: parse, call one function, print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from yolo_core.command import Group, budget_options
from yolo_core.console import answer, next_steps
from yolo_core.detecting.command import detect_options
from yolo_core.detecting.options import DetectOptions
from yolo_core.outputs import check_outputs
from yolo_core.words import shown
from yolo_eval import __version__, options
from yolo_eval.options import PATH


@click.group(cls=Group)
@click.version_option(__version__)
def main() -> None:
    """COCO figures of float and integer detectors, and what quantization cost."""


@main.command()
@budget_options
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@options.ground_truth_options
@click.option("--json", "json_", type=PATH, help="Write the run file here (one MODEL).")
@click.option("--out", type=PATH, help="Write a run file and a page per MODEL here.")
@click.option("--predictions", type=PATH, help="Write the plain COCO results list (one MODEL).")
@click.option("--text", type=PATH, help="Write the seed-format line (one MODEL).")
@click.option("--conf", "--conf-thres", "conf", type=click.FloatRange(0, 1),
              help="Smallest score. Default: the model's own, or 0.001.")  # fmt: skip
@click.option("--iou", "--iou-thres", "iou", type=click.FloatRange(0, 1),
              help="IoU of suppression. Default: the model's own, or 0.6.")  # fmt: skip
@click.option("--max-det", type=click.IntRange(1, 10000),
              help="Boxes per image. Default: the model's own, or 300.")  # fmt: skip
@click.option("--rows", is_flag=True,
              help="Choose boxes by these options, not by the model's graph.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True,
              help="Processes that share the images.")  # fmt: skip
@click.option("--dask", metavar="ADDRESS",
              help="Workers of this Dask cluster do the images: tcp://host:8786.")  # fmt: skip
@click.option("--shard", help="Only every n-th image: i/n; see merge.")
@options.class_options
@options.model_options
def coco(
    models: tuple[str, ...],
    data: Path | None,
    split: str,
    images: Path | None,
    annotations: Path | None,
    strict: bool,
    json_: Path | None,
    out: Path | None,
    predictions: Path | None,
    text: Path | None,
    conf: float | None,
    iou: float | None,
    max_det: int | None,
    rows: bool,
    jobs: int,
    dask: str | None,
    shard: str | None,
    classes: str | None,
    map_classes: Path | None,
    imgsz: str | None,
    squash: bool | None,
    threads: int | None,
    device: str,
) -> None:
    """Score each MODEL on labelled images.

    MODEL is a checkpoint, a CVM model folder or a bundle. Of a model whose graph decides, its own
    boxes are scored, and the run file says by which settings they were decided.

    \b
    yolo-eval coco weights/yolov5n --images val/images --annotations val/instances.json \\
        --json float.json
    yolo-eval coco qout/yolov5n_cvm --data shapes/data.yaml --json quant.json --jobs 2

    A run with --json or --out that was interrupted goes on when the same command is given again.
    """
    from yolo_eval.pages.publish import publish_run
    from yolo_eval.pages.text import after_run, details, summary
    from yolo_eval.runs.classes import parse_classes, read_map
    from yolo_eval.runs.evaluate import OutputFiles, evaluate_all
    from yolo_eval.runs.predict import PredictSettings, threads_per_process

    settings = PredictSettings(
        imgsz=options.imgsz(imgsz),
        mode=options.mode(squash),
        conf=conf,
        iou=iou,
        max_det=max_det,
        rows=rows,
        classes=parse_classes(classes),
        class_map=read_map(map_classes),
        threads=threads or threads_per_process(jobs),
        device=device,
    )
    outputs = OutputFiles(json_, out, predictions, text)
    part = options.shard(shard)
    outputs.check(models, part, [data, images, annotations, map_classes])
    truth = options.truth(data, split, images, annotations, strict)
    places = zip(outputs.run_files(models, part), outputs.pages(models, part))
    for run, (file, page) in zip(
        evaluate_all(models, truth, settings, jobs, part, outputs, options.spread(dask, jobs)),
        places,
    ):
        click.echo(summary(run))
        if page is not None:
            publish_run(run, page)
            click.echo(details(run))
        _tell_written([file, page, predictions, text])
        next_steps(*after_run(run, file))


def _tell_written(files: Sequence[Path | None]) -> None:
    there = [shown(path) for path in files if path is not None]
    if there:
        click.echo(f"written {', '.join(there)}")


@main.command()
@click.argument("shards", nargs=-1, required=True, type=PATH, metavar="SHARD.json...")
@click.option("--json", "json_", type=PATH, required=True, help="Write the whole run file here.")
def merge(shards: tuple[Path, ...], json_: Path) -> None:
    """Join the run files of --shard 1/n to n/n and score them."""
    from yolo_eval.pages.text import after_run, summary
    from yolo_eval.runs.evaluate import merge_files

    run = merge_files(shards, json_)
    click.echo(summary(run))
    _tell_written([json_])
    next_steps(*after_run(run, json_))


@main.command()
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="A.json B.json...")
@click.option("--out", type=PATH, required=True, help="Folder for report.html and the rest.")
@click.option("--images", type=PATH, help="Image folder, if not where the runs found it.")
@click.option("--annotations", type=PATH, help="Ground truth of bare COCO result lists.")
@click.option("--resamples", type=click.IntRange(1, 100000), default=1000, show_default=True,
              help="Draws of the bootstrap.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--measure/--no-measure", default=True, show_default=True,
              help="Measure the models' time and memory, where they are here.")  # fmt: skip
@click.option("--different-settings", is_flag=True,
              help="Compare runs of different settings, and name every difference.")  # fmt: skip
@options.class_options
def compare(
    runs: tuple[Path, ...],
    out: Path,
    images: Path | None,
    annotations: Path | None,
    resamples: int,
    seed: int,
    measure: bool,
    different_settings: bool,
    classes: str | None,
    map_classes: Path | None,
) -> None:
    """Say what changed from run A to B, with intervals.

    \b
    yolo-eval compare float.json quant.json --out runs/compare

    Runs that differ in more than the model (input size, resize, confidence, suppression, boxes per
    image, classes) are refused without --different-settings.
    """
    from yolo_eval.figures.compare import compare as compare_runs
    from yolo_eval.figures.compare import read_runs
    from yolo_eval.figures.cost import costs
    from yolo_eval.pages.publish import check_place, markdown, publish
    from yolo_eval.pages.text import after_comparison
    from yolo_eval.runs.classes import parse_classes, read_map

    check_place(out, [*runs, annotations, map_classes])
    truth = options.truth(None, "val", images, annotations, pictures=False) if annotations else None
    found = read_runs(
        runs, truth, parse_classes(classes), read_map(map_classes), different_settings
    )
    comparison = compare_runs(found, resamples, seed)
    if measure:
        comparison = replace(comparison, costs=costs(found))
    written = publish(comparison, out, images)
    answer(comparison.to_dict())
    click.echo(markdown(comparison))
    click.echo("\n".join(str(path) for path in written))
    next_steps(*after_comparison(comparison, runs))


@main.command()
@click.argument("predictions", type=PATH, metavar="PREDICTIONS.json")
@options.ground_truth_options
@click.option("--json", "json_", type=PATH, help="Write the run file here.")
@click.option("--text", type=PATH, help="Write the seed-format line.")
def score(
    predictions: Path,
    data: Path | None,
    split: str,
    images: Path | None,
    annotations: Path | None,
    strict: bool,
    json_: Path | None,
    text: Path | None,
) -> None:
    """Score a COCO results list of any tool (.json, .json.gz)."""
    from yolo_eval.pages.text import after_run, summary
    from yolo_eval.runs.evaluate import OutputFiles, score_file

    truth = options.truth(data, split, images, annotations, strict, pictures=False)
    run = score_file(predictions, truth, OutputFiles(json=json_, text=text))
    click.echo(summary(run))
    _tell_written([json_, text])
    next_steps(*after_run(run, json_))


@main.command()
@budget_options
@click.argument("model")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--out", type=PATH, help="Folder of the results. Default: runs/detect/exp, exp2 and so on."
)
@detect_options
@options.model_options
def detect(
    model: str,
    sources: tuple[str, ...],
    out: Path | None,
    wishes: DetectOptions,
    imgsz: str | None,
    squash: bool | None,
    threads: int | None,
    device: str,
) -> None:
    """Find objects in pictures and videos.

    A SOURCE is a picture, a video, a folder, a glob, a list (.txt), the number of a camera, or a
    stream (rtsp://…).

    \b
    yolo-eval detect weights/yolov5n bus.jpg 'holiday/*.jpg' drive.mp4 --out results
    """
    from yolo_core.detecting.command import tell
    from yolo_eval.detect import detection
    from yolo_eval.pages.text import one_line

    size, mode = options.imgsz(imgsz), options.mode(squash)
    done = detection(model, sources, out, size, mode, threads, device, wishes)
    try:
        tell(done, one_line)
    finally:
        answer(done.document(done))


@main.command()
@budget_options
@click.argument("folder", type=PATH, metavar="DIR")
@click.option("--out", type=PATH, help="Folder for table.md, table.html and table.json.")
@click.option("--sizes", default="nsmlx", show_default=True, help="Which sizes.")
@click.option("--form", "forms", multiple=True,
              type=click.Choice(["float", "integer reference", "integer fast"]),
              help="Only this form; may be given again.")  # fmt: skip
@click.option("--imgsz", default="640", show_default=True, help="Of float and generated models.")
@click.option("--threads", type=click.IntRange(1, 1024), multiple=True, default=(1,),
              show_default=True, help="May be given again.")  # fmt: skip
@click.option("--repeats", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option("--resamples", type=click.IntRange(1, 100000), default=1000, show_default=True)
@click.option("--no-generated", is_flag=True, help="Leave out sizes that DIR does not hold.")
@click.option("--licence", default="", help="Of the weights in DIR, for the last column.")
def table(
    folder: Path,
    out: Path | None,
    sizes: str,
    forms: tuple[str, ...],
    imgsz: str,
    threads: tuple[int, ...],
    repeats: int,
    resamples: int,
    no_generated: bool,
    licence: str,
) -> None:
    """One table of all sizes and forms of a model.

    Cost, speed, memory, AP and what quantization lost, with interval. DIR holds checkpoints,
    integer models and run files of `yolo-eval coco`, in any folders.
    """
    from yolo_eval.figures.table import FORMS, TableSettings, make_table
    from yolo_eval.pages.table_output import FILES, as_record, markdown, write_table

    if out is not None:
        check_outputs([folder], [out / name for name in FILES])
    settings = TableSettings(
        sizes=options.sizes(sizes),
        forms=forms or tuple(FORMS),
        imgsz=options.imgsz(imgsz) or (640, 640),
        threads=threads,
        repeats=repeats,
        generated=not no_generated,
        resamples=resamples,
        licence=licence,
    )
    rows = make_table(folder, settings, lambda line: click.echo(line, err=True))
    answer(as_record(rows))
    click.echo(markdown(rows))
    if out is not None:
        click.echo("\n".join(str(path) for path in write_table(rows, out)))
        next_steps()
