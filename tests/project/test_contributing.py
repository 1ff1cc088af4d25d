"""CONTRIBUTING describes the repository as it is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path, PurePosixPath

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
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
