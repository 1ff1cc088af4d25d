"""Python environments of their own for clients that cannot live in this one; made once, kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
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

    Skips the test where LATENS_TESTS_OFFLINE is set; else a failing installation fails it.
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


def _run(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
