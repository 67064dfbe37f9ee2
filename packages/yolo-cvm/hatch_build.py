"""Packaging hook: puts the conformance vectors and the compiled engine into the wheel.

A cross compiler in $CXX makes the wheel of its own target.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = "src/yolo_cvm/engine/_native.so"
NODE_LIBRARY = "src/yolo_cvm/node/libcvm_runtime.so"
VECTORS = ("ops", "reject", "network", "dispute")


def _compile_module(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("compile", root / "native" / "compile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class EngineHook(BuildHookInterface):
    """Runs before a wheel (also an editable one) is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if version != "editable":  # there the package finds them in the checkout
            for name in VECTORS:
                build_data["force_include"][str(root / "vectors" / name)] = (
                    f"yolo_cvm/vectors/{name}"
                )
        native = _compile_module(root)
        try:
            native.compile_library(root / LIBRARY)
        except native.NoCompiler as reason:
            self.app.display_warning(
                f"yolo-cvm is installed without its compiled engine and will run the slow "
                f"reference: no working C++17 compiler ({reason})"
            )
            (root / LIBRARY).unlink(missing_ok=True)
            return
        build_data["pure_python"] = False
        machine = native.target_machine(native.find_compiler())
        place = sysconfig.get_platform()
        if machine != native.normal(platform.machine()):
            place = f"linux-{machine}"
        build_data["tag"] = f"py3-none-{place.replace('-', '_').replace('.', '_')}"
        build_data["artifacts"].append(LIBRARY)
        if sys.platform.startswith("linux"):
            native.compile_node_library(root / NODE_LIBRARY)
            build_data["artifacts"].append(NODE_LIBRARY)
