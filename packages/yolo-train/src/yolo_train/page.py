"""The page of a run's best checkpoint, where a package that scores models is installed."""

from __future__ import annotations

import click

from yolo_core.errors import InputError
from yolo_core.yolo.model_page import page_maker
from yolo_train.run_folder import RunFolder

PAGE = "best.html"


def write_page(folder: RunFolder, data: str) -> None:
    """Score the best checkpoint on the `val` part of a data.yaml; print its classes and mistakes.

    The run is complete without the page: what cannot be written is told.
    """
    maker = page_maker()
    if maker is None:
        return
    page = folder.path / PAGE
    try:
        lines = maker(folder.best, data, page)
    except (InputError, OSError) as error:
        click.echo(f"{page} is not written: {error}", err=True)
        return
    click.echo("\n".join([*lines, str(page)]))
