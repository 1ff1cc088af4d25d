"""The contract as others get it: its reference, its descriptor set, its archive."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from latens.v1 import latens_pb2 as pb
from server_process import Server

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY / "scripts"
BUF = Path(sys.executable).with_name("buf")


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [*map(str, command)], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    run(sys.executable, SCRIPTS / "release_proto.py", folder)
    return folder


def the_one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_the_reference_matches_the_proto() -> None:
    run(sys.executable, SCRIPTS / "api_docs.py", "--check")
    page = (REPOSITORY / "docs" / "api.md").read_text()
    service = pb.DESCRIPTOR.services_by_name["LatentService"]
    for method in service.methods:
        assert f"| `{method.name}` |" in page
    for message in pb.DESCRIPTOR.message_types_by_name.values():
        for field in message.fields:
            assert f"| {field.number} | `{field.name}` |" in page


def test_the_contract_keeps_bufs_rules() -> None:
    run(BUF, "lint", "proto")
    run(BUF, "format", "--exit-code", "proto")


def test_the_archive_alone_compiles(released: Path, tmp_path: Path) -> None:
    with tarfile.open(the_one(released, "*.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    run(BUF, "build", unpacked / "proto")
    assert (unpacked / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()


def test_the_descriptor_set_alone_is_enough_to_call(released: Path, server: Server) -> None:
    described = the_one(released, "*.binpb")
    names = {file.name for file in FileDescriptorSet.FromString(described.read_bytes()).file}
    assert "latens/v1/latens.proto" in names
    url = f"http://{server.address}/latens.v1.LatentService/GetModel"
    command: list[str | Path] = [BUF, "curl", "--schema", described, "--protocol", "grpc"]
    answer = json.loads(run(*command, "--http2-prior-knowledge", "-d", "{}", url))
    assert answer["model"]["name"] == "mnist-2d"


def test_a_release_is_the_same_bytes_each_time(released: Path, tmp_path: Path) -> None:
    run(sys.executable, SCRIPTS / "release_proto.py", tmp_path)
    sums = the_one(released, "*.sha256").read_text()
    assert sums == the_one(tmp_path, "*.sha256").read_text()
    for line in sums.splitlines():
        digest, name = line.split()
        assert hashlib.sha256((released / name).read_bytes()).hexdigest() == digest
