"""From the two files to a program that may run: decode, check, budget, then bind parameters.

Source: spec 1.5, 2, 8.6. Nothing larger than the files themselves is allocated before every
check has passed.
"""

from __future__ import annotations

from yolo_core.arrays import Array
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
    if limits.max_gas is not None and gas.gas(graph) > limits.max_gas:
        raise LogicError("gas", f"{gas.gas(graph)}", f"at most {limits.max_gas}")
    peak = cost.peak_bytes(graph)
    if limits.max_memory is not None and peak > limits.max_memory:
        raise LogicError("memory", f"{peak} bytes at the peak", f"at most {limits.max_memory}")
    return graph


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
