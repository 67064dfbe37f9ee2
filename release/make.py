"""Source archives and wheels of all packages in dist/, and the checks that an index would make.

    python release/make.py [--home URL] [--also-aarch64]

Every package is built from the files that git knows: first its source archive, then its wheel from
that archive, so that a source archive which does not build is found. On Linux the wheel of yolo-cvm
gets its manylinux tag from auditwheel; --also-aarch64 makes one more with Debian's cross compiler.

--home: where the repository can be seen. Without it the archives name no address, and what their
READMEs say of other files is text without links, since a relative link leads nowhere on an index.
"""

from __future__ import annotations

import argparse
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ["yolo-core", "yolo-port", "yolo-train", "yolo-mrt", "yolo-cvm", "yolo-eval"]
_RELATIVE_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")
#: libstdc++ goes into the library: the one of an older system would be too old for it.
_GNU = "{} -static-libstdc++ -static-libgcc"
_AARCH64 = "aarch64-linux-gnu-g++"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", help="address of the repository, https://HOST/OWNER/NAME")
    parser.add_argument("--also-aarch64", action="store_true")
    options = parser.parse_args()
    if options.also_aarch64 and shutil.which(_AARCH64) is None:
        raise SystemExit(f"there is no {_AARCH64}: apt-get install g++-aarch64-linux-gnu")
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    linux = sys.platform.startswith("linux")
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            source = stage(package, Path(folder), options.home)
            compiler = _GNU.format(os.environ.get("CXX", "g++")) if linux else None
            build(source, dist, compiler)
            if package == "yolo-cvm" and linux:
                if options.also_aarch64:
                    build(source, dist, _GNU.format(_AARCH64), "--wheel")
                repair(dist)
    check(dist)


def stage(package: str, folder: Path, home: str | None) -> Path:
    """A copy of what git knows of a package, with links and addresses as an index needs them."""
    place = ROOT / "packages" / package
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "."],
        cwd=place, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    target = folder / package
    for name in filter(None, listed.split("\0")):
        if (place / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place / name, target / name)
    readme = target / "README.md"
    text = for_index(readme.read_text("utf-8"), f"packages/{package}", home)
    readme.write_text(text, "utf-8")
    if home:
        project = target / "pyproject.toml"
        urls = (
            f'\n[project.urls]\nHomepage = "{home}"\n'
            f'Changelog = "{home}/blob/main/packages/{package}/CHANGELOG.md"\n'
        )
        project.write_text(project.read_text("utf-8") + urls, "utf-8")
    return target


def for_index(text: str, folder: str, home: str | None) -> str:
    """A README whose links to files of the repository are absolute, or text where home is None."""

    def absolute(link: re.Match[str]) -> str:
        mark, words, target = link.groups()
        if home is None:
            return words
        path = posixpath.normpath(posixpath.join(folder, target))
        return f"{mark}[{words}]({home}/blob/main/{path})"

    return _RELATIVE_LINK.sub(absolute, text)


def build(source: Path, dist: Path, compiler: str | None, *which: str) -> None:
    """Archives of a package in dist; without `which` the source archive and a wheel from it."""
    environment = {**os.environ, **({"CXX": compiler} if compiler else {})}
    command = [sys.executable, "-m", "build", *which, "--outdir", str(dist), str(source)]
    subprocess.run(command, check=True, env=environment)


def repair(dist: Path) -> None:
    """Wheels of Linux with the manylinux tag that their libraries allow."""
    for wheel in sorted(dist.glob("*-linux_*.whl")):
        command = [sys.executable, "-m", "auditwheel", "repair", "-w", str(dist), str(wheel)]
        subprocess.run(command, check=True)
        wheel.unlink()


def check(dist: Path) -> None:
    """Refuse what an index would refuse, or what would be incomplete for whoever installs it."""
    archives = sorted(dist.iterdir())
    subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, archives)], check=True
    )
    for archive in archives:
        names = contents(archive)
        if not any(name.endswith("/LICENSE") for name in names):
            raise SystemExit(f"{archive.name} holds no licence")
        if archive.name.startswith("yolo_cvm-"):
            for part in ("ops", "reject", "network", "dispute"):
                if not any(f"vectors/{part}/" in name for name in names):
                    raise SystemExit(f"{archive.name} holds no vectors of {part}")
            if archive.suffix == ".whl" and not any("/_native.so" in name for name in names):
                raise SystemExit(f"{archive.name} holds no compiled engine")
        print(f"{archive.stat().st_size:>10,}  {archive.name}")


def contents(archive: Path) -> list[str]:
    """Names of the files in a wheel or a source archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.namelist()
    with tarfile.open(archive) as source:
        return source.getnames()


if __name__ == "__main__":
    main()
