"""`latens explore` finds the page, or reports an error in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from latens.cli.explore import page_url
from server_process import Server, running_server


def explore(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "latens"), "explore", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def test_it_prints_the_address_of_a_page_that_answers(server: Server) -> None:
    done = explore("--http", server.http_address, "--no-browser")
    assert (done.returncode, done.stdout) == (0, f"http://{server.http_address}/\n")


def test_an_unreachable_server_is_unavailable() -> None:
    done = explore("--http", "127.0.0.1:1", "--no-browser")
    assert done.returncode == 4
    assert "nothing answers at http://127.0.0.1:1/" in done.stderr


def test_a_server_without_the_page_is_reported(model_repository: Path) -> None:
    with running_server(model_repository, "--no-explorer") as server:
        done = explore("--http", server.http_address, "--no-browser")
    assert done.returncode == 3
    assert "has no explorer" in done.stderr


@pytest.mark.parametrize(
    ("address", "http", "encrypted", "url"),
    [
        ("127.0.0.1:50051", None, False, "http://127.0.0.1:8080/"),
        ("dns:///gpu:50051,other:50051", None, False, "http://gpu:8080/"),
        ("grpcs://gpu:50051/", None, True, "https://gpu:8080/"),
        ("[::1]:50051", None, False, "http://[::1]:8080/"),
        ("gpu:50051", "gpu:9000", True, "https://gpu:9000/"),
        ("gpu:50051", "https://latens.example.org", False, "https://latens.example.org/"),
    ],
)
def test_the_default_address_is_beside_the_grpc_port(
    address: str, http: str | None, encrypted: bool, url: str
) -> None:
    assert page_url(address, http, encrypted=encrypted) == url
