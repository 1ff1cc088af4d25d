"""TLS, mutual TLS and tokens: who may call, and that it can be changed without a restart."""

from __future__ import annotations

import hashlib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from certificates import Authority
from latens.admin.v1 import admin_pb2, admin_pb2_grpc
from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving.calls.authorization import TokenFileError, Tokens
from latens_serving.errors import PermissionDeniedError, UnauthenticatedError
from server_process import Server, running_server

INFER, ADMIN, BOTH = "infer-token-0123456789", "admin-token-0123456789", "both-token-0123456789"
ONE = pb.SampleRequest(count=1, seed=1)


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def latents(channel: grpc.Channel) -> latens_pb2_grpc.LatentServiceStub:
    return latens_pb2_grpc.LatentServiceStub(channel)


def code_of(call: Any, *args: Any, **named: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, timeout=20, **named)
    return caught.value.code()


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    digest = hashlib.sha256(BOTH.encode()).hexdigest()
    path.write_text(
        f"# who may call\n\ninfer {INFER}\nadmin {ADMIN}\ninfer,admin sha256:{digest}\n"
    )
    return path


@pytest.fixture(scope="module")
def guarded(model_repository: Path, token_file: Path) -> Iterator[Server]:
    with running_server(model_repository, f"--tokens={token_file}", "--admin-port=0") as server:
        yield server


def test_a_call_needs_a_token_with_the_scope_infer(guarded: Server) -> None:
    with grpc.insecure_channel(guarded.address) as channel:
        sample = latents(channel).Sample
        assert code_of(sample, ONE) is grpc.StatusCode.UNAUTHENTICATED
        assert code_of(sample, ONE, metadata=bearer("x" * 30)) is grpc.StatusCode.UNAUTHENTICATED
        assert code_of(sample, ONE, metadata=bearer(ADMIN)) is grpc.StatusCode.PERMISSION_DENIED
        for token in (INFER, BOTH):
            assert sample(ONE, metadata=bearer(token), timeout=20).seed == 1


def test_the_admin_service_needs_the_scope_admin_and_is_not_on_the_public_port(
    guarded: Server,
) -> None:
    request = admin_pb2.ReloadRepositoryRequest()
    admin_address = guarded.wait_for("serving")["admin_address"]
    with grpc.insecure_channel(admin_address) as channel:
        reload = admin_pb2_grpc.AdminServiceStub(channel).ReloadRepository
        assert code_of(reload, request) is grpc.StatusCode.UNAUTHENTICATED
        assert code_of(reload, request, metadata=bearer(INFER)) is grpc.StatusCode.PERMISSION_DENIED
        assert len(reload(request, metadata=bearer(ADMIN), timeout=20).models) == 2
    with grpc.insecure_channel(guarded.address) as channel:
        reload = admin_pb2_grpc.AdminServiceStub(channel).ReloadRepository
        assert code_of(reload, request, metadata=bearer(BOTH)) is grpc.StatusCode.UNIMPLEMENTED


def test_health_and_probes_need_no_token(guarded: Server) -> None:
    with grpc.insecure_channel(guarded.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with urllib.request.urlopen(f"http://{guarded.http_address}/readyz", timeout=20) as ready:
        assert ready.status == 200


def test_http_needs_the_same_tokens(guarded: Server) -> None:
    def post(headers: dict[str, str]) -> int:
        url = f"http://{guarded.http_address}/latens.v1.LatentService/Sample"
        headers = {"content-type": "application/json", **headers}
        request = urllib.request.Request(url, b'{"count": 1}', headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    assert post({}) == 401
    assert post({"authorization": f"Bearer {ADMIN}"}) == 403
    assert post({"authorization": f"Bearer {INFER}"}) == 200


@pytest.mark.parametrize("frontend", ["grpcio", "http2"])
def test_no_token_and_no_tensor_reaches_the_log(
    model_repository: Path, token_file: Path, frontend: str
) -> None:
    loud = ("--log-calls=all", "--log-level=debug")
    flags = (f"--tokens={token_file}", f"--frontend={frontend}", *loud)
    pixel, wrong = np.float32(0.7312345), np.float32(7.3145678)
    stranger = "x" * 30
    with running_server(model_repository, *flags) as server:
        with grpc.insecure_channel(server.address) as channel:
            encode = latents(channel).Encode
            images = np.full((2, 1, 28, 28), pixel)
            encode(_encoding(images), timeout=20, metadata=bearer(INFER))
            images[1, 0, 5:] = wrong
            for token in (INFER, ADMIN, stranger):
                code_of(encode, _encoding(images), metadata=bearer(token))
        server.stop()
        said = f"{server.lines} {server.noise} {server.printed}"
    codes = [line["code"] for line in server.lines if line["message"] == "call"]
    assert codes == ["OK", "INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED"]
    for secret in (INFER, ADMIN, BOTH, stranger):
        assert secret not in said
    for value in (pixel, wrong):
        assert str(value)[:6] not in said
        assert str(value.tobytes())[2:-1] not in said


def _encoding(images: np.ndarray) -> pb.EncodeRequest:
    return pb.EncodeRequest(model="mnist-2d", images=to_message(images))


def test_a_changed_token_file_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latens_serving.calls.authorization._LOOK_SECONDS", 0)
    path = tmp_path / "tokens"
    path.write_text(f"infer {INFER}\n")
    tokens = Tokens(path)
    tokens.authorize(f"Bearer {INFER}", "infer")
    path.write_text(f"infer {BOTH}-and-longer\n")
    with pytest.raises(UnauthenticatedError):
        tokens.authorize(f"Bearer {INFER}", "infer")
    tokens.authorize(f"bearer {BOTH}-and-longer", "infer")
    path.write_text("nonsense\n")  # what was good stays good
    tokens.authorize(f"Bearer {BOTH}-and-longer", "infer")
    with pytest.raises(PermissionDeniedError):
        tokens.authorize(f"Bearer {BOTH}-and-longer", "admin")


@pytest.mark.parametrize(
    "content", ["", "# nothing\n", "root abcdefghijklmnopqrst\n", "infer short\n", "infer\n"]
)
def test_a_bad_token_file_is_refused_at_the_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(content)
    with pytest.raises(TokenFileError, match="tokens"):
        Tokens(path)
    with pytest.raises(TokenFileError):
        Tokens(tmp_path / "none")


@pytest.mark.parametrize("frontend", ["grpcio", "http2"])
def test_changed_certificates_are_read_again_and_clients_need_theirs(
    model_repository: Path, tmp_path: Path, frontend: str
) -> None:
    authority, strangers = Authority(tmp_path), Authority(tmp_path, "strangers")
    ours, client = authority.sign("server"), authority.sign("client")
    foreign = strangers.sign("foreign")
    flags = (
        f"--frontend={frontend}",
        f"--tls-certificate={ours.certificate}",
        f"--tls-key={ours.key}",
        f"--tls-client-ca={authority.certificate}",
    )

    def credentials(key: Path | None, chain: Path | None) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(
            authority.certificate.read_bytes(),
            key.read_bytes() if key else None,
            chain.read_bytes() if chain else None,
        )

    with running_server(model_repository, *flags) as server:
        good = credentials(client.key, client.certificate)
        with grpc.secure_channel(server.address, good) as channel:
            assert latents(channel).Sample(ONE, timeout=20).seed == 1
            for bad in (credentials(None, None), credentials(foreign.key, foreign.certificate)):
                with grpc.secure_channel(server.address, bad) as stranger:
                    assert code_of(latents(stranger).Sample, ONE) is grpc.StatusCode.UNAVAILABLE
            with grpc.insecure_channel(server.address) as plain:
                assert code_of(latents(plain).Sample, ONE) is grpc.StatusCode.UNAVAILABLE
            before = shown_certificate(server.address, authority, client.certificate, client.key)
            renewed = authority.sign("server")
            after = shown_certificate(server.address, authority, client.certificate, client.key)
            assert before != after
            assert after == ssl.PEM_cert_to_DER_cert(renewed.certificate.read_text())
            assert latents(channel).Sample(ONE, timeout=20).seed == 1  # the old connection lives


def shown_certificate(address: str, authority: Authority, chain: Path, key: Path) -> bytes:
    """What the server shows at a new handshake."""
    context = ssl.create_default_context(cafile=authority.certificate)
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
    assert shown is not None
    return shown
