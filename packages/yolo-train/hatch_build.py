"""Packaging hook: puts the compiled operators into the wheel, which is pure without a compiler."""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = "src/yolo_train/_operators.so"


def _compile_module(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("compile", root / "native" / "compile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class OperatorsHook(BuildHookInterface):
    """Runs before a wheel (also an editable one) is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        native = _compile_module(root)
        try:
            native.compile_library(root / LIBRARY)
        except native.NoCompiler as reason:
            self.app.display_warning(
                f"yolo-train is installed without its compiled operators and will train with "
                f"those of MXNet: no working C++17 compiler ({reason})"
            )
            (root / LIBRARY).unlink(missing_ok=True)
            return
        build_data["pure_python"] = False
        place = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{place}"
        build_data["artifacts"].append(LIBRARY)
