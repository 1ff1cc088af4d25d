"""A failed start is one line and an exit code; a successful one prints the addresses."""

from __future__ import annotations

import json
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server_process import Server, running_server


def ended(repository: Path, *flags: str, **environment: str) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of a server that does not start."""
    server = Server(repository, *flags, environment=environment)
    code = server.wait()
    return code, server.printed, "".join(server.noise)


def test_a_failed_start_is_one_line_and_an_exit_code(
    model_repository: Path, tmp_path: Path
) -> None:
    empty, bad = tmp_path / "empty", tmp_path / "bad"
    empty.mkdir()
    shutil.copytree(model_repository / "mnist-2d", bad / "mnist-2d")
    (bad / "mnist-2d" / "1" / "encoder.onnx").write_bytes(b"nothing")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        endings = [
            (empty, (), {}, 3, "latens-export"),
            (tmp_path / "none", (), {}, 3, "no model in"),
            (bad, (), {}, 5, "mnist-2d/1: "),
            (model_repository, (f"--port={port}",), {}, 1, "is another server there"),
            (
                model_repository,
                ("--frontend=http2", f"--port={port}"),
                {},
                1,
                f"{port}: is another",
            ),
            (model_repository, (f"--http-port={port}",), {}, 1, "in use"),
            (model_repository, ("--device=cuda",), {}, 5, "device cuda was asked for"),
            (model_repository, ("--port=70000",), {}, 2, "--port"),
            (model_repository, ("--no-such-flag",), {}, 2, "--no-such-flag"),
            (model_repository, ("--tls-key=x",), {}, 2, "--tls-certificate"),
            (model_repository, ("--tokens=/none",), {}, 1, "/none"),
            (model_repository, (), {"LATENS_SERVE_PROT": "1"}, 2, "LATENS_SERVE_PROT"),
        ]
        with ThreadPoolExecutor(2) as pool:
            codes = pool.map(lambda end: ended(end[0], *end[1], **end[2]), endings)
            for (_, flags, _, code, text), (got, _, said) in zip(endings, codes, strict=True):
                assert (got, text in said) == (code, True), (flags, got, said)
                assert "Traceback" not in said, flags


def test_the_addresses_and_the_settings_are_printed(
    model_repository: Path,
) -> None:
    with running_server(model_repository, "--default-model=point") as server:
        address = server.address
    assert f"Latens serves mnist-2d, point at {address}" in server.printed
    code, printed, _ = ended(model_repository, "--print-config", LATENS_SERVE_MAX_ROWS="77")
    assert code == 0
    assert json.loads(printed)["max_rows"] == 77
