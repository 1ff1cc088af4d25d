"""Links and file names in the documents lead to files and headings of the repository."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = subprocess.run(
    ["git", "ls-files"],
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
).stdout.splitlines()
DOCUMENTS = sorted(Path(file) for file in FILES if file.endswith(".md"))
LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")
FILE = re.compile(r"`([a-zA-Z_][\w./*-]*/[\w./*-]+\.(?:py|js|mjs|md|yaml|toml|proto|txt|sh))`")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub forms them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_relative_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for link in LINK.finditer((ROOT / document).read_text()):
        target = link[1] or link[2]
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        page = (ROOT / document).parent / path if path else ROOT / document
        assert page.exists(), f"{document} links to {target}: no such file"
        if anchor:
            assert anchor in anchors(page), f"{document} links to {target}: no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_named_file_exists(document: Path) -> None:
    for name in FILE.findall((ROOT / document).read_text()):
        # A path may begin at the root, or at a folder that the text names.
        assert any(Path(file).match(name) for file in FILES), f"{document} names {name}"
