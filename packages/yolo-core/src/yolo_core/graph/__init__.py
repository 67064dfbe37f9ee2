"""The integer machine: programs of 37 integer operators, with no framework and no YOLO in them.

program, builder            what a program is, and how one is built
operators                   the definition of every operator: read this to learn the machine
symbol, params              the two files, read strictly and written
loader, check               from files to a checked program
interpret                   running it by the operators' own meaning
gas, cost                   what it costs
bounds, ranges, intervals   what its values are proven to be
"""

from __future__ import annotations

from yolo_core.graph.builder import GraphBuilder, Ref
from yolo_core.graph.errors import GraphError, LogicError, RuntimeFault
from yolo_core.graph.limits import Limits
from yolo_core.graph.loader import bind, chain_gas, load, load_program
from yolo_core.graph.program import Entry, Graph, Node

__all__ = [
    "Entry",
    "Graph",
    "GraphBuilder",
    "GraphError",
    "Limits",
    "LogicError",
    "Node",
    "Ref",
    "RuntimeFault",
    "bind",
    "chain_gas",
    "load",
    "load_program",
]
