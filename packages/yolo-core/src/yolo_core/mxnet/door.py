"""The only door to MXNet: mends what NumPy took away, then imports it.

MXNet 1.9.1 is retired and reads aliases such as `numpy.bool` that NumPy removed in 1.24. They
are put back before the import; with that it works up to NumPy 1.26. NumPy 2 broke its C
interface for good.
"""

from __future__ import annotations

import builtins
import functools
import warnings
from types import ModuleType

import numpy as np

from yolo_core.errors import InputError

_REMOVED_ALIASES = ("bool", "int", "float", "complex", "object", "str")


@functools.cache
def mxnet() -> ModuleType:
    """The mxnet module. InputError with the remedy when it cannot be had here."""
    if int(np.__version__.split(".")[0]) >= 2:
        raise InputError("mxnet", f"cannot work with numpy {np.__version__}", "numpy below 2")
    with warnings.catch_warnings():
        # Asking NumPy for a removed alias warns on the versions that still have it.
        warnings.simplefilter("ignore")
        for alias in _REMOVED_ALIASES:
            if not hasattr(np, alias):
                setattr(np, alias, getattr(builtins, alias))
        try:
            import mxnet as module
        except (ImportError, OSError) as error:
            raise InputError(
                "mxnet", f"cannot be imported ({error})", 'pip install "yolo-core[mxnet]"'
            ) from error
    result: ModuleType = module
    return result
