"""Foreign words on pages."""

from __future__ import annotations

import pytest

from yolo_core.words import markdown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("yolov5n (2)", "yolov5n (2)"),
        ("<img src=x>", r"\<img src=x\>"),
        ("a\n# heading\x1b[2J", r"a \# heading \[2J"),
        ("| a | `b` *c* [d](e)", r"\| a \| \`b\` \*c\* \[d\](e)"),
        ("\u202eabc\udcff", " abc "),
    ],
)
def test_a_foreign_text_is_no_markdown(text: str, shown: str) -> None:
    assert markdown(text) == shown
