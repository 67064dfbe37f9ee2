"""Text of any script as pixels, with fonts that are shipped: OpenCV's own letters are ASCII alone.

The fonts are in `fonts/` with their licences: DejaVu Sans (Latin, Greek, Cyrillic, Hebrew, Arabic,
Armenian, Georgian, signs), Noto Sans (Thai, Devanagari, Bengali, Tamil) and Droid Sans Fallback
(Chinese, Japanese, Korean). A character that none of them has is written as its number, U+1F600, so
that two names never look alike.
"""

from __future__ import annotations

import functools
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError

#: The fonts' files, in the order in which they are asked for a character.
FONTS = tuple(
    Path(__file__).parent / "fonts" / f"{name}.ttf"
    for name in (
        "DejaVuSans", "NotoSansThai", "NotoSansDevanagari", "NotoSansBengali", "NotoSansTamil",
        "DroidSansFallback",
    )
)  # fmt: skip

_NO_CHARACTER = "\uffff"
_LONGEST = 300


def lettering(text: str, size: int) -> Array:
    """The text as coverage, uint8 [height, width], 255 is ink. size: of the letters, in pixels.

    All texts of one size have one height and baseline. InputError where Pillow is not installed.
    """
    runs = _runs(text[:_LONGEST], size)
    fonts = _fonts(size)
    ascent = max(font.getmetrics()[0] for font in fonts)
    height = ascent + max(font.getmetrics()[1] for font in fonts)
    width = sum(int(np.ceil(font.getlength(run))) for run, font in runs)
    image, pen = _canvas(max(1, width), height)
    left = 0
    for run, font in runs:
        pen.text((left, ascent), run, fill=255, font=font, anchor="ls")
        left += int(np.ceil(font.getlength(run)))
    return np.asarray(image)


def spelled(text: str) -> str:
    """The text in characters that the fonts have; others are written as their numbers."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(c if any(_characters(c)) else f"[U+{ord(c):04X}]" for c in composed)


def _runs(text: str, size: int) -> list[tuple[str, Any]]:
    """The text in pieces of one font each."""
    runs: list[tuple[str, Any]] = []
    for character in spelled(text):
        font = _font_of(character, size)
        if runs and runs[-1][1] is font:
            runs[-1] = (runs[-1][0] + character, font)
        else:
            runs.append((character, font))
    return runs


@functools.lru_cache(maxsize=4096)
def _font_of(character: str, size: int) -> Any:
    return next((f for f, has in zip(_fonts(size), _characters(character)) if has), None)


@functools.lru_cache(maxsize=4096)
def _characters(character: str) -> tuple[bool, ...]:
    """Whether each font draws the character otherwise than one that does not exist."""
    plain = _plain_fonts()
    masks = [[font.getmask(letter) for letter in (character, _NO_CHARACTER)] for font in plain]
    return tuple(a.size != b.size or bytes(a) != bytes(b) for a, b in masks)


@functools.lru_cache(maxsize=8)
def _fonts(size: int) -> tuple[Any, ...]:
    font = _pillow("ImageFont")
    return tuple(font.truetype(str(path), size) for path in FONTS)


@functools.lru_cache(maxsize=1)
def _plain_fonts() -> tuple[Any, ...]:
    """The fonts without shaping, which draws a circle below a mark that stands alone."""
    font = _pillow("ImageFont")
    return tuple(font.truetype(str(path), 16, layout_engine=font.Layout.BASIC) for path in FONTS)


def _canvas(width: int, height: int) -> tuple[Any, Any]:
    image = _pillow("Image").new("L", (width, height))
    return image, _pillow("ImageDraw").Draw(image)


def _pillow(module: str) -> Any:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise InputError(
            "Pillow", f"cannot be imported ({error})",
            'pip install "yolo-core[images]", to write names beyond ASCII into pictures',
        ) from error  # fmt: skip
    return {"Image": Image, "ImageDraw": ImageDraw, "ImageFont": ImageFont}[module]
