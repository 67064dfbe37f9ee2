"""How a word that comes from outside is shown to people: on one line, without control characters.

A name in a model, a receipt or a picture's file may hold anything: line breaks that invent a line
of output, escape sequences that rewrite the screen, marks that turn the reading direction. Every
command shows such a word through `shown`; readers refuse a name where `text_fault` finds one.
"""

from __future__ import annotations

import os
import re
import unicodedata

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~])")
#: Longest word that is shown whole, in characters.
WORD_LIMIT = 200
#: Longest name of a class, in characters.
NAME_LIMIT = 200
#: Categories of Unicode that no name needs: controls, surrogates, line and paragraph separators.
_REFUSED = ("Cc", "Cs", "Zl", "Zp")
#: Marks that change the reading direction of what follows (Unicode's Bidi_Control).
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def shown(word: object, limit: int = WORD_LIMIT) -> str:
    """A foreign word for a terminal, a log or an error: printable, on one line, of bounded length.

    word: text, a path, or anything else with a text of its own. Characters that do not print
    (controls, line breaks, direction marks, surrogates) become escapes as in Python; of a word of
    more than `limit` characters the beginning and the end are shown.
    """
    text = os.fsdecode(word) if isinstance(word, (bytes, os.PathLike)) else str(word)
    if len(text) > limit:
        half = (limit - 3) // 2
        text = f"{text[:half]} … {text[-half:]}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def text_fault(text: str, limit: int = NAME_LIMIT) -> str | None:
    """What is wrong with a name from outside, in a few words; None where nothing is.

    A name is valid Unicode of at most `limit` characters, without controls, line or paragraph
    separators and direction marks.
    """
    if len(text) > limit:
        return f"has {len(text)} characters, more than {limit}"
    for position, character in enumerate(text):
        if character in _BIDI or unicodedata.category(character) in _REFUSED:
            code = f"U+{ord(character):04X}"
            return f"holds the character {code} at position {position}"
    return None


def markdown(text: str) -> str:
    """A foreign text for a Markdown page: shown as it is, on one line, never as markup or HTML."""
    one_line = "".join(c if c.isprintable() else " " for c in text)
    return _MARKUP.sub(r"\\\1", one_line)
