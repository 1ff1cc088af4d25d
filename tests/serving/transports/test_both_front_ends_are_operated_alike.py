"""Whatever speaks gRPC, it is run the same: metrics, drain, doors."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from certificates import Authority, Signed
from front_ends import (
    FRONT_ENDS,
    SECONDS,
    both_front_ends,
    images,
    metrics_of,
    refusal,
    settled_metrics_of,
    stub_of,
)
from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from server_process import Server, running_server

ENCODE = pb.EncodeRequest(images=to_message(images(3)), draw=pb.PosteriorDraw(seed=5))
SAMPLE = pb.SampleRequest(count=1, seed=1)


@pytest.fixture(scope="module")
def servers(model_repository: Path) -> Iterator[dict[str, Server]]:
    with both_front_ends(model_repository) as running:
        yield running


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_calls_are_counted_by_their_end(servers: dict[str, Server], name: str) -> None:
    def handled(code: str) -> str:
        labels = 'grpc_method="Encode",grpc_service="latens.v1.LatentService",grpc_type="unary"'
        ordered = sorted([*labels.split(","), f'grpc_code="{code}"'])
        return next(
            key
            for key in metrics_of(servers[name])
            if key.startswith("grpc_server_handled_total{")
            and sorted(key[key.index("{") + 1 : -1].split(",")) == ordered
        )

    channel, stub = stub_of(servers[name])
    with channel:
        stub.Encode(ENCODE, timeout=SECONDS)
        refusal(stub.Encode, pb.EncodeRequest())
        before = settled_metrics_of(servers[name])
        for _ in range(3):
            stub.Encode(ENCODE, timeout=SECONDS)
        refusal(stub.Encode, pb.EncodeRequest())
        after = settled_metrics_of(servers[name])
    assert after[handled("OK")] - before[handled("OK")] == 3
    assert after[handled("INVALID_ARGUMENT")] - before[handled("INVALID_ARGUMENT")] == 1
    rows = 'latens_rows_total{grpc_method="Encode",model="mnist-2d"}'
    rows = rows if rows in after else 'latens_rows_total{model="mnist-2d",grpc_method="Encode"}'
    assert after[rows] - before[rows] == 9


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_a_stopping_server_loses_no_call(model_repository: Path, name: str) -> None:
    request = pb.EncodeRequest(images=to_message(images(16)))
    with running_server(model_repository, f"--frontend={name}") as server:
        channel, stub = stub_of(server)
        with channel, ThreadPoolExecutor(8) as pool:

            def call_until_refused() -> grpc.StatusCode:
                while True:
                    try:
                        stub.Encode(request, timeout=SECONDS)
                    except grpc.RpcError as error:
                        return error.code()

            callers = [pool.submit(call_until_refused) for _ in range(8)]
            stub.Encode(request, timeout=SECONDS)
            server.signal(signal.SIGTERM)
            ends = {caller.result(SECONDS) for caller in callers}
        # grpcio cancels calls that reach it while it stops; the client retries those, too.
        also = {grpc.StatusCode.CANCELLED} if name == "grpcio" else set()
        assert ends - also == {grpc.StatusCode.UNAVAILABLE}
        assert server.wait() == 0


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_tls_client_certificates_and_tokens_work_alike(
    model_repository: Path, tmp_path: Path, name: str
) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    ours, theirs = authority.sign("server"), authority.sign("client")
    forged = stranger.sign("forged")
    tokens = tmp_path / "tokens"
    tokens.write_text("infer infer-token-0123456789\nadmin admin-token-0123456789\n")
    flags = [f"--tls-certificate={ours.certificate}", f"--tls-key={ours.key}"]
    flags += [f"--tls-client-ca={authority.certificate}", f"--tokens={tokens}"]

    def channel_with(shown: Signed | None) -> grpc.Channel:
        root = authority.certificate.read_bytes()
        if shown is None:
            credentials = grpc.ssl_channel_credentials(root)
        else:
            pair = shown.key.read_bytes(), shown.certificate.read_bytes()
            credentials = grpc.ssl_channel_credentials(root, *pair)
        return grpc.secure_channel(server.address, credentials)

    with running_server(model_repository, f"--frontend={name}", *flags) as server:
        with channel_with(theirs) as channel:
            stub = latens_pb2_grpc.LatentServiceStub(channel)
            for call, request in ((stub.Encode, ENCODE), (stub.Sample, SAMPLE)):
                for token, code in (
                    ("", grpc.StatusCode.UNAUTHENTICATED),
                    ("wrong-token-0123456789", grpc.StatusCode.UNAUTHENTICATED),
                    ("admin-token-0123456789", grpc.StatusCode.PERMISSION_DENIED),
                ):
                    error = refusal(call, request, metadata=bearer(token))
                    assert error.code() is code
                call(request, timeout=SECONDS, metadata=bearer("infer-token-0123456789"))
        for shown in (None, forged):
            with channel_with(shown) as channel:
                call = latens_pb2_grpc.LatentServiceStub(channel).Sample
                error = refusal(call, SAMPLE, metadata=bearer("infer-token-0123456789"))
                assert error.code() is grpc.StatusCode.UNAVAILABLE
        with grpc.insecure_channel(server.address) as channel:
            error = refusal(latens_pb2_grpc.LatentServiceStub(channel).Sample, SAMPLE)
            assert error.code() is grpc.StatusCode.UNAVAILABLE


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")] if token else []
