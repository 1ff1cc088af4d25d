"""Python environments of tests; each is made once and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock

REPOSITORY = Path(__file__).parents[1]
_ROOT = REPOSITORY / ".stamps" / "environments"
_OFFLINE = "LATENS_TESTS_OFFLINE"
_INSTALL_SECONDS = 280


def environment(name: str, packages: Sequence[str]) -> Path:
    """The Python of an environment that holds `packages` (and what they need) and no more.

    Args:
        name: a word for people who look at the directory.
        packages: requirements, or options of pip; a directory is installed as it stands.

    Skips the test if LATENS_TESTS_OFFLINE is set; otherwise a failing installation fails it.
    """
    digest = hashlib.sha256("\n".join([sys.version, *packages]).encode()).hexdigest()[:12]
    path = _ROOT / f"{name}-{digest}"
    python = path / "bin" / "python"
    done = path / "installed"
    _ROOT.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not done.exists():
            if os.environ.get(_OFFLINE):
                pytest.skip(f"{_OFFLINE} is set, and {name} is not installed")
            _run(sys.executable, "-m", "venv", "--clear", str(path))
            _run(str(python), "-m", "pip", "install", "--quiet", *packages)
            done.touch()
    return python


def require_network() -> None:
    """Skips the test if LATENS_TESTS_OFFLINE is set."""
    if os.environ.get(_OFFLINE):
        pytest.skip(f"{_OFFLINE} is set")


def build(project: Path, folder: Path, kind: str) -> Path:
    """Builds a distribution ("wheel" or "sdist") of a project, with hatchling and nothing else."""
    python = environment("builder", ["hatchling"])
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    command = [str(python), "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = set(folder.iterdir()) - before
    return made


def metadata_of(wheel: Path) -> str:
    """The METADATA file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return archive.read(name).decode()


def kept(wheel: Path) -> Path:
    """Copies a wheel to a folder named after what it depends on.

    So an environment made of it lasts until the dependencies change; `renew` installs new code.
    """
    needs = [line for line in metadata_of(wheel).splitlines() if line.startswith("Requires")]
    digest = hashlib.sha256("\n".join(needs).encode()).hexdigest()[:12]
    target = REPOSITORY / ".stamps" / "wheels" / digest / wheel.name
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(wheel, target))


def renew(python: Path, *wheels: Path) -> None:
    """Installs wheels over those in an environment, and lets pip check their dependencies."""
    pip = (str(python), "-m", "pip", "--quiet", "--disable-pip-version-check")
    names = [str(wheel) for wheel in wheels]
    _run(*pip, "install", "--no-index", "--no-deps", "--force-reinstall", *names)
    _run(*pip, "check")


def _run(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
