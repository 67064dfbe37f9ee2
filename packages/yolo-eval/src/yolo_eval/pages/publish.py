"""A comparison on disk: report.html, metrics.json, summary.md and the seed-format lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from yolo_core import words
from yolo_core.errors import InputError
from yolo_core.files import atomic_files, atomic_write
from yolo_core.outputs import check_outputs
from yolo_eval.figures.compare import Comparison
from yolo_eval.figures.metrics import percent, seed_line, seed_name
from yolo_eval.pages import gain, mistakes, report, run_page, wording
from yolo_eval.runs.run import Run

#: What every comparison writes; a text file per run, named after its figures, comes beside.
FILES = ("metrics.json", "summary.md", "report.html")


def check_place(out: Path, inputs: Sequence[Path | None]) -> None:
    """InputError where the files of a comparison would replace what is not ours."""
    check_outputs(inputs, [out / name for name in FILES])


def publish(comparison: Comparison, out: Path, images: Path | None = None) -> list[Path]:
    """Write all files of a comparison into the folder `out` and return their paths.

    images: the image folder, for runs that were made elsewhere. Without it, the folder named in
    the first run is used, and of it only pictures whose digest stands in the run: a run file from
    elsewhere cannot bring in a file that its author has not. Other pictures are empty frames with
    their boxes.
    """
    if images is not None and not images.is_dir():
        raise InputError(images, "is not a folder", "the folder of the images")
    named = comparison.runs[0].truth.folder
    recorded = Path(named)
    folder = images or (recorded if named and recorded.is_dir() else None)
    contents = {
        "metrics.json": json.dumps(comparison.to_dict(), indent=1) + "\n",
        "summary.md": markdown(comparison),
        **_seed_lines(comparison),
        "report.html": report.page(comparison, folder, any_picture=images is not None),
    }
    check_outputs(files=[out / name for name in contents])
    atomic_files({out / name: content for name, content in contents.items()})
    return [out / name for name in contents]


def publish_run(run: Run, path: Path) -> None:
    """Write the page of one run. Pictures that are not where the run found them are frames."""
    folder = Path(run.truth.folder) if run.truth.folder else None
    atomic_write(path, run_page.page(run, folder if folder and folder.is_dir() else None))


def markdown(comparison: Comparison) -> str:
    """The figures as Markdown, ready for a README or an issue; names of runs are no markup."""
    comparison = replace(comparison, labels=tuple(map(words.markdown, comparison.labels)))
    first = comparison.runs[0].metrics or {}
    lines = [f"# {wording.title(comparison)}", ""]
    warning = wording.warning(comparison)
    if warning:
        lines += [f"**{warning}**", ""]
    for pair, label in zip(comparison.pairs, comparison.labels[1:]):
        second = pair.run.metrics or {}
        lines += [
            wording.verdict(comparison, pair, label),
            "",
            f"| % | {comparison.labels[0]} | {label} | difference | 95 % interval |",
            "|---|---:|---:|---:|---:|",
        ]
        for key, name in wording.SHOWN_NAMES.items():
            value = pair.figures[key]
            lines.append(
                f"| {name} | {percent(first.get(key))} | {percent(second.get(key))} "
                f"| {wording.points(value)} | {wording.span(value)} |"
            )
        found = pair.agreement
        lines += [
            "",
            f"| mistakes: AP50 lost (number shown) | {comparison.labels[0]} | {label} |",
            "|---|---:|---:|",
            *(
                f"| {kind} | {' | '.join(told)} |"
                for kind, told in mistakes.rows([comparison.runs[0], pair.run])
            ),
            "",
            f"Shown boxes: {found.matched} in both, {found.only_a} only in "
            f"{comparison.labels[0]}, {found.only_b} only in {label}; agreement "
            f"{percent(found.rate, 1)} %. {len(pair.run.truth.images)} images, paired bootstrap "
            f"with {comparison.resamples} draws, seed {comparison.seed}.",
            "",
        ]
    if comparison.costs:
        lines += [*gain.markdown(comparison), ""]
    lines += [
        f"- {label}: {words.markdown(wording.accuracy(run))}"
        for label, run in zip(comparison.labels, comparison.runs)
    ]
    lines += [
        f"- {label}: model SHA-256 `{words.markdown(run.model['digest'])}`"
        for label, run in zip(comparison.labels, comparison.runs)
    ]
    lines.append(f"- ground truth SHA-256 `{comparison.runs[0].truth.digest()}`")
    return "\n".join(lines) + "\n"


def _seed_lines(comparison: Comparison) -> dict[str, str]:
    """One file per run; a number is added where two runs would share a name."""
    files: dict[str, str] = {}
    for run in comparison.runs:
        name = seed_name(run)
        number = 2
        while name in files:
            name = seed_name(run).replace(".txt", f"_{number}.txt")
            number += 1
        files[name] = seed_line(run)
    return files
