"""Every failure is raised as the class of its reason, with its details."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from latens import AsyncClient, Client, errors
from server_process import Server

INVALID, EXHAUSTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
GONE = grpc.StatusCode.UNAVAILABLE
REASONS = [
    ("INVALID_INPUT", INVALID, errors.InvalidInputError),
    ("TOO_LARGE", INVALID, errors.TooLargeError),
    ("MODEL_NOT_FOUND", grpc.StatusCode.NOT_FOUND, errors.ModelNotFoundError),
    ("QUEUE_FULL", EXHAUSTED, errors.QueueFullError),
    ("DEVICE_MEMORY", EXHAUSTED, errors.DeviceMemoryError),
    ("DRAINING", GONE, errors.DrainingError),
    ("NOT_READY", GONE, errors.NotReadyError),
    ("INTERNAL", grpc.StatusCode.INTERNAL, errors.InternalError),
    ("", grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceededError),
    ("", grpc.StatusCode.UNAUTHENTICATED, errors.UnauthenticatedError),
    ("", grpc.StatusCode.PERMISSION_DENIED, errors.PermissionDeniedError),
    ("", grpc.StatusCode.CANCELLED, errors.CallCancelledError),
    ("", grpc.StatusCode.UNIMPLEMENTED, errors.UnimplementedError),
    ("", grpc.StatusCode.UNAVAILABLE, errors.UnavailableError),
    ("A_REASON_OF_TOMORROW", INVALID, errors.InvalidInputError),
    ("", grpc.StatusCode.DATA_LOSS, errors.LatensError),
]


class Failed(grpc.RpcError):
    """A failed call as the library raises it."""

    def __init__(self, code: grpc.StatusCode, trailers: list[tuple[str, Any]]) -> None:
        super().__init__()
        self._code, self._trailers = code, trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "what happened"

    def trailing_metadata(self) -> Any:
        return self._trailers


def failed(code: grpc.StatusCode, *details: Any) -> Failed:
    status = status_pb2.Status()
    for detail in details:
        packed = Packed()
        packed.Pack(detail)
        status.details.append(packed)
    trailers = [("other", "x"), (errors.STATUS_DETAILS_KEY, status.SerializeToString())]
    return Failed(code, trailers)


@pytest.mark.parametrize(("reason", "code", "kind"), REASONS)
def test_each_reason_has_its_class(
    reason: str, code: grpc.StatusCode, kind: type[errors.LatensError]
) -> None:
    info = error_details_pb2.ErrorInfo(reason=reason, domain="latens", metadata={"incident": "7"})
    error = errors.from_call(failed(code, info))
    assert type(error) is kind
    assert (error.message, error.code, error.reason) == ("what happened", code, reason)
    assert error.metadata == {"incident": "7"}


def test_violations_and_the_retry_hint_are_kept() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="images", description="bad")
    error = errors.from_call(
        failed(
            EXHAUSTED,
            error_details_pb2.BadRequest(field_violations=[violation]),
            error_details_pb2.RetryInfo(retry_delay=Duration(nanos=250_000_000)),
        )
    )
    assert error.field_violations == (errors.FieldViolation("images", "bad"),)
    assert error.retry_after == 0.25


def test_a_reason_of_another_domain_is_ignored() -> None:
    info = error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="example.com")
    error = errors.from_call(failed(EXHAUSTED, info))
    assert (type(error), error.reason) == (errors.OverloadedError, "")


def test_unreadable_details_are_ignored() -> None:
    error = errors.from_call(Failed(INVALID, [(errors.STATUS_DETAILS_KEY, b"\xff\xff\xff")]))
    assert (type(error), error.reason) == (errors.InvalidInputError, "")


def test_an_error_survives_a_process_boundary_with_its_details() -> None:
    info = error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="latens")
    error = errors.from_call(failed(EXHAUSTED, info))
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), vars(twin)) == (type(error), vars(error))


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as made:
        yield made


# The client is of any type here: the arguments are wrong on purpose.
BAD_INPUTS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "a wrong shape": ("images", lambda client: client.encode(np.zeros((1, 1, 28, 27)))),
    "a wrong rank": ("images", lambda client: client.encode(np.zeros((1, 28)))),
    "no rows": ("images", lambda client: client.encode(np.zeros((0, 1, 28, 28)))),
    "not a number": ("images", lambda client: client.encode(np.full((1, 1, 28, 28), np.nan))),
    "out of range": ("images", lambda client: client.encode(np.full((1, 1, 28, 28), 1.5))),
    "infinity": ("latents", lambda client: client.decode([[np.inf, 0.0]])),
    "a latent too long": ("latents", lambda client: client.decode([[1.0, 2.0, 3.0]])),
    "one step": ("steps", lambda client: client.interpolate([[0, 0]], [[1, 1]], 1)),
    "a cold temperature": ("temperature", lambda client: client.sample(1, temperature=-1.0)),
    "whole numbers for pixels": ("images", lambda client: client.encode(np.zeros((1, 2), int))),
    "words": ("latents", lambda client: client.decode(["a"])),
    "a bare number": ("latents", lambda client: client.decode(1.0)),
    "a bare byte for images": ("images", lambda client: client.encode(np.uint8(3))),
    "a bare byte for an end": ("starts", lambda client: client.interpolate(np.uint8(3), [[0]], 3)),
    "a bare byte for a base": ("bases", lambda client: client.traverse(np.uint8(3))),
    "a bare byte to score": ("images", lambda client: client.score(np.uint8(3))),
    "a ragged list": ("latents", lambda client: client.decode([[0.0], [0.0, 1.0]])),
    "a count of words": ("count", lambda client: client.sample("many")),
    "half a count": ("count", lambda client: client.sample(2.5)),
    "a seed of words": ("seed", lambda client: client.sample(1, seed="x")),
    "a temperature of words": ("temperature", lambda client: client.sample(1, temperature="hot")),
    "an axis that is none": ("axes", lambda client: client.traverse(axes=(1.5,))),
    "a start of words": ("start", lambda client: client.traverse(start="far")),
    "ends of another kind": (
        "ends_are",
        lambda client: client.interpolate([[0, 0]], [[0, 0]], 3, ends_are="pixels"),
    ),
    "attributes in a list": ("attributes", lambda client: client.decode([[0, 0]], attributes=[1])),
    "a strength of words": (
        "attributes",
        lambda client: client.decode([[0, 0]], attributes={"bold": "very"}),
    ),
    "a model that is no name": ("model", lambda client: client.sample(1, model=3)),
    "an unknown image type": ("image_dtype", lambda client: client.sample(1, image_dtype="jpeg")),
    "a negative seed": ("seed", lambda client: client.sample(1, seed=-1)),
    "a count of zero": ("count", lambda client: client.sample(0)),
    "a count beyond the wire": ("count", lambda client: client.sample(2**70)),
    "ends of other lengths": ("ends", lambda client: client.interpolate([[0, 0]], [], 3)),
    "an unknown mode": ("mode", lambda client: client.interpolate([[0]], [[0]], 3, mode="x")),  # type: ignore[arg-type]
    "an image type": ("image_dtype", lambda client: client.sample(1, image_dtype=np.int16)),
}


@pytest.mark.parametrize("what", BAD_INPUTS)
def test_invalid_input_names_the_field_and_keeps_the_connection(client: Client, what: str) -> None:
    field, call = BAD_INPUTS[what]
    with pytest.raises(errors.InvalidInputError) as raised:
        call(client)
    assert raised.value.reason == "INVALID_INPUT"
    assert raised.value.field_violations[0].field.startswith(field)
    assert client.sample(1).images.shape == (1, 1, 28, 28)


async def test_an_unknown_model_is_reported_with_the_existing_ones(
    server: Server, client: Client
) -> None:
    for version in ("", "9"):
        name = "nobody" if not version else "mnist-2d"
        with pytest.raises(errors.ModelNotFoundError, match="mnist-2d"):
            client.sample(1, model=name, version=version)
        async with AsyncClient(server.address) as other:
            with pytest.raises(errors.ModelNotFoundError, match="mnist-2d"):
                await other.sample(1, model=name, version=version)


def test_one_image_that_exceeds_a_message_is_too_large(server: Server) -> None:
    with (
        Client(server.address, max_message_bytes=6000) as client,
        pytest.raises(errors.TooLargeError, match="one item takes 3136 bytes"),
    ):
        client.encode(np.zeros((2, 1, 28, 28), np.float32))


async def test_a_deadline_is_an_error_of_its_own(server: Server) -> None:
    """The limits are learnt before, in time; the batch is more than a millisecond's work."""
    latents = np.zeros((16_000, 2), np.float32)
    with (
        Client(server.address, timeout=0.001) as client,
        pytest.raises(errors.DeadlineExceededError) as raised,
    ):
        client.decode(latents)
    assert raised.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    async with AsyncClient(server.address, timeout=0.001) as other:
        with pytest.raises(TimeoutError):
            await other.decode(latents)


async def test_an_unreachable_server_is_unavailable() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(errors.UnavailableError) as raised:
        client.sample(1)
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE
    async with AsyncClient("127.0.0.1:1") as other:
        with pytest.raises(ConnectionError):
            await other.sample(1)


@pytest.mark.parametrize("address", ["", "host:port", "host:0", ":50051", "a,b:x", "host:70000"])
def test_an_invalid_address_is_refused_by_the_constructor(address: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="expected host:port"):
            kind(address)
