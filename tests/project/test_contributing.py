"""CONTRIBUTING describes the repository as it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
# Folders that hold no code of their own.
NOT_LISTED = {".ci", ".github", "docs/images"}


def listed() -> set[str]:
    """The folders of the listing, by their paths from the root."""
    (listing,) = re.findall(r"<!-- tree -->\n```\n(.*?)```", TEXT, re.DOTALL)
    found: set[str] = set()
    parents: list[str] = []
    for line in listing.splitlines():
        names = re.match(r"((?:  )*)((?:[\w.-]+/ ?)+)", line)
        assert names is not None, line
        depth = len(names[1]) // 2
        siblings = [str(PurePosixPath(*parents[:depth], name)) for name in names[2].split()]
        found.update(siblings)
        parents[depth:] = [PurePosixPath(siblings[-1]).name]
    return found


def folders_of_code() -> set[str]:
    """The top-level folders, and every folder of the packages that holds modules."""
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    found = {path.split("/")[0] for path in files if "/" in path}
    for path in files:
        folder = PurePosixPath(path).parent
        if path.endswith(".py") and str(folder).split("/")[0] not in ("tests", "benchmarks"):
            found.update(str(parent) for parent in (folder, *folder.parents[:-1]))
    generated = {name for name in found if name.endswith(("/admin/v1",))}
    return found - generated - NOT_LISTED


def test_the_listing_names_every_folder_of_code_and_no_other() -> None:
    assert folders_of_code() - listed() == set()
    assert [path for path in sorted(listed()) if not (ROOT / path).is_dir()] == []


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.\w+)`", TEXT))
    assert named
    places = (ROOT, ROOT / "serving" / "latens_serving")
    missing = [path for path in named if not any((place / path).exists() for place in places)]
    assert missing == []


def way() -> list[list[str]]:
    """The files of each step of an Encode call, as the table names them."""
    (table,) = re.findall(r"<!-- way -->\n(.*?)\n\n", TEXT, re.DOTALL)
    return [re.findall(r"`([\w/.]+)`", row) for row in table.splitlines()[2:]]


@pytest.mark.parametrize(("frontend", "other"), [("grpcio", 1), ("http2", 0)])
def test_an_encode_call_passes_the_files_of_the_table(
    frontend: str, other: int, model_repository: Path
) -> None:
    program = [sys.executable, str(Path(__file__).with_name("encode_way.py"))]
    done = subprocess.run(
        [*program, frontend, str(model_repository)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    passed = json.loads(done.stdout.splitlines()[-1])
    steps = [step for index, step in enumerate(way()) if index != other]
    assert [file for step in steps for file in step if file not in passed] == []
    # The model is met once before: the lease keeps it open.
    first = [passed.index(step[0]) for step in steps if step != ["models/model.py"]]
    assert first == sorted(first)
