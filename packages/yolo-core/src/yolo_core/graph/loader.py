"""From the two files to a program that may run: decode, check, budget, then bind parameters.

Source: spec 1.5, 2, 8.6. Nothing larger than the files themselves is allocated before every
check has passed.
"""

from __future__ import annotations

from collections.abc import Callable

from yolo_core.arrays import Array
from yolo_core.budget import granted
from yolo_core.graph import check
from yolo_core.graph.costs import cost, gas
from yolo_core.graph.errors import LogicError, RuntimeFault
from yolo_core.graph.files import params, symbol
from yolo_core.graph.limits import Limits
from yolo_core.graph.program import INPUT_NAME, Graph


def load_program(symbol_bytes: bytes, limits: Limits | None = None, compat: bool = False) -> Graph:
    """The checked program of a symbol file, without parameters, within the caller's budgets.

    compat: ignore text after the closing brace, as the original does. Raises LogicError or
    RuntimeFault naming the node, the field and the rule.
    """
    limits = limits or Limits()
    graph = check.declaration(symbol.decode(symbol_bytes, limits, compat))
    _refuse_dear(graph, limits)
    return graph


def _refuse_dear(graph: Graph, limits: Limits) -> None:
    """LogicError where one inference takes more than the caller, or the command, grants."""
    budget = granted()
    needs: tuple[tuple[str, str, int | None, Callable[[Graph], int]], ...] = (
        ("gas", "", _least(limits.max_gas, budget.gas), gas.gas),
        ("memory", " bytes at the peak", _least(limits.max_memory, budget.memory), cost.peak_bytes),
        ("work", " steps", _least(limits.max_steps, budget.steps), _steps),
    )
    for name, unit, most, need in needs:
        if most is not None and need(graph) > most:
            raise LogicError(name, f"{need(graph)}{unit}", f"at most {most}")


def _steps(graph: Graph) -> int:
    return cost.cost(graph).steps


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def chain_gas(symbol_bytes: bytes, limits: Limits | None = None) -> int:
    """Gas of one inference as a chain counts it, from a symbol file alone (spec 5.1, 4.1).

    As the original it looks at no head, asks for no input, judges no storage that two tensors
    share over time and ignores text after the closing brace, so some files have a gas that
    `load_program` refuses. Raises LogicError or RuntimeFault.
    """
    nodes = check.declared_nodes(symbol.decode(symbol_bytes, limits, compat=True))
    return gas.gas(Graph(nodes, (), ()))


def bind(
    program: Graph, params_bytes: bytes, compat: bool = False, limits: Limits | None = None
) -> Graph:
    """The program with the parameters of a params file. Raises LogicError or RuntimeFault.

    compat: besides what `params.decode` tolerates, accept a parameter called `data`, of the
    input's shape and of any value; it is ignored, since the first inference overwrites it. Of a
    name given twice the last array wins, but each must fit.
    """
    variables = {node.name: node for node in program.nodes if node.is_variable}
    bound: dict[str, Array] = {}
    for name, array in params.decode(params_bytes, compat, limits):
        if name not in variables:
            raise RuntimeFault(f"parameter {name[:60]!r}", "no variable of the program")
        if name == INPUT_NAME:
            if not compat:
                raise LogicError(f"parameter {name!r}", "is the input", "no stored value")
            check.parameter_shape(name, array.shape, program.input_shape)
            continue
        node = variables[name]
        check.parameter(name, array, node.shapes[0], node.precisions[0])
        bound[name] = array
    for name in variables:
        if name != INPUT_NAME and name not in bound:
            raise LogicError(f"parameter {name[:60]!r}", "missing")
    return program.bind(bound)


def load(
    symbol_bytes: bytes,
    params_bytes: bytes,
    compat: bool = False,
    limits: Limits | None = None,
) -> Graph:
    """The program of a model's two files, checked and bound; see `load_program` and `bind`."""
    return bind(load_program(symbol_bytes, limits, compat), params_bytes, compat, limits)
