"""MkDocs hook: the parts of the book that are made from the code.

A line of its own in a page is replaced by what it names:

    ::: operators MODULE      every operator of a module of the operator table
    ::: commands PACKAGE      the help of every command of a package
    ::: include PATH          a Markdown file of the repository, its first heading left out
    ::: modules PACKAGE       a picture of a package's folders and the imports between them

so that these parts cannot say anything else than the code does.
"""

from __future__ import annotations

import ast
import html
import importlib
import inspect
import posixpath
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
_DIRECTIVE = re.compile(r"^::: (\w+) (\S+)$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#|mailto:)([^)\s]+)\)")
_RULES = {
    "shape": "Shape",
    "precision": "Precision",
    "gas": "Gas per element of the first output",
    "meaning": "Meaning",
}
_COMMONEST = {
    "shape": "That of the first input.",
    "precision": "That of the first input.",
    "gas": "1",
}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for every page; returns its text with all directives carried out."""

    def replaced(match: re.Match[str]) -> str:
        directive, argument = match.groups()
        if directive == "include":
            return include(argument, page.file.src_uri)
        return {"operators": operators, "commands": commands, "modules": modules}[directive](
            argument
        )

    return _DIRECTIVE.sub(replaced, markdown)


def operators(module_name: str) -> str:
    """Every operator of `yolo_core.graph.operators.MODULE`, typeset from its class."""
    module = importlib.import_module(f"yolo_core.graph.operators.{module_name}")
    parts = [paragraphs(inspect.getdoc(module) or "")]
    for operator in module.OPERATORS:
        parts += [f"### {operator.name}", paragraphs(inspect.getdoc(operator) or "")]
        parts.append(_attributes(operator))
        parts += [_rule(operator, rule, title) for rule, title in _RULES.items()]
    return "\n\n".join(part for part in parts if part)


def _attributes(operator: Any) -> str:
    if not operator.attributes:
        return "No attributes."
    rows = ["| attribute | value | default |", "|---|---|---|"]
    for attribute in operator.attributes:
        kind = (inspect.getdoc(type(attribute)) or "").split("\n")[0].rstrip(".")
        default = "required" if attribute.required else f"`{attribute.write(attribute.default)}`"
        low, high = attribute.low, attribute.high
        bounds = "" if low is None else f", at least {low}"
        bounds += "" if high is None else f", at most {high}"
        rows.append(f"| `{attribute.name}` | {kind}{bounds} | {default} |")
    return "\n".join(rows)


def _rule(operator: Any, rule: str, title: str) -> str:
    base = next(cls for cls in type(operator).__mro__ if rule in vars(cls))
    if base.__name__ == "Operator":
        return f"**{title}.** {_COMMONEST[rule]}"
    source = textwrap.dedent(inspect.getsource(vars(base)[rule]))
    body = textwrap.indent(f"```python\n{source}```", "    ")
    return f'??? abstract "{title}"\n\n{body}'


def paragraphs(text: str) -> str:
    """A docstring as Markdown: lines indented by four become a block of code."""
    out: list[str] = []
    code = False
    for line in text.split("\n"):
        indented = line.startswith("    ") and not line.lstrip().startswith(("- ", "* "))
        if indented != code and (line.strip() or not code):
            out += ["```text", ""][:1] if indented else ["```", ""]
            if indented:
                out.insert(-1, "")
            code = indented
        out.append(line[4:] if code else _escaped(line))
    if code:
        out.append("```")
    return "\n".join(out)


def _escaped(line: str) -> str:
    """Text in which stars and underscores stand for themselves, outside of `code`."""
    pieces = line.split("`")
    pieces[::2] = [re.sub(r"([*_<])", r"\\\1", piece) for piece in pieces[::2]]
    return "`".join(pieces)


def commands(package: str) -> str:
    """The help of a package's command and of each of its subcommands, as click prints it."""
    group = importlib.import_module(package.replace("-", "_") + ".cli").main
    parts = []
    for name, command in _walk(package, group):
        context = click.Context(command, info_name=name, max_content_width=96)
        parts.append(f"### `{name}`\n\n```text\n{command.get_help(context)}\n```")
    return "\n\n".join(parts)


def _walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for word in sorted(command.commands):
            yield from _walk(f"{name} {word}", command.commands[word])


def include(path: str, page: str) -> str:
    """A file of the repository. Its links point into the repository: what the book does not hold
    is shown as text."""
    text = (ROOT / path).read_text("utf-8")
    text = re.sub(r"\A# .*\n", "", text)
    known = {
        f"packages/{folder.name}/README.md": f"packages/{folder.name}.md"
        for folder in (ROOT / "packages").iterdir()
    }
    known |= {
        f"packages/{folder.name}": f"packages/{folder.name}.md"
        for folder in (ROOT / "packages").iterdir()
    }
    known |= {
        "packages/yolo-cvm/docs/receipt.md": "formats/receipt.md",
        "packages/yolo-cvm/docs/witness.md": "formats/witness.md",
        "packages/yolo-cvm/docs/bundle.md": "formats/bundle.md",
        "packages/yolo-cvm/docs/plan.md": "formats/plan.md",
    }

    def link(match: re.Match[str]) -> str:
        target, _, anchor = match[2].partition("#")
        whole = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if whole.startswith("docs/"):
            inside = whole[len("docs/") :]
        elif whole in known:
            inside = known[whole]
        else:
            return f"{match[1]} (`{whole}`)"
        relative = posixpath.relpath(inside, posixpath.dirname(page) or ".")
        return f"[{match[1]}]({relative}{'#' + anchor if anchor else ''})"

    return _LINK.sub(link, text)


def modules(package: str) -> str:
    """A picture: a box for every folder of a package, an arrow where one imports from another."""
    name = package.replace("-", "_")
    source = ROOT / "packages" / package / "src" / name
    folders: dict[str, list[str]] = {}
    arrows: set[tuple[str, str]] = set()
    for file in sorted(source.rglob("*.py")):
        if file.name in ("__init__.py", "__main__.py"):
            continue
        folder = file.parent.relative_to(source).as_posix()
        folders.setdefault(folder, []).append(file.stem)
        for target in _imported(file, name):
            other = _folder_of(source, target)
            if other not in (folder, None):
                arrows.add((folder, str(other)))
    return _picture(package, folders, arrows)


def _imported(file: Path, name: str) -> Iterator[list[str]]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            words = node.module.split(".")
            if words[0] == name:
                for alias in node.names:
                    yield [*words[1:], alias.name]


def _folder_of(source: Path, words: list[str]) -> str | None:
    """The folder in which the module that an import names stands."""
    for count in range(len(words), -1, -1):
        place = source.joinpath(*words[:count])
        if place.with_suffix(".py").is_file() and count:
            return place.parent.relative_to(source).as_posix()
        if (place / "__init__.py").is_file() and count < len(words):
            return place.relative_to(source).as_posix()
    return None


def _levels(folders: dict[str, list[str]], arrows: set[tuple[str, str]]) -> dict[str, int]:
    """A level for every folder, below all folders that it imports from where that is possible."""
    level = dict.fromkeys(folders, 0)
    for _ in folders:
        for user, used in arrows:
            if user in level and used in level and (used, user) not in arrows:
                level[user] = max(level[user], min(level[used] + 1, len(folders)))
    used_levels = sorted(set(level.values()))
    return {folder: used_levels.index(value) for folder, value in level.items()}


def _picture(package: str, folders: dict[str, list[str]], arrows: set[tuple[str, str]]) -> str:
    """Inline SVG: foundations at the top, users below them."""
    width, gap, line = 210, 34, 17
    level = _levels(folders, arrows)
    rows: dict[int, list[str]] = {}
    for folder in folders:
        rows.setdefault(level[folder], []).append(folder)
    boxes: dict[str, tuple[int, int, int]] = {}
    top = 10
    for number in sorted(rows):
        tallest = 0
        for column, folder in enumerate(sorted(rows[number])):
            height = 34 + line * ((len(folders[folder]) + 1) // 2)
            boxes[folder] = (10 + column * (width + gap), top, height)
            tallest = max(tallest, height)
        top += tallest + 46
    across = max(len(row) for row in rows.values()) * (width + gap)
    parts = [
        f'<svg class="modules" role="img" viewBox="0 0 {across} {top}" '
        f'style="max-width:{across}px;width:100%" xmlns="http://www.w3.org/2000/svg">'
        f"<title>Folders of {html.escape(package)} and the imports between them</title>"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor"/></marker>'
        "</defs>"
    ]
    for user, used in sorted(arrows):
        if user in boxes and used in boxes:
            x1, y1, _ = boxes[user]
            x2, y2, height = boxes[used]
            start, end = (x1 + width // 2, y1), (x2 + width // 2, y2 + height)
            if y1 == y2:
                start, end = (x1 + width // 3, y1), (x2 + width // 2, y2)
            parts.append(
                f'<line x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}" '
                'stroke="currentColor" stroke-opacity=".45" marker-end="url(#tip)"/>'
            )
    for folder, (x, y, height) in boxes.items():
        title = "(top level)" if folder == "." else folder + "/"
        parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" '
            'fill="var(--md-default-bg-color)" stroke="currentColor"/>'
            f'<text x="{x + 10}" y="{y + 19}" font-weight="bold" font-size="13" '
            f'fill="currentColor">{html.escape(title)}</text>'
        )
        for index, module in enumerate(folders[folder]):
            parts.append(
                f'<text x="{x + 10 + (index % 2) * 100}" y="{y + 38 + line * (index // 2)}" '
                f'font-size="11" fill="currentColor">{html.escape(module)}</text>'
            )
    return "".join(parts) + "</svg>"
