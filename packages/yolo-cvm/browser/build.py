"""Write the page that runs plans in a browser: one file, with the engine inside.

    python build.py PAGE.html [--library ENGINE.wasm]

The library is compiled by Emscripten's `emcc` unless one is given. The page has a content security
policy that allows its own script and nothing from elsewhere.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parent / "native"
sys.path.insert(0, str(NATIVE))

import compile as native  # noqa: E402  the folder of native sources is no package

SCRIPTS = ("sha256.js", "plan.js", "engine.js", "picture.js", "receipt.js", "main.js")
FLAGS = ["-std=c++17", "-O3", "-msimd128", "-fwasm-exceptions"]
EXPORTED = (
    "cvm_plan_new", "cvm_execution_new", "cvm_begin", "cvm_advance", "cvm_message",
    "malloc", "free",
)  # fmt: skip


def compile_engine(target: Path) -> None:
    """The compiled library as a WebAssembly module that needs no script of Emscripten."""
    emcc = shutil.which("emcc")
    if emcc is None:
        sys.exit("there is no emcc: install Emscripten")
    with tempfile.TemporaryDirectory() as folder:
        native.write_headers(Path(folder))
        objects = []
        for source in [*native.COMMON, *(f"arch/{name}/kernels.cpp" for name in native.ALL_SETS)]:
            objects.append(str(Path(folder, source.replace("/", "-") + ".o")))
            command = [emcc, *FLAGS, "-I", folder, "-c", str(NATIVE / source), "-o", objects[-1]]
            subprocess.run(command, check=True)
        names = ",".join(f"_{name}" for name in EXPORTED)
        settings = ["ALLOW_MEMORY_GROWTH=1", "MAXIMUM_MEMORY=2GB", f"EXPORTED_FUNCTIONS={names}"]
        options = [word for setting in settings for word in ("-s", setting)]
        link = [emcc, "-O2", "-fwasm-exceptions", "--no-entry", *options, *objects]
        subprocess.run([*link, "-o", str(target)], check=True)


def page(library: bytes) -> str:
    """The page with an engine inside."""
    script = "\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS)
    style = (HERE / "page.css").read_text("utf-8")
    text = (HERE / "page.html").read_text("utf-8")
    for name, value in (
        ("script_hash", _source_hash(script)),
        ("style_hash", _source_hash(style)),
        ("style", style),
        ("engine", base64.b64encode(library).decode("ascii")),
        ("script", script),
    ):
        text = text.replace("{" + name + "}", value, 1)
    return text


def _source_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


def main() -> None:
    """Parse, compile, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--library", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        library = options.library or Path(folder, "engine.wasm")
        if options.library is None:
            compile_engine(library)
        options.page.parent.mkdir(parents=True, exist_ok=True)
        options.page.write_text(page(library.read_bytes()), "utf-8")
    print(options.page)


if __name__ == "__main__":
    main()
