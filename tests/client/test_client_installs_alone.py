"""The client's wheel alone can call a real server, with every supported protobuf."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from environments import REPOSITORY, build, environment, kept, renew
from server_process import Server

CLIENT = REPOSITORY / "clients" / "python"
CALLS = """
import importlib.metadata as metadata, importlib.util as util, json, sys
import latens, numpy
with latens.Client(sys.argv[1], rows_per_call=3) as client:
    samples = client.sample(4, seed=7)
    means = client.encode(samples.images).mean
    try:
        client.decode([[1.0]])
    except latens.LatensError as error:
        said = [type(error).__name__, error.reason, error.field_violations[0].field]
    health = client.health().name
print(json.dumps({
    "latents": samples.latents.tolist(),
    "mean": means.shape,
    "error": said,
    "health": health,
    "protobuf": metadata.version("protobuf"),
    "grpcio": metadata.version("grpcio"),
    "heavy": [name for name in ("torch", "onnx", "onnxruntime", "latens_serving", "typer")
              if util.find_spec(name)],
    "file": latens.__file__,
}))
"""

OLDEST = [
    "protobuf==5.26.1",
    "googleapis-common-protos==1.63.2",
    *("grpcio==1.64.3; python_version<'3.13'", "grpcio==1.66.2; python_version>='3.13'"),
    *("numpy==1.26.4; python_version<'3.13'", "numpy==2.1.3; python_version>='3.13'"),
]
RANGE = {
    "5, the oldest": ("5.26.1", OLDEST),
    "5": ("5.", ["protobuf==5.*", "grpcio==1.71.*", "googleapis-common-protos", "numpy"]),
    "6": ("6.", ["protobuf==6.*", "grpcio==1.81.*", "googleapis-common-protos", "numpy"]),
    "7": ("7.", ["protobuf==7.*", "grpcio>=1.85", "googleapis-common-protos", "numpy"]),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kept(build(CLIENT, tmp_path_factory.mktemp("wheel"), "wheel"))


def calls(python: Path, server: Server, folder: Path) -> dict[str, Any]:
    """The output of the client in another environment; warnings are errors."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [str(python), "-I", "-W", "error", "-c", CALLS, server.address]
    done = subprocess.run(
        command, cwd=folder, env=clean, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    assert Path(facts["file"]).is_relative_to(python.parents[1])
    return facts


def test_installed_alone_in_an_empty_environment_it_makes_a_real_call(
    wheel: Path, server: Server, tmp_path: Path
) -> None:
    python = environment("client-alone", [str(wheel)])
    renew(python, wheel)
    facts = calls(python, server, tmp_path)
    assert facts["mean"] == [4, 2]
    assert facts["error"] == ["InvalidInputError", "INVALID_INPUT", "latents.shape"]
    assert facts["health"] == "SERVING"
    assert facts["heavy"] == []


@pytest.mark.parametrize("protobuf", RANGE)
def test_it_works_on_every_protobuf_of_its_range(
    protobuf: str, wheel: Path, server: Server, tmp_path: Path
) -> None:
    version, packages = RANGE[protobuf]
    python = environment("protobuf", packages)
    renew(python, wheel)
    facts = calls(python, server, tmp_path)
    assert facts["protobuf"].startswith(version)
    assert facts["mean"] == [4, 2]
    assert facts["error"] == ["InvalidInputError", "INVALID_INPUT", "latents.shape"]


def test_the_wheel_contains_only_the_package_and_its_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"latens", "latens-0.1.0.dist-info"}
    assert {"latens/py.typed", "latens/v1/latens_pb2.py", "latens/cli/app.py"} <= set(names)
