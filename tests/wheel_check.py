"""Build the package as a user gets it, install it elsewhere, and use it there.

Compares the wheel's files with `tests/wheel_files.txt` (`--update` rewrites it), and with those of
a wheel built from the sdist. The wheel goes into a fresh virtual environment outside the
repository, with the dependencies of the running Python, and must sort the example pictures in
another folder; so must the editable install that runs this. Needs `.[dev]`, no network.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = ROOT / "tests" / "wheel_files.txt"
PICTURES = ROOT / "examples" / "images"
CLASSES = ("cat", "dog")
TIMEOUT_S = 300


class CheckError(Exception):
    """The package is not as it should be."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run all checks; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help="rewrite tests/wheel_files.txt")
    update: bool = parser.parse_args(argv).update
    try:
        with tempfile.TemporaryDirectory(prefix="zsclip-wheel-") as folder:
            wheel = _check_files(Path(folder), update=update)
            _check_installed(wheel, Path(folder))
            _check_editable(Path(folder))
    except CheckError as error:
        print(f"wheel-check: {error}", file=sys.stderr)
        return 1
    print("wheel-check: ok")
    return 0


def _check_files(folder: Path, *, update: bool) -> Path:
    """Build both archives and compare their files; return the wheel."""
    wheel = _build("wheel", ROOT, folder / "dist")
    sdist = _build("sdist", ROOT, folder / "dist")
    files = _files_of(wheel)
    if update:
        FILES.write_text("".join(f"{name}\n" for name in files))
    _compare(FILES.read_text().splitlines(), files, "tests/wheel_files.txt", wheel.name)
    shutil.unpack_archive(sdist, folder / "sdist")
    (unpacked,) = (folder / "sdist").iterdir()
    again = _build("wheel", unpacked, folder / "again")
    _compare(files, _files_of(again), "the wheel", "the wheel built from the sdist")
    print(f"{wheel.name}: {len(files)} files, {wheel.stat().st_size / 1e6:.1f} MB, as listed")
    print(f"{sdist.name}: {sdist.stat().st_size / 1e6:.1f} MB, builds the same wheel")
    return wheel


def _build(kind: str, source: Path, target: Path) -> Path:
    # in this environment, so that no build tool is downloaded
    command: list[str | Path] = [
        "-m",
        "build",
        "--no-isolation",
        f"--{kind}",
        "--outdir",
        target,
        source,
    ]
    _run([sys.executable, *command], cwd=target.parent)
    (built,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def _files_of(wheel: Path) -> list[str]:
    """Names in the wheel, sorted; its version is left out so that the list outlives a release."""
    version = wheel.name.split("-")[1]
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    return sorted(name.replace(f"zsclip-{version}.dist-info", "zsclip.dist-info") for name in names)


def _compare(expected: Sequence[str], found: Sequence[str], left: str, right: str) -> None:
    difference = difflib.unified_diff(expected, found, left, right, n=0, lineterm="")
    if lines := "\n".join(difference):
        tip = "if this is meant: python tests/wheel_check.py --update"
        raise CheckError(f"{right} has other files than {left}\n{lines}\n{tip}")


def _check_installed(wheel: Path, folder: Path) -> None:
    """Install the wheel alone in a new environment that borrows the dependencies, and use it."""
    environment = folder / "venv"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    pip: list[str | Path] = ["-m", "pip", "--python", python, "--disable-pip-version-check"]
    _run([sys.executable, *pip, "install", "--quiet", "--no-deps", "--no-index", wheel], cwd=folder)
    site_packages = Path(_ask(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    # .pth files of a folder that a .pth file names are not read: no editable zsclip gets in
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "borrowed.pth").write_text("".join(f"{path}\n" for path in sorted(borrowed)))
    _check_home(python, site_packages)
    _check_use(python.parent / "zsclip", folder / "installed")
    print(f"{wheel.name}: sorts the example pictures outside the repository")


def _check_editable(folder: Path) -> None:
    python = Path(sys.executable)
    _check_home(python, ROOT)
    _check_use(python.parent / "zsclip", folder / "editable")
    print("editable install: sorts the example pictures")


def _check_home(python: Path, expected: Path) -> None:
    home = Path(_ask(python, "import zsclip; print(zsclip.__file__)")).resolve()
    if home.parent.parent != expected.resolve():
        raise CheckError(f"{python} has zsclip from {home}, not from {expected}")


def _ask(python: Path, code: str) -> str:
    return _run([python, "-c", code], cwd=Path(tempfile.gettempdir())).strip()


def _check_use(zsclip: Path, folder: Path) -> None:
    """Use the command in an empty folder with copies of the pictures and a cache of its own."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    for picture in sorted(PICTURES.iterdir()):
        if picture.name.startswith(CLASSES):
            shutil.copy(picture, pictures)
    if not any(pictures.iterdir()):
        raise CheckError(f"{PICTURES} has no pictures of {' or '.join(CLASSES)}")
    options = ["--labels", ",".join(CLASSES), "--model", "tiny", "--json"]
    for line in _run([zsclip, "classify", "pictures", *options], cwd=folder).splitlines():
        row = json.loads(line)
        if not Path(row["path"]).name.startswith(str(row.get("label"))):
            raise CheckError(f"{zsclip} takes {row['path']} for {row.get('label')}: {line}")
    _expect_words(_run([zsclip, "templates"], cwd=folder), "imagenet80")
    _expect_words(_run([zsclip, "datasets", "cifar10"], cwd=folder), "airplane", "truck")
    _expect_words(_run([zsclip, "cache", "info"], cwd=folder), "tiny@")


def _expect_words(output: str, *words: str) -> None:
    for word in words:
        if word not in output:
            raise CheckError(f"expected {word!r} in:\n{output}")


def _run(command: Sequence[str | Path], *, cwd: Path) -> str:
    """What a command writes to stdout; its errors where it fails."""
    cwd.mkdir(parents=True, exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ZSCLIP_MODEL")}
    environment |= {"ZSCLIP_CACHE_DIR": str(cwd / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    if done.returncode:
        said = f"{done.stdout}{done.stderr}".rstrip()
        raise CheckError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{said}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
