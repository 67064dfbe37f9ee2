"""Small faults for native sources, operators and planner: one changed token or node each.

Faults are drawn with a fixed seed, a number per file, so that every run plants the same ones as
long as the sources stay the same.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = Path(__file__).resolve().parents[2]
NATIVE = "yolo-cvm/native"
PLANNER = "yolo-cvm/src/yolo_cvm/engine/planner"
OPERATORS = "yolo-core/src/yolo_core/graph/operators"
PROOF = "yolo-core/src/yolo_core/graph/proof"

#: How many faults each file gets.
QUOTAS = {
    f"{NATIVE}/arch/tile.h": 6,
    f"{NATIVE}/arch/epilogue.h": 10,
    f"{NATIVE}/arch/tile_ops.h": 10,
    f"{NATIVE}/arch/interleave.h": 2,
    f"{NATIVE}/arch/loops.h": 16,
    f"{NATIVE}/arch/moves.h": 8,
    f"{NATIVE}/arch/portable/kernels.cpp": 8,
    f"{NATIVE}/arch/avx2/kernels.cpp": 6,
    f"{NATIVE}/arch/vector256.h": 5,
    f"{NATIVE}/arch/winograd.h": 6,
    f"{NATIVE}/conv.cpp": 10,
    f"{NATIVE}/direct.cpp": 10,
    f"{NATIVE}/image.cpp": 14,
    f"{NATIVE}/plain.cpp": 18,
    f"{NATIVE}/plain_network.cpp": 14,
    f"{NATIVE}/chain.cpp": 12,
    f"{NATIVE}/suppress.cpp": 14,
    f"{NATIVE}/tile_code.cpp": 10,
    f"{NATIVE}/winograd.cpp": 8,
    f"{PLANNER}/constants.py": 6,
    f"{PLANNER}/padding.py": 6,
    f"{PLANNER}/fusion.py": 8,
    f"{PLANNER}/epilogues.py": 10,
    f"{PLANNER}/tile_code.py": 14,
    f"{PLANNER}/scatters.py": 8,
    f"{PLANNER}/selection.py": 6,
    f"{PLANNER}/rows.py": 8,
    f"{PLANNER}/chains.py": 8,
    f"{PLANNER}/chain_code.py": 8,
    f"{PLANNER}/layout.py": 6,
    f"{PLANNER}/emission.py": 6,
    f"{PLANNER}/memory.py": 8,
    f"{PLANNER}/lowering.py": 10,
    f"{OPERATORS}/broadcast.py": 6,
    f"{OPERATORS}/elementwise.py": 8,
    f"{OPERATORS}/nn.py": 12,
    f"{OPERATORS}/reduce.py": 4,
    f"{OPERATORS}/shape.py": 14,
    f"{OPERATORS}/vision.py": 8,
    f"{PROOF}/ranges.py": 12,
}

_TOKENS = [
    (" + ", " - "),
    (" - ", " + "),
    (" * ", " + "),
    (" < ", " <= "),
    (" <= ", " < "),
    (" > ", " >= "),
    (" >= ", " > "),
    (" == ", " != "),
    (" && ", " || "),
    (" >> ", " << "),
    ("std::max", "std::min"),
    ("std::min", "std::max"),
    ("V::add(", "V::sub("),
    ("V::sub(", "V::add("),
    ("V::mul(", "V::add("),
    ("V::max(", "V::min("),
    ("V::min(", "V::max("),
    (" 0;", " 1;"),
    (", 0, ", ", 1, "),
    (" += ", " = "),
]


@dataclass(frozen=True)
class Fault:
    """One changed place. path: below packages/; text: the whole changed file."""

    path: str
    line: int
    before: str
    after: str
    text: str

    @property
    def name(self) -> str:
        """What a list of survivors calls it: stable while the line stays as it is."""
        return f"{Path(self.path).name}: {self.before} => {self.after}"

    @property
    def description(self) -> str:
        """Where it is planted, and what it changes."""
        return f"{self.path}:{self.line} {self.before} => {self.after}"


def faults(seed: int = 0) -> list[Fault]:
    """All of them, in the order of the files."""
    chosen: list[Fault] = []
    for path, quota in QUOTAS.items():
        source = (PACKAGES / path).read_text("utf-8")
        found = list(_python(path, source) if path.endswith(".py") else _native(path, source))
        draw = random.Random(f"{seed} {path}")
        chosen += sorted(draw.sample(found, min(quota, len(found))), key=lambda f: f.line)
    return chosen + list(_skipped_passes())


def _skipped_passes() -> Iterator[Fault]:
    """A pass of the planner that is left out."""
    path = f"{PLANNER}/__init__.py"
    source = (PACKAGES / path).read_text("utf-8")
    line = next(line for line in source.splitlines() if "for part in (" in line)
    for name in ("padding", "fusion", "epilogues", "layout", "memory"):
        changed = line.replace(f" {name},", "").replace(f", {name})", ")")
        yield Fault(path, 0, line.strip(), changed.strip(), source.replace(line, changed))


def _native(path: str, source: str) -> Iterator[Fault]:
    lines = source.splitlines()
    measuring = False
    for number, line in enumerate(lines):
        # A loop that only measures the machine computes nothing that a test could look at.
        measuring = line != "}" and (measuring or " ceiling(" in line)
        if measuring:
            continue
        code = line.split("//")[0]
        if code.lstrip().startswith(("#", "template", "using", "constexpr")) or "require(" in code:
            continue
        for old, new in _TOKENS:
            for match in re.finditer(re.escape(old), code):
                changed = line[: match.start()] + new + line[match.end() :]
                text = "\n".join([*lines[:number], changed, *lines[number + 1 :], ""])
                yield Fault(path, number + 1, line.strip(), changed.strip(), text)


_COMPARE = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_BINARY = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_CALLS = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "all": "any"}


def _python(path: str, source: str) -> Iterator[Fault]:
    lines = source.splitlines()
    count = sum(1 for _ in _places(ast.parse(source)))
    for number in range(count):
        tree = ast.parse(source)
        node, change = list(_places(tree))[number]
        before = ast.unparse(node)
        change()
        line = int(node.lineno)
        after = ast.unparse(node)
        yield Fault(path, line, f"{lines[line - 1].strip()} [{before}]", after, ast.unparse(tree))


def _places(tree: ast.Module) -> Iterator[tuple[ast.expr, object]]:
    """Expressions inside functions that can be changed, and what changes them in place."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for statement in function.body:
            for node in ast.walk(statement):
                change = _change(node)
                if change is not None:
                    yield node, change  # type: ignore[misc]


def _change(node: ast.AST) -> object | None:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARE:
        return lambda: node.ops.__setitem__(0, _COMPARE[type(node.ops[0])]())
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return lambda: setattr(node, "op", _BINARY[type(node.op)]())
    if isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return lambda: setattr(node, "op", other)
    if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
        field = "id" if isinstance(node.func, ast.Name) else "attr"
        called = getattr(node.func, field)
        if called in _CALLS:
            return lambda: setattr(node.func, field, _CALLS[called])
    return None
