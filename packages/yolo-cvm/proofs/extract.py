"""C functions for CBMC, cut from the engine's own C++ sources whenever a proof is run.

A proof is a C file with directives in lines that begin with `//@`:

    //@ include FILE               what stands in a file beside the proof, directives too
    //@ take FILE NAME [NAME...]   these functions of a file below native/, at this place;
                                   Struct::name for a member
    //@ constant FILE NAME [NAME...]
                                   these integer constants
    //@ struct FILE NAME [NAME...] these structs, as types of C
    //@ lambda FILE FUNCTION K TYPE NAME(PARAMETERS)
                                   the K-th lambda of a function as a function of that name
    //@ loop NAME K: CLAUSES       the contract of the K-th loop of a function, from 1
    //@ given NAME: CALL = TEXT    an expression of a function as a call that gives what is known
                                   of it: of a product what the lemmas say, since a solver for bits
                                   does not; of an index what its caller has shown
    //@ ghost NAME K: STATEMENTS   statements for the proof alone, at the start of that loop's body

A line that begins with `//@+` continues a directive. What CBMC's C front end does not read is
rewritten by the rules below, which are the same for every function, and none of which changes a
value. Anything else that is not C makes the proof fail, as does a loop without the contract.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

NATIVE = Path(__file__).resolve().parents[1] / "native"

#: Pattern and replacement, in this order. The vector type is the portable one.
RULES: Sequence[tuple[str, str]] = (
    (r"\btypename\s+", ""),
    (r"\btemplate\s+(?=\w+<)", ""),
    (r"\bconstexpr\b", "const"),
    (r"static_cast<([^<>]*)>", r"(\1)"),
    (r"\bV::", "Portable::"),
    # explicit template arguments of a call: every function is taken for one set of types
    (r"\b(\w+)<[\w:, ]*>(?=\s*[({])", r"\1"),
    (r"\bstd::(min|max)\b", r"std_\1"),
    (r"\bstd::memcpy\b", "memcpy"),
    (r"::", "_"),
    # what a constant reference names is only read, so a copy does
    (r"\bconst ([\w_]+)& (?=\w)", r"const \1 "),
    (r"\bfor \(const (\w+) (\w+) : (\w+)\) \{",
     r"for (int64_t n_ = 0; n_ < \3_size; ++n_) { const \1 \2 = \3[n_];"),
)  # fmt: skip


class ExtractError(Exception):
    """A source no longer has what a proof takes from it."""


def closing(text: str, start: int) -> int:
    """The place of the bracket that closes the one at `start`."""
    pairs = {"(": ")", "{": "}", "[": "]"}
    close, depth = pairs[text[start]], 0
    for at in range(start, len(text)):
        depth += (text[at] == text[start]) - (text[at] == close)
        if depth == 0:
            return at
    raise ExtractError("a bracket is never closed")


def without_comments(text: str) -> str:
    """The source without comments and pragmas."""
    return re.sub(r"//[^\n]*|^#pragma GCC[^\n]*", "", text, flags=re.M)


def block_of(text: str, struct: str) -> str:
    """The body of a struct or class."""
    found = re.search(rf"\b(?:struct|class) {struct}\b[^;{{]*\{{", text)
    if not found:
        raise ExtractError(f"there is no struct {struct}")
    return text[found.end() - 1 : closing(text, found.end() - 1) + 1]


def function(text: str, name: str) -> str:
    """The definition of a function as it stands in C++; it must be the only one of its name."""
    owner, _, own = name.rpartition("::")
    if f"{name}(" in text:  # defined outside of its class
        owner, own = "", name
    scope = block_of(text, owner) if owner else text
    kind, arguments = r"^(?![^\n(]*\breturn\b)[ \t]*[\w:<>*& ]+?[ *&]", r"\([^;{}]*\)"
    pattern = rf"{kind}{re.escape(own)}{arguments}\s*(?:const\s*)?(?:override\s*)?\{{"
    found = list(re.finditer(pattern, scope, re.M))
    if len(found) != 1:
        raise ExtractError(f"{len(found)} functions are called {name}")
    start = found[0]
    return scope[start.start() : closing(scope, start.end() - 1) + 1]


def without_gathers(text: str) -> str:
    """Without the branches for sets that gather: the portable one does not."""
    while (found := re.search(r"if constexpr \(V::gathers\) \{", text)) is not None:
        text = text[: found.start()] + text[closing(text, found.end() - 1) + 1 :]
    return text


def as_c(text: str, name: str) -> str:
    """A definition in C; `name` with its struct becomes Struct_name."""
    owner, _, own = name.rpartition("::")
    text = without_gathers(text)
    text = re.sub(r",?\s*const F& f\b", "", text)  # a function of that name stands in the proof
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    head, brace, body = text.partition("{")
    head = re.sub(r"\b(inline|CVM_INLINE|static|override|explicit)\b\s*", "", head).strip()
    head = re.sub(r"\)\s*const$", ")", head)
    kind = re.split(rf"\s+\*?{re.escape(own)}\(", head)[0]
    body = re.sub(r"\breturn (?=\{)", f"return ({kind})", body)
    head = head.replace("operator()(", "call(")
    own = own.replace("operator()", "call")
    head = re.sub(rf"\b{own}\(", f"{owner}_{own}(" if owner else f"{own}(", head, count=1)
    return f"static {head} {brace}{body}\n"


def constant(text: str, name: str) -> str:
    """The definition of an integer constant."""
    found = re.search(rf"\bconstexpr\s+\w+\s+(?:[^;]*?, )?{name}\s*=\s*([^;,]+)[;,]", text)
    if not found:
        raise ExtractError(f"there is no constant {name}")
    return f"#define {name} ({found[1]})"


def struct_in_c(text: str, name: str) -> str:
    """The definition of a struct that is plain data."""
    body = block_of(text, name)
    for pattern, replacement in RULES:
        body = re.sub(pattern, replacement, body)
    return f"typedef struct {name} {body} {name};\n"


def lambda_of(text: str, name: str, number: int) -> str:
    """The body of the K-th lambda of a function, from 1."""
    whole = function(text, name)
    found = list(re.finditer(r"\[[=&\w, ]*\]\([^()]*\) \{", whole))
    if len(found) < number:
        raise ExtractError(f"{name} has {len(found)} lambdas")
    start = found[number - 1].end() - 1
    return whole[start : closing(whole, start) + 1]


def without_lambdas(text: str) -> str:
    """Without the definitions of named lambdas, whose bodies are proven by themselves."""
    while (found := re.search(r"const auto \w+ = \[[=&\w, ]*\]\([^()]*\) \{", text)) is not None:
        end = closing(text, found.end() - 1)
        text = text[: found.start()] + text[end + 2 :]
    return text


def with_loops(text: str, name: str, loops: dict[int, str], ghosts: dict[int, str]) -> str:
    """The function with its contracts in place; each must have its loop, and each loop its own."""
    starts = [found.end() - 1 for found in re.finditer(r"\b(?:for|while) \(", text)]
    unknown = (set(loops) | set(ghosts)) - set(range(1, len(starts) + 1))
    if unknown:
        raise ExtractError(f"{name} has {len(starts)} loops, and no loop {min(unknown)}")
    for number in range(len(starts), 0, -1):
        end = closing(text, starts[number - 1]) + 1
        rest = text[end:]
        if number in ghosts:
            if rest.lstrip().startswith("{"):
                rest = rest.replace("{", f"{{ {ghosts[number]}", 1)
            else:
                body, _, rest = rest.partition(";")
                rest = f" {{ {ghosts[number]} {body.strip()}; }}{rest}"
        text = f"{text[:end]} {loops.get(number, '')}{rest}"
    return text


def with_given(text: str, name: str, givens: Sequence[tuple[str, str]]) -> str:
    """The function with calls in place of expressions; each of them must be there."""
    for call, expression in givens:
        if expression not in text:
            raise ExtractError(f"{name} has no {expression}")
        text = text.replace(expression, call)
    return text


def directives(proof: str) -> list[tuple[str, list[str]]]:
    """The lines of a proof: ("c", [line]) or (directive, [its words, joined over lines])."""
    found: list[tuple[str, list[str]]] = []
    for line in proof.splitlines():
        if line.startswith("//@+"):
            found[-1][1][0] += " " + line[4:].strip()
        elif line.startswith("//@ "):
            kind, _, rest = line[4:].partition(" ")
            found.append((kind, [rest.strip()]))
        else:
            found.append(("c", [line]))
    return found


def harness(proof: str, native: Path = NATIVE) -> str:
    """The C source of a proof: its own lines and what it takes from the engine's sources."""
    here = Path(__file__).parent
    include = re.compile(r"^//@ include (\S+)$", re.M)
    proof = include.sub(lambda found: (here / found[1]).read_text("utf-8"), proof)
    lines = directives(proof)
    contracts: dict[str, dict[str, dict[int, str]]] = {"loop": {}, "ghost": {}}
    for kind, (text,) in lines:
        if kind in contracts:
            place, _, clauses = text.partition(":")
            name, number = place.split()
            contracts[kind].setdefault(name, {})[int(number)] = clauses.strip()
    givens: dict[str, list[tuple[str, str]]] = {}
    for kind, (text,) in lines:
        if kind == "given":
            name, _, rest = text.partition(": ")
            call, _, expression = rest.partition(" = ")
            givens.setdefault(name, []).append((call, expression))
    taken: set[str] = set()
    out = []
    for kind, (text,) in lines:
        if kind == "c":
            out.append(text)
        elif kind == "take":
            file, *names = text.split()
            source = without_comments((native / file).read_text("utf-8"))
            for name in names:
                key = name.replace("::", "_").replace("operator()", "call")
                made = as_c(without_lambdas(function(source, name)), name)
                made = with_given(made, name, givens.get(key, []))
                taken.add(key)
                contract, ghost = (contracts[kind].get(key, {}) for kind in ("loop", "ghost"))
                out.append(with_loops(made, name, contract, ghost))
        elif kind == "lambda":
            file, name, number, kind, head = text.split(" ", 4)
            source = without_comments((native / file).read_text("utf-8"))
            body = lambda_of(source, name, int(number))
            name = head.partition("(")[0]
            taken.add(name)
            out.append(with_given(as_c(f"{kind} {head} {body}", name), name, givens.get(name, [])))
        elif kind == "constant":
            file, *names = text.split()
            source = without_comments((native / file).read_text("utf-8"))
            out += [constant(source, name) for name in names]
        elif kind == "struct":
            file, *names = text.split()
            source = without_comments((native / file).read_text("utf-8"))
            out += [struct_in_c(source, name) for name in names]
        elif kind not in (*contracts, "given"):
            raise ExtractError(f"{kind} is no directive")
    unknown = {*contracts["loop"], *contracts["ghost"], *givens} - taken
    if unknown:
        raise ExtractError(f"{min(unknown)} has a contract and is not taken")
    return "\n".join(out) + "\n"
