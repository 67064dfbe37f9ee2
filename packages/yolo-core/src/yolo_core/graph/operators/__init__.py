"""The operator table: the definition of the machine, one short class per operator.

Source: spec 3. Read `operator.py` first (what a rule receives), then the modules: `nn`,
`elementwise`, `broadcast`, `reduce`, `shape`, `vision`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from yolo_core.graph.operators import broadcast, elementwise, nn, reduce, shape, vision
from yolo_core.graph.operators.attributes import Attributes
from yolo_core.graph.operators.operator import Operator

TABLE: Mapping[str, Operator] = MappingProxyType(
    {
        operator.name: operator
        for module in (nn, elementwise, broadcast, reduce, shape, vision)
        for operator in module.OPERATORS
    }
)

#: Second names of operators that the original's registry resolves and its kernels do not know.
REGISTRY_ALIASES = frozenset(
    {
        "__add_symbol__",
        "add",
        "multiply",
        "nn.relu",
        "subtract",
        "vision.non_max_suppression",
    }
)

__all__ = ["REGISTRY_ALIASES", "TABLE", "Attributes", "Operator"]
