"""Packs the contract for use without a checkout: a descriptor set, and an archive of the protos.

    python scripts/release_proto.py [FOLDER]     into dist/ by default

The output depends only on the contract.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKED = ("proto", "LICENSE", "docs/api.md")


def main(arguments: Sequence[str]) -> int:
    """Writes both files and their digests, and prints their paths."""
    folder = Path(arguments[0]) if arguments else REPOSITORY / "dist"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"latens-proto-{version()}"
    contents = {f"{name}.binpb": descriptor_set(), f"{name}.tar.gz": archive(name)}
    for file, content in contents.items():
        (folder / file).write_bytes(content)
        print(folder / file)
    sums = [f"{hashlib.sha256(content).hexdigest()}  {file}" for file, content in contents.items()]
    (folder / f"{name}.sha256").write_text("\n".join(sums) + "\n")
    return 0


def version() -> str:
    """The version of the server's distribution."""
    project = tomllib.loads((REPOSITORY / "clients" / "python" / "pyproject.toml").read_text())[
        "project"
    ]
    return str(project["version"])


def descriptor_set() -> bytes:
    """A FileDescriptorSet of all protos with their comments, for tools that do not read sources."""
    buf = Path(sys.executable).with_name("buf")
    command = [str(buf), "build", "proto", "--as-file-descriptor-set", "-o", "-#format=binpb"]
    built = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    return built.stdout


def archive(name: str) -> bytes:
    """A gzipped tar of the protos, the licence and the reference, under one folder."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for part in PACKED:
            tar.add(REPOSITORY / part, f"{name}/{part}", filter=_plain)
    return buffer.getvalue()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """An entry without the facts that depend on the machine or the time."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
