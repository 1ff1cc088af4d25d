"""TLS, mutual TLS and tokens in the client and the command line."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import Authority, Signed
from latens import AsyncClient, Client, Health, Tls, errors
from server_process import Server, running_server

TOKEN = "infer-token-0123456789"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Signed:
    return authority.sign("client")


@pytest.fixture(scope="module")
def guarded(
    model_repository: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that requires a certificate and a token."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"infer {TOKEN}\n")
    server = authority.sign("server")
    flags = [
        *(f"--tls-certificate={server.certificate}", f"--tls-key={server.key}"),
        *(f"--tls-client-ca={authority.certificate}", f"--tokens={tokens}"),
    ]
    with running_server(model_repository, *flags) as running:
        yield running


@pytest.fixture(scope="module")
def tls(authority: Authority, ours: Signed) -> Tls:
    return Tls(authority.certificate, ours.certificate, ours.key)


async def test_a_client_with_a_certificate_and_a_token_is_served(guarded: Server, tls: Tls) -> None:
    with Client(guarded.address, tls=tls, token=TOKEN) as client:
        assert client.sample(2, seed=1).images.shape == (2, 1, 28, 28)
        assert client.health() is Health.SERVING
    async with AsyncClient(guarded.address, tls=tls, token=lambda: TOKEN) as other:
        assert (await other.sample(2, seed=1)).images.shape == (2, 1, 28, 28)


def test_a_token_function_is_called_for_each_call(guarded: Server, tls: Tls) -> None:
    tokens = iter([TOKEN, TOKEN, "revoked-token-0123456"])
    with Client(guarded.address, tls=tls, token=lambda: next(tokens)) as client:
        client.sample(1)  # the limits, and the sample
        with pytest.raises(errors.UnauthenticatedError):
            client.sample(1)


def test_a_call_without_a_token_is_unauthenticated(guarded: Server, tls: Tls) -> None:
    with Client(guarded.address, tls=tls) as client, pytest.raises(errors.UnauthenticatedError):
        client.sample(1)


def test_without_a_certificate_or_without_trust_there_is_no_connection(
    guarded: Server, authority: Authority, ours: Signed
) -> None:
    distrustful = Tls(None, ours.certificate, ours.key)
    for wrong in (None, Tls(authority.certificate), distrustful):
        with (
            Client(guarded.address, tls=wrong, token=TOKEN) as client,
            pytest.raises(errors.UnavailableError),
        ):
            client.sample(1)


def test_two_addresses_are_known_by_the_name_of_the_first(guarded: Server, tls: Tls) -> None:
    port = guarded.address.rpartition(":")[2]
    both = f"localhost:{port},{guarded.address}"
    with Client(both, tls=tls, token=TOKEN) as client:
        assert client.sample(1).images.shape == (1, 1, 28, 28)


def test_the_command_line_reads_credentials_from_the_environment(
    guarded: Server, authority: Authority, ours: Signed, tmp_path: Path
) -> None:
    secret = tmp_path / "token"
    secret.write_text(f"{TOKEN}\n")
    environment = os.environ | {
        "LATENS_ADDRESS": guarded.address,
        "LATENS_CA_FILE": str(authority.certificate),
        "LATENS_CERT_FILE": str(ours.certificate),
        "LATENS_KEY_FILE": str(ours.key),
        "LATENS_TOKEN_FILE": str(secret),
    }
    done = subprocess.run(
        [sys.executable, "-m", "latens", "sample", "-n", "1", "-o", "one.png"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "one.png").exists()


def test_the_repr_of_a_client_has_no_token() -> None:
    from latens.channel import Connection

    assert TOKEN not in repr(Connection("127.0.0.1:1", token=TOKEN))


def test_a_certificate_without_its_key_is_refused(ours: Signed) -> None:
    with pytest.raises(ValueError, match="both a certificate file and a key file"):
        Client("127.0.0.1:1", tls=Tls(certificate_file=ours.certificate))


def test_an_async_client_made_without_a_loop_belongs_to_the_loop_of_its_first_call(
    guarded: Server, tls: Tls
) -> None:
    client = AsyncClient(guarded.address, tls=tls, token=TOKEN)

    async def once() -> int:
        async with client:
            return len((await client.sample(3)).images)

    assert asyncio.run(once()) == 3
