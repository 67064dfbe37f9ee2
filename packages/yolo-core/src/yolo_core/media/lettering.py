"""Text of any script as pixels, with fonts that are shipped: OpenCV's own letters are ASCII alone.

The fonts are in `fonts/` with their licences: DejaVu Sans (Latin, Greek, Cyrillic, Hebrew, Arabic,
Armenian, Georgian, signs) and Droid Sans Fallback (Chinese, Japanese, Korean). A character that
neither has is written as its number, U+1F600, so that two names never look alike.
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
FONTS = tuple(Path(__file__).parent / "fonts" / name
              for name in ("DejaVuSans.ttf", "DroidSansFallback.ttf"))  # fmt: skip

_NO_CHARACTER = "\uffff"
_LONGEST, _ANY_SIZE = 300, 16


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
    return "".join(c if _font_of(c, _ANY_SIZE) else f"[U+{ord(c):04X}]" for c in composed)


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
    return next((font for font in _fonts(size) if _has(font, character)), None)


def _has(font: Any, character: str) -> bool:
    """Whether the font draws the character otherwise than one that does not exist."""
    drawn, missing = (font.getmask(letter) for letter in (character, _NO_CHARACTER))
    return bool(drawn.size != missing.size or bytes(drawn) != bytes(missing))


@functools.lru_cache(maxsize=8)
def _fonts(size: int) -> tuple[Any, ...]:
    font = _pillow("ImageFont")
    return tuple(font.truetype(str(path), size) for path in FONTS)


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
