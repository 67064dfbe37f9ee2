"""MXNet imports with every NumPy, and a function that NumPy removed answers in no wrong way."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from yolo_core.mxnet.importing import mxnet

PROBE = """
import numpy as np
before = {name for name in dir(np)}
from yolo_core.mxnet.importing import mxnet
mx = mxnet()
print(mx.nd.array([1, 2, 3]).sum().asscalar())
functions = ("alltrue in1d mirr msort npv pmt ppmt pv rate trapz sometrue round_ product").split()
print([name for name in functions if name not in before and name in vars(np)])
"""


def test_only_constants_and_type_aliases_stay_in_numpy() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", PROBE],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["6.0", "[]"]


@pytest.mark.parametrize("name", ["alltrue", "in1d", "product", "round_", "sometrue", "trapz"])
def test_a_renamed_function_is_the_one_that_numpy_has_today(name: str) -> None:
    fallback = mxnet().numpy.fallback
    if not hasattr(fallback, name):
        pytest.skip(f"MXNet offers no {name}")
    arguments = ([1.0, 2.0], [2.0]) if name == "in1d" else ([1.0, 2.0],)
    today = {"alltrue": np.all, "in1d": np.isin, "product": np.prod, "round_": np.round,
             "sometrue": np.any, "trapz": getattr(np, "trapezoid", None) or np.trapz}  # fmt: skip
    np.testing.assert_array_equal(getattr(fallback, name)(*arguments), today[name](*arguments))


@pytest.mark.skipif(hasattr(np, "mirr"), reason="this NumPy still has the function")
@pytest.mark.parametrize("name", ["mirr", "npv", "pmt", "ppmt", "pv", "rate"])
def test_a_function_that_is_gone_says_so(name: str) -> None:
    with pytest.raises(AttributeError, match=f"numpy.{name} was removed"):
        getattr(mxnet().numpy.fallback, name)(1, 2, 3)
