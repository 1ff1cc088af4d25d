"""The scripts of the Makefile: help for every target, and clear messages."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
STUBS = ROOT / "clients" / "python"


def ran(*command: str | Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = None if path is None else {"PATH": path}
    return subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def pretended_python(folder: Path, version: tuple[int, int]) -> Path:
    """A program that answers as a Python of this version would."""
    folder.mkdir()
    python = folder / "python3"
    too_old = int(version < (3, 11))
    number = ".".join(map(str, version))
    python.write_text(
        f'#!/bin/sh\ncase "$*" in\n-V) echo "Python {number}.0" ;;\n*print*) echo {number} ;;\n'
        f"*) exit {too_old} ;;\nesac\n"
    )
    python.chmod(0o755)
    return python


def test_help_explains_every_target_and_is_the_default() -> None:
    declared = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = ran("make", "--no-print-directory", "help").stdout
    assert {line.split()[1] for line in shown.splitlines()} == set(declared[0].split())
    assert ran("make", "--no-print-directory").stdout == shown


def test_a_python_that_is_too_old_is_reported_in_one_line(tmp_path: Path) -> None:
    old = pretended_python(tmp_path / "old", (3, 9))
    answer = ran(SCRIPTS / "make-venv", old, tmp_path / "venv")
    assert answer.returncode == 1
    assert "Python 3.11 or later is needed" in answer.stderr
    assert "3.9" in answer.stderr
    assert not (tmp_path / "venv").exists()


def test_only_a_python_that_is_new_enough_is_chosen(tmp_path: Path) -> None:
    system = "/usr/bin:/bin"
    pretended_python(tmp_path / "new", (3, 12))
    found = ran(SCRIPTS / "find-python", "3.12", path=f"{tmp_path / 'new'}:{system}")
    assert found.stdout.split() == ["python3"]
    assert ran(SCRIPTS / "find-python", "2.6", path=system).stdout == ""


def test_without_any_python_the_message_says_what_to_install(tmp_path: Path) -> None:
    answer = ran(SCRIPTS / "make-venv", "", tmp_path / "venv")
    assert answer.returncode == 1
    assert "make PYTHON=" in answer.stderr


def test_stubs_that_do_not_match_the_contract_are_named(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    for stub in STUBS.glob("latens/**/*_pb2*"):
        copy = fresh / stub.relative_to(STUBS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(stub, copy)
    assert ran(SCRIPTS / "compare-stubs", fresh, STUBS).returncode == 0
    changed = fresh / "latens" / "v1" / "latens_pb2.py"
    changed.write_text(changed.read_text() + "# changed\n")
    answer = ran(SCRIPTS / "compare-stubs", fresh, STUBS)
    assert answer.returncode == 1
    assert "latens_pb2.py" in answer.stderr
    assert "make proto" in answer.stderr
