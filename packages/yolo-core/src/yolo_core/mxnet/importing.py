"""The only import of MXNet: puts back what newer NumPy removed, then imports it.

MXNet 1.9.1 is retired and reads names that NumPy removed in 1.24 and in 2.0. With these names back
it works with NumPy 1.23 to 2.x. Constants and type aliases stay, since MXNet reads them later too;
functions are only there while MXNet is imported, which collects them for interfaces of its own.
"""

from __future__ import annotations

import builtins
import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from yolo_core.errors import InputError, ShortageError, is_shortage

_CONSTANTS: dict[str, Any] = {
    "PZERO": 0.0, "NZERO": -0.0, "PINF": np.inf, "NINF": -np.inf, "NaN": np.nan, "NAN": np.nan,
    "Inf": np.inf, "Infinity": np.inf, "infty": np.inf, "float_": np.float64,
    **{name: getattr(builtins, name) for name in ("bool", "int", "float", "complex", "object",
                                                  "str")},
}  # fmt: skip

# Functions that NumPy offers under another name today.
_RENAMED = {
    "alltrue": "all",
    "in1d": "isin",
    "product": "prod",
    "round_": "round",
    "sometrue": "any",
    "trapz": "trapezoid",
}

# Functions that NumPy offers no more. Nothing of ours calls them through MXNet.
_GONE = ("mirr", "msort", "npv", "pmt", "ppmt", "pv", "rate")

_NO_ROOM = "this machine has too little memory for it"
#: What MXNet maps before it computes anything, threads included; without it, it ends in a crash.
_ADDRESS_SPACE = 3 << 29

REMEDY = (
    'pip install "yolo-core[mxnet]" (Python 3.9 to 3.11), or on newer Pythons and NumPy 2: '
    "pip install --no-deps mxnet==1.9.1 && pip install requests setuptools "
    "(with uv: uv pip install, the same words)"
)


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AttributeError(f"numpy.{name} was removed from NumPy {np.__version__}")

    return refuse


@contextmanager
def _names_that_the_import_reads() -> Iterator[None]:
    """NumPy with every name that `import mxnet` looks up."""
    for name, value in _CONSTANTS.items():
        if not hasattr(np, name):
            setattr(np, name, value)
    missing = [name for name in (*_RENAMED, *_GONE) if not hasattr(np, name)]
    for name in missing:
        new = getattr(np, _RENAMED[name]) if name in _RENAMED else _refusing(name)
        setattr(np, name, new)
    try:
        yield
    finally:
        for name in missing:
            delattr(np, name)


def _check_address_space() -> None:
    """ShortageError where the process may not map what MXNet needs: it would crash there."""
    if sys.platform == "win32":
        return
    import resource

    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most != resource.RLIM_INFINITY and most < _ADDRESS_SPACE:
        raise ShortageError(
            f"mxnet: {_NO_ROOM}: {most} bytes of address space, {_ADDRESS_SPACE} are needed"
        )


@functools.cache
def mxnet() -> ModuleType:
    """The mxnet module.

    InputError with the remedy when it cannot be imported here, ShortageError where it has no room.
    """
    _check_address_space()
    with warnings.catch_warnings():
        # Asking NumPy for a deprecated name warns on the versions that still have it, and MXNet's
        # own source warns on newer Pythons.
        warnings.simplefilter("ignore")
        try:
            with _names_that_the_import_reads():
                import mxnet as module
        except (ImportError, OSError, AttributeError) as error:
            if is_shortage(error):
                raise ShortageError(f"mxnet: {_NO_ROOM} ({error})") from error
            raise InputError("mxnet", f"cannot be imported ({error})", REMEDY) from error
    result: ModuleType = module
    return result
