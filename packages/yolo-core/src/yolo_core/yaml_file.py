"""YAML files as plain data: the core schema, read from the parser's events by ourselves.

Source: YAML 1.2, section 10.3. A word is null, true or false, an integer, a number or a text; no
tag decides about it, so nothing is built that a file asks for. Tags, anchors, aliases, keys given
twice and numbers of more than `NUMBER_LIMIT` characters are refused, as are deep nesting and more
than one document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_text
from yolo_core.words import shown

#: Largest YAML file in bytes; a data.yaml of a thousand classes has 30 KB.
YAML_LIMIT = 1 << 20
#: Deepest nesting, and longest number in characters.
YAML_DEPTH, NUMBER_LIMIT = 32, 100
#: Largest key that is a number. Numbers a multiple of 2^61 - 1 apart have one hash in Python, and
#: a mapping of thousands of them takes minutes.
KEY_LIMIT = 1 << 32

_NULL = ("", "~", "null", "Null", "NULL")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(_NULL),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def read_yaml(path: PathLike) -> Any:
    """A YAML file as dict, list, str, int, float, bool and None. InputError where it is none."""
    # libyaml where PyYAML was built with it: the same language, five times as fast.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Document(path, yaml.parse(read_text(path, YAML_LIMIT), Loader=loader)).content()
    except (yaml.YAMLError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        raise InputError(path, f"is not valid YAML ({reason})") from error


def yaml_text(content: Any, **style: Any) -> str:
    """Plain data as YAML that `read_yaml` and readers of YAML 1.1 take for the same data."""
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, **style))


class _Dumper(yaml.SafeDumper):
    """Quotes a text that either version of YAML would take for something else."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if text in _WORDS or _NUMBER.fullmatch(text) or _INTEGER.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)


class _Document:
    """One document, built from the parser's events."""

    def __init__(self, path: PathLike, events: Iterator[Any]) -> None:
        self._path = path
        self._events = events

    def content(self) -> Any:
        """What the one document of the stream holds; None where there is none."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), 0)
        next(self._events)
        if not isinstance(next(self._events), yaml.StreamEndEvent):
            raise InputError(self._path, "holds several documents", "one")
        return value

    def _value(self, event: Any, depth: int) -> Any:
        if depth > YAML_DEPTH:
            raise InputError(self._path, "is nested too deep", f"at most {YAML_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            raise InputError(
                self._path, f"uses the YAML alias *{shown(event.anchor)}", "plain YAML"
            )
        if event.tag is not None:
            raise InputError(self._path, f"uses the YAML tag {shown(event.tag)}", "plain YAML")
        if isinstance(event, yaml.ScalarEvent):
            return self._word(event.value) if event.style in (None, "") else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(item, depth + 1) for item in self._until(yaml.SequenceEndEvent)]
        return self._mapping(depth)

    def _mapping(self, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for event in self._until(yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise InputError(self._path, "has a key that is not a word", "words as keys")
            key = self._value(event, depth + 1)
            if isinstance(key, int) and abs(key) > KEY_LIMIT:
                raise InputError(self._path, f"has the key {shown(key)}", f"at most {KEY_LIMIT}")
            if key in found:
                raise InputError(self._path, f"has the key {shown(key)} twice", "each key once")
            found[key] = self._value(next(self._events), depth + 1)
        return found

    def _until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := next(self._events), end):
            yield event

    def _word(self, word: str) -> Any:
        """An unquoted word as the core schema reads it."""
        if word in _WORDS:
            return _WORDS[word]
        integer = _INTEGER.fullmatch(word)
        if not integer and not _NUMBER.fullmatch(word):
            return word
        if len(word) > NUMBER_LIMIT:
            cause = f"has a number of {len(word)} characters"
            raise InputError(self._path, cause, f"at most {NUMBER_LIMIT}")
        if not integer:
            return float(word)
        return int(word, 0 if word[1:2] in ("o", "x") else 10)
