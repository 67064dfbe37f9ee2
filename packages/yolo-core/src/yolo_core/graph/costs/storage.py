"""Storage ids: which tensors share a piece of the original's memory pool.

Source: spec 1.5 step 4, 1.7, 3.4, 8.2. A plan in which a tensor is overwritten while somebody
still reads it is refused; the original runs it and destroys weights. Our engines plan their own
memory, so a plan only has to be sound and its size the one that the original reports.
"""

from __future__ import annotations

from collections.abc import Sequence

from yolo_core.graph.errors import LogicError
from yolo_core.graph.integers import elements
from yolo_core.graph.program import INPUT_NAME, Entry, Graph, Node

ELEMENT_BYTES = 4
MAX_STORAGE_BYTES = 2**32


def entries(nodes: Sequence[Node]) -> list[Entry]:
    """Every tensor in entry order."""
    return [Entry(i, k) for i, node in enumerate(nodes) for k in range(len(node.shapes))]


def storage_bytes(graph: Graph) -> int:
    """Size of the original's pool: the largest tensor of every storage id, summed."""
    sizes: dict[int, int] = {}
    for entry, pool in zip(entries(graph.nodes), graph.storage):
        size = ELEMENT_BYTES * elements(graph.shape(entry))
        sizes[pool] = max(sizes.get(pool, 0), size)
    return sum(sizes.values())


def check(graph: Graph) -> None:
    """Refuse a plan in which two tensors need one storage at the same time. LogicError.

    An operator may write over an operand that nobody else reads; `check` allows it only where
    the original does.
    """
    last = graph.last_uses()
    owner: dict[int, Entry] = {}
    for entry, pool in zip(entries(graph.nodes), graph.storage):
        node = graph.nodes[entry.node]
        held = owner.get(pool)
        if held is not None:
            holder = graph.nodes[held.node]
            permanent = holder.is_variable and holder.name != INPUT_NAME
            if permanent or node.is_variable or last[held] > entry.node or held.node == entry.node:
                raise LogicError(
                    _where(node),
                    f"output overwrites {holder.name!r} in storage {pool} while it is still needed",
                    "a storage of its own",
                )
        owner[pool] = entry
    if storage_bytes(graph) > MAX_STORAGE_BYTES:
        raise LogicError("storage", f"{storage_bytes(graph)} bytes", "at most 2^32")


def plan(nodes: Sequence[Node], heads: Sequence[Entry]) -> tuple[int, ...]:
    """A sound plan: operators share pool ids greedily, every variable has its own id after them.

    Never in place, as the original compiler writes it (spec 1.7).
    """
    graph = Graph(tuple(nodes), tuple(heads), ())
    last = graph.last_uses()
    pool_of: dict[Entry, int] = {}
    size_of: list[int] = []
    free: list[int] = []
    for index, node in enumerate(nodes):
        if node.is_variable:
            continue
        for output, shape in enumerate(node.shapes):
            size = elements(shape)
            # The free pool that wastes least: the smallest that is large enough, else the largest.
            best = min(
                free,
                key=lambda pool: (size_of[pool] < size, abs(size_of[pool] - size), pool),
                default=None,
            )
            if best is None:
                best = len(size_of)
                size_of.append(size)
            else:
                free.remove(best)
                size_of[best] = max(size_of[best], size)
            pool_of[Entry(index, output)] = best
        dead = set(node.inputs) | {Entry(index, k) for k in range(len(node.shapes))}
        for entry in sorted(dead, key=lambda e: (e.node, e.output)):
            if last[entry] == index and entry in pool_of:
                free.append(pool_of[entry])
    following = len(size_of)
    for entry in entries(nodes):
        if entry not in pool_of:
            pool_of[entry] = following
            following += 1
    return tuple(pool_of[entry] for entry in entries(nodes))


def _where(node: Node) -> str:
    return f"node {node.name!r} ({node.op or 'variable'})"
