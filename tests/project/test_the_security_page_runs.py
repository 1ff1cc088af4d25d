"""docs/security.md tells the truth: its commands make a server with TLS, and one with tokens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from server_process import running_server
from toy_bundles import write_spatial

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
BLOCK = re.compile(r"<!-- run: ([\w-]+) -->\n```sh\n(.*?)```", re.DOTALL)
BLOCKS = dict(BLOCK.findall(PAGE))


def run(script: str, folder: Path, **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LATENS_")}
    clean["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("security") / "models"
    write_spatial(repository)
    return repository


def test_a_server_with_the_certificate_is_reached_with_the_authority(
    repository: Path, tmp_path: Path
) -> None:
    run(BLOCKS["certificates"], tmp_path)
    flags = (f"--tls-certificate={tmp_path}/server.pem", f"--tls-key={tmp_path}/server.key")
    assert all(flag.partition("=")[0] in PAGE for flag in flags)
    with running_server(repository, *flags) as server:
        port = server.address.rpartition(":")[2]
        printed = run(BLOCKS["tls"].replace("50051", port), tmp_path)
    assert "spatial" in printed


def test_a_server_with_tokens_answers_those_who_have_one(repository: Path, tmp_path: Path) -> None:
    token = run(BLOCKS["tokens"] + 'echo "$token"', tmp_path).strip()
    assert token not in (tmp_path / "tokens").read_text()
    with running_server(repository, f"--tokens={tmp_path}/tokens") as server:
        script = BLOCKS["token-call"].replace("127.0.0.1:8080", server.http_address)
        printed = run(script, tmp_path, LATENS_ADDRESS=server.address, token=token)
        assert printed.count("spatial") >= 2  # by gRPC and by HTTP
        with pytest.raises(AssertionError, match="token"):
            run("latens models", tmp_path, LATENS_ADDRESS=server.address)


def test_every_option_on_the_page_exists() -> None:
    from latens_serving.settings import Settings

    server = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    printed = run("latens --help", Path.cwd(), COLUMNS="200")
    named = set(re.findall(r"(?<!\S)--(?:tls|tokens|http-tls|ca|cert-file|key-file)[\w-]*", PAGE))
    assert named
    assert {name for name in named if name not in server and name not in printed} == set()
