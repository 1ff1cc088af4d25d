"""Whatever speaks gRPC, a call means the same: answers, refusals, limits, metrics, drain."""

from __future__ import annotations

import asyncio
import signal
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from certificates import Authority, Signed
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from numpy.typing import NDArray
from server_process import Server, running_server

FRONT_ENDS = ("grpcio", "fast")
SECONDS = 20
ONE = pb.SampleRequest(count=1, seed=1)
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


# Only callers' rows are counted.
OF_THEMSELVES = ("--canary-seconds=0", "--drift-seconds=0")


@pytest.fixture(scope="module")
def servers(model_repository: Path) -> Iterator[dict[str, Server]]:
    with (
        running_server(model_repository, "--frontend=grpcio", *OF_THEMSELVES) as plain,
        running_server(model_repository, "--frontend=fast", *OF_THEMSELVES) as fast,
    ):
        yield {"grpcio": plain, "fast": fast}


@pytest.fixture(params=FRONT_ENDS)
def channel(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(servers[request.param].address, OPTIONS) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel) -> latens_pb2_grpc.LatentServiceStub:
    return latens_pb2_grpc.LatentServiceStub(channel)


def images(rows: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((rows, 1, 28, 28), np.float32)


def stub_of(server: Server) -> tuple[grpc.Channel, latens_pb2_grpc.LatentServiceStub]:
    channel = grpc.insecure_channel(server.address, OPTIONS)
    return channel, latens_pb2_grpc.LatentServiceStub(channel)


def refusal(call: Any, request: object, **options: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, **{"timeout": SECONDS, **options})
    return caught.value


def reason_of(error: grpc.RpcError) -> str:
    status = status_of(error)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "latens"
    reason: str = info.reason
    return reason


def status_of(error: Any) -> Any:
    """The rich status in an error's trailers."""
    status = rpc_status.from_call(error)
    assert status is not None
    return status


REQUESTS = {
    "Encode": pb.EncodeRequest(images=to_message(images(3)), draw=pb.PosteriorDraw(seed=5)),
    "Decode": pb.DecodeRequest(latents=to_message(np.ones((4, 2), np.float32))),
    "Sample": pb.SampleRequest(count=5, seed=9, image_dtype=pb.DATA_TYPE_UINT8),
    "Interpolate": pb.InterpolateRequest(
        starts=pb.Endpoints(latents=to_message(np.zeros((1, 2), np.float32))),
        ends=pb.Endpoints(images=to_message(images(1))),
        steps=4,
    ),
    "GetModel": pb.GetModelRequest(model="point"),
    "ListModels": pb.ListModelsRequest(),
}


@pytest.mark.parametrize("method", REQUESTS)
def test_the_same_request_has_the_same_answer_to_the_bit(
    servers: dict[str, Server], method: str
) -> None:
    answers = []
    for name in FRONT_ENDS:
        channel, stub = stub_of(servers[name])
        with channel:
            answers.append(getattr(stub, method)(REQUESTS[method], timeout=SECONDS))
    assert answers[0] == answers[1]
    assert answers[0].ByteSize() > 0


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("rows", [1, 2, 63, 1024])
def test_every_size_and_type_is_answered_alike(
    servers: dict[str, Server], dtype: type, rows: int
) -> None:
    batch = images(rows) if dtype is np.float32 else (images(rows) * 255).astype(np.uint8)
    means = []
    for name in FRONT_ENDS:
        channel, stub = stub_of(servers[name])
        with channel:
            for _ in range(2):  # the second is of a form that was seen before
                answer = stub.Encode(pb.EncodeRequest(images=to_message(batch)), timeout=SECONDS)
                means.append(to_array(answer.mean))
                decode = pb.DecodeRequest(latents=answer.mean, image_dtype=pb.DATA_TYPE_UINT8)
                decoded = to_array(stub.Decode(decode, timeout=SECONDS).images)
                assert decoded.shape == (rows, 1, 28, 28)
    for mean in means[1:]:
        np.testing.assert_allclose(mean, means[0], atol=1e-6)


def test_bytes_in_and_out_are_the_floats_rounded(
    stub: latens_pb2_grpc.LatentServiceStub,
) -> None:
    grey = (images(9) * 255).astype(np.uint8)
    of_bytes, of_floats = (
        stub.Encode(pb.EncodeRequest(images=to_message(given)), timeout=SECONDS)
        for given in (grey, grey / np.float32(255))
    )
    np.testing.assert_allclose(to_array(of_bytes.mean), to_array(of_floats.mean), atol=1e-4)
    np.testing.assert_allclose(to_array(of_bytes.log_var), to_array(of_floats.log_var), atol=1e-4)
    ends = pb.Endpoints(images=to_message(grey[:2]))
    for method, request in (
        ("Decode", pb.DecodeRequest(latents=of_floats.mean)),
        ("Sample", pb.SampleRequest(count=70, seed=2)),
        ("Interpolate", pb.InterpolateRequest(starts=ends, ends=ends, steps=3)),
        ("Traverse", pb.TraverseRequest(bases=ends, steps=3)),
        ("Reconstruct", pb.ReconstructRequest(images=to_message(grey))),
    ):
        call: Any = getattr(stub, method)
        floats = to_array(call(request, timeout=SECONDS).images)
        request.image_dtype = pb.DATA_TYPE_UINT8
        rounded = to_array(call(request, timeout=SECONDS).images)
        assert rounded.dtype == np.uint8
        assert np.abs(rounded - np.rint(floats * 255)).max() <= 1, method


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_calls_of_bytes_run_in_graphs_of_bytes(servers: dict[str, Server], name: str) -> None:
    def rows_of(graph: str) -> float:
        found = settled_metrics_of(servers[name])
        return found.get(f'latens_batch_rows_sum{{graph="{graph}",model="mnist-2d"}}', 0.0)

    channel, stub = stub_of(servers[name])
    with channel:
        for request, graph in (
            (pb.EncodeRequest(images=to_message(np.zeros((3, 1, 28, 28), np.uint8))), "encoder"),
            (REQUESTS["Sample"], "decoder"),
        ):
            before = [rows_of(graph), rows_of(f"{graph}_uint8")]
            call = stub.Encode if graph == "encoder" else stub.Sample
            call(request, timeout=SECONDS)
            ran = 3 if graph == "encoder" else 5
            assert [rows_of(graph), rows_of(f"{graph}_uint8")] == [before[0], before[1] + ran]


BAD = {
    "no images": (pb.EncodeRequest(), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT"),
    "no such model": (
        pb.EncodeRequest(model="nope", images=to_message(images(1))),
        grpc.StatusCode.NOT_FOUND,
        "MODEL_NOT_FOUND",
    ),
    "no such version": (
        pb.EncodeRequest(version="77", images=to_message(images(1))),
        grpc.StatusCode.NOT_FOUND,
        "MODEL_NOT_FOUND",
    ),
    "out of range": (
        pb.EncodeRequest(images=to_message(images(1) + 1)),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_INPUT",
    ),
    "not a number": (
        pb.EncodeRequest(images=to_message(images(1) * np.float32("nan"))),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_INPUT",
    ),
    "of another shape": (
        pb.EncodeRequest(images=to_message(np.zeros((1, 3, 28, 28), np.float32))),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_INPUT",
    ),
    "a shape that lies": (
        pb.EncodeRequest(
            images=pb.Tensor(dtype=pb.DATA_TYPE_FLOAT32, shape=[1, 1, 28, 28], data=b"short")
        ),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_INPUT",
    ),
    "too many rows": (
        pb.EncodeRequest(images=to_message(np.zeros((20000, 1, 28, 28), np.uint8))),
        grpc.StatusCode.INVALID_ARGUMENT,
        "TOO_LARGE",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_refused_with_the_same_words(
    servers: dict[str, Server], case: str
) -> None:
    request, code, reason = BAD[case]
    said = []
    for name in FRONT_ENDS:
        channel, stub = stub_of(servers[name])
        with channel:
            for _ in range(2):
                error = refusal(stub.Encode, request)
                assert error.code() is code
                assert reason_of(error) == reason
                said.append((error.details(), status_of(error)))
    assert said == said[:1] * 4


def test_bytes_that_are_no_message_are_refused(channel: grpc.Channel) -> None:
    for method in ("Encode", "Sample"):
        call: Any = channel.unary_unary(f"/latens.v1.LatentService/{method}")
        # grpcio's own answer is UNKNOWN, which is not for us to change.
        assert refusal(call, b"\xff\xff\xff").code() in {
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.UNKNOWN,
        }


def test_a_method_that_is_not_known_is_unimplemented(channel: grpc.Channel) -> None:
    error = refusal(channel.unary_unary("/latens.v1.LatentService/Nothing"), b"")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_beyond_the_limit_is_refused_unread(channel: grpc.Channel) -> None:
    call: Any = channel.unary_unary("/latens.v1.LatentService/Encode")
    assert refusal(call, bytes((64 << 20) + 1)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_compressed_request_is_understood(stub: latens_pb2_grpc.LatentServiceStub) -> None:
    request = pb.EncodeRequest(images=to_message(images(2)))
    plain = stub.Encode(request, timeout=SECONDS)
    packed = stub.Encode(request, timeout=SECONDS, compression=grpc.Compression.Gzip)
    assert packed == plain


def test_a_passed_deadline_is_told(stub: latens_pb2_grpc.LatentServiceStub) -> None:
    error = refusal(stub.Sample, pb.SampleRequest(count=8192), timeout=1e-3)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_health_is_told_once_and_watched(channel: grpc.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for service in ("", "latens.v1.LatentService", "models/mnist-2d"):
        request = health_pb2.HealthCheckRequest(service=service)
        assert stub.Check(request, timeout=SECONDS).status == serving
    error = refusal(stub.Check, health_pb2.HealthCheckRequest(service="nobody"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    assert next(watch).status == serving
    watch.cancel()


@pytest.mark.parametrize("name", FRONT_ENDS)
async def test_each_of_many_callers_gets_its_own_rows(
    servers: dict[str, Server], name: str
) -> None:
    batches = [images(1 + number % 5, number) for number in range(120)]
    async with grpc.aio.insecure_channel(servers[name].address) as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)

        async def mean_of(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            answer = await stub.Encode(pb.EncodeRequest(images=to_message(batch)), timeout=SECONDS)
            return to_array(answer.mean)

        alone = [await mean_of(batch) for batch in batches]
        together = await asyncio.gather(*map(mean_of, batches))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def metrics_of(server: Server) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{server.http_address}/metrics") as page:
        lines = page.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def settled_metrics_of(server: Server) -> dict[str, float]:
    """The metrics once no call is under way: a client may have its answer before it is counted."""
    limit = time.monotonic() + SECONDS
    while (found := metrics_of(server))["latens_calls_in_flight"]:
        assert time.monotonic() < limit, "a call that does not end"
    return found


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
        stub.Encode(REQUESTS["Encode"], timeout=SECONDS)
        refusal(stub.Encode, BAD["no images"][0])
        before = settled_metrics_of(servers[name])
        for _ in range(3):
            stub.Encode(REQUESTS["Encode"], timeout=SECONDS)
        refusal(stub.Encode, BAD["no images"][0])
        after = settled_metrics_of(servers[name])
    assert after[handled("OK")] - before[handled("OK")] == 3
    assert after[handled("INVALID_ARGUMENT")] - before[handled("INVALID_ARGUMENT")] == 1
    rows = 'latens_rows_total{grpc_method="Encode",model="mnist-2d"}'
    rows = rows if rows in after else 'latens_rows_total{model="mnist-2d",grpc_method="Encode"}'
    assert after[rows] - before[rows] == 9


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_a_server_that_is_told_to_stop_loses_no_call(model_repository: Path, name: str) -> None:
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
def test_doors_are_the_same_tls_client_certificates_and_tokens(
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
            for call, request in ((stub.Encode, REQUESTS["Encode"]), (stub.Sample, ONE)):
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
                error = refusal(call, ONE, metadata=bearer("infer-token-0123456789"))
                assert error.code() is grpc.StatusCode.UNAVAILABLE
        with grpc.insecure_channel(server.address) as channel:
            error = refusal(latens_pb2_grpc.LatentServiceStub(channel).Sample, ONE)
            assert error.code() is grpc.StatusCode.UNAVAILABLE


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")] if token else []
