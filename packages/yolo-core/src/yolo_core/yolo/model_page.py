"""The page of one model, written by an installed package that scores models.

A package names its function as an entry point of the group `yolo_core.model_pages`; yolo-eval has
one. It takes a model, a data.yaml and the file to write, scores the model on the `val` part,
writes the page and returns what to tell, in lines. It raises InputError.
"""

from __future__ import annotations

from typing import Callable

from yolo_core.files import PathLike
from yolo_core.plugins import installed

ENTRY_POINTS = "yolo_core.model_pages"
PageMaker = Callable[[PathLike, PathLike, PathLike], "list[str]"]


def page_maker() -> PageMaker | None:
    """The installed maker of pages, the first by name; None where no package has one."""
    for point in installed(ENTRY_POINTS):
        maker: PageMaker = point.load()
        return maker
    return None
