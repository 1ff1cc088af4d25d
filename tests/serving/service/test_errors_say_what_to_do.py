"""Every failure of the register has its status, reason and hint; no other text ever leaves."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import given, settings
from hypothesis import strategies as st

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving import errors
from latens_serving.calls import status
from latens_serving.engine.errors import DeviceLostError, DeviceMemoryError
from latens_serving.server import Server
from latens_serving.settings import Settings

REGISTER = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.LatensError) and kind is not errors.LatensError
]
SECRET = "secret path /models/x"
C = grpc.StatusCode

# DESIGN's table: what fails, its status, its reason, whether it says when to try again.
TABLE: list[tuple[Exception, grpc.StatusCode, str, bool]] = [
    (errors.InvalidInputError.at("steps", "expected"), C.INVALID_ARGUMENT, "INVALID_INPUT", False),
    (errors.TooLargeError.at("count", "too many"), C.INVALID_ARGUMENT, "TOO_LARGE", False),
    (errors.ModelNotFoundError("no model"), C.NOT_FOUND, "MODEL_NOT_FOUND", False),
    (errors.QueueFullError("full", retry_after=0.25), C.RESOURCE_EXHAUSTED, "QUEUE_FULL", True),
    (errors.OutOfDeviceMemoryError("no room"), C.RESOURCE_EXHAUSTED, "DEVICE_MEMORY", False),
    (DeviceMemoryError(SECRET), C.RESOURCE_EXHAUSTED, "DEVICE_MEMORY", False),
    (errors.DrainingError("bye"), C.UNAVAILABLE, "DRAINING", False),
    (errors.NotReadyError("soon", retry_after=1.0), C.UNAVAILABLE, "NOT_READY", True),
    (errors.DeadlineError("late"), C.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", False),
    (errors.UnauthenticatedError("who?"), C.UNAUTHENTICATED, "UNAUTHENTICATED", False),
    (errors.PermissionDeniedError("no"), C.PERMISSION_DENIED, "PERMISSION_DENIED", False),
    (errors.BundleRefusedError("damaged"), C.FAILED_PRECONDITION, "BUNDLE_REFUSED", False),
    (errors.NotOfferedError("no prior"), C.FAILED_PRECONDITION, "NOT_OFFERED", False),
    (errors.UnsupportedError("not here"), C.UNIMPLEMENTED, "UNSUPPORTED", False),
    (errors.EngineFailedError(SECRET), C.INTERNAL, "INTERNAL", False),
    (ValueError(SECRET), C.INTERNAL, "INTERNAL", False),
    (KeyError(SECRET), C.INTERNAL, "INTERNAL", False),
    (MemoryError(SECRET), C.INTERNAL, "INTERNAL", False),
]  # fmt: skip


@contextlib.asynccontextmanager
async def serving(repository: Path, **others: Any) -> AsyncIterator[tuple[Server, Any]]:
    """A server in this loop, and a stub that calls it over a socket."""
    chosen = Settings(repository=repository, port=0, http_port=0, drain_delay=0, **others)
    latens = Server(chosen)
    await latens.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{latens.port}") as channel:
        yield latens, latens_pb2_grpc.LatentServiceStub(channel)
    await latens.stop()


def details_of(error: Any) -> dict[str, Any]:
    rich = rpc_status.from_call(error)
    assert rich is not None
    assert rich.ByteSize() < 4096
    found = {}
    for packed in rich.details:
        kind = packed.TypeName().rsplit(".")[-1]
        found[kind] = getattr(error_details_pb2, kind)()
        packed.Unpack(found[kind])
    return found


async def failure(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_each_row_of_the_table_reaches_the_caller_as_it_says(
    model_repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(model_repository) as (latens, stub):
        model: Any = latens.models.pick("mnist-2d", "1")
        for error, code, reason, hints in TABLE:

            async def fail(rows: Any, deadline: Any, error: Exception = error) -> Any:
                raise error

            def fail_run(rows: Any, error: Exception = error) -> Any:
                raise error

            if isinstance(error, errors.LatensError):
                model.decoder.submit = fail
            else:  # as from inside the engine
                with contextlib.suppress(AttributeError):
                    del model.decoder.submit
                model.decoder._run = fail_run
            caught = await failure(stub.Sample(pb.SampleRequest(count=1), timeout=20))
            assert (caught.code(), error) == (code, error)
            assert SECRET not in caught.details() + str(caught.trailing_metadata())
            details = details_of(caught)
            assert (details["ErrorInfo"].reason, details["ErrorInfo"].domain) == (reason, "latens")
            assert ("RetryInfo" in details) == hints
            trailers = dict(caught.trailing_metadata())
            assert ("grpc-retry-pushback-ms" in trailers) == hints
            if hints:
                delay = details["RetryInfo"].retry_delay.ToMilliseconds()
                assert str(delay) == trailers["grpc-retry-pushback-ms"]
            if code is C.INTERNAL:
                incident = details["ErrorInfo"].metadata["incident"]
                assert incident in caught.details()
                assert incident in str([record.__dict__ for record in caplog.records])


def test_every_error_of_the_register_is_in_the_table() -> None:
    assert {type(error) for error, *_ in TABLE} >= set(REGISTER) - {errors.UnavailableError}
    assert set(status.STATUS_CODES) == set(REGISTER)


async def test_a_lost_device_is_reported_to_the_caller_as_an_incident(
    model_repository: Path,
) -> None:
    async with serving(model_repository) as (latens, stub):
        model: Any = latens.models.pick("mnist-2d", "1")

        def run(rows: Any) -> Any:
            raise DeviceLostError(SECRET)

        told: list[BaseException] = []
        model.decoder._run, model.decoder._tell_death = run, told.append
        caught = await failure(stub.Sample(pb.SampleRequest(count=1), timeout=20))
        assert caught.code() is C.INTERNAL
        assert SECRET not in caught.details()
        assert len(told) == 1


async def test_a_full_queue_refuses_every_kind_of_call_alike(model_repository: Path) -> None:
    async with serving(model_repository, queue_rows=4) as (latens, stub):
        model: Any = latens.models.pick("mnist-2d", "1")
        for batcher in (model.encoder, model.decoder):
            batcher.admitted.rows = 4
        latents = to_message(np.zeros((2, 2), np.float32))
        images = to_message(np.zeros((2, 1, 28, 28), np.float32))
        ends = pb.Endpoints(latents=latents)
        calls = [
            stub.Encode(pb.EncodeRequest(images=images), timeout=20),
            stub.Decode(pb.DecodeRequest(latents=latents), timeout=20),
            stub.Sample(pb.SampleRequest(count=1), timeout=20),
            stub.Interpolate(pb.InterpolateRequest(starts=ends, ends=ends, steps=2), timeout=20),
        ]
        for call in calls:
            caught = await failure(call)
            assert caught.code() is C.RESOURCE_EXHAUSTED
            details = details_of(caught)
            assert details["ErrorInfo"].reason == "QUEUE_FULL"
            assert 0 < details["RetryInfo"].retry_delay.ToMilliseconds() <= 5000
        for batcher in (model.encoder, model.decoder):
            batcher.admitted.rows = 0
        await stub.Sample(pb.SampleRequest(count=1), timeout=20)


async def test_a_deadline_of_the_server_holds_for_calls_without_one(model_repository: Path) -> None:
    async with serving(model_repository, max_deadline=0.05) as (latens, stub):
        model: Any = latens.models.pick("mnist-2d", "1")
        model.decoder._in_engine.append([])  # an engine that is busy for ever
        model.decoder._may_prefetch = lambda: False
        caught = await failure(stub.Sample(pb.SampleRequest(count=1)))
        assert caught.code() is C.DEADLINE_EXCEEDED
        assert details_of(caught)["ErrorInfo"].reason == "DEADLINE_EXCEEDED"
        assert model.decoder.admitted.rows == 0
        model.decoder._in_engine.clear()


async def test_a_cancelled_call_frees_its_place(model_repository: Path) -> None:
    async with serving(model_repository) as (latens, stub):
        model: Any = latens.models.pick("mnist-2d", "1")
        model.decoder._in_engine.append([])
        call = stub.Sample(pb.SampleRequest(count=3))
        async with asyncio.timeout(20):
            while model.decoder.admitted.rows != 3:
                await asyncio.sleep(0.001)
            call.cancel()
            while model.decoder.admitted.rows:
                await asyncio.sleep(0.001)
        model.decoder._in_engine.clear()
        assert (await stub.Sample(pb.SampleRequest(count=1, seed=4))).seed == 4


@settings(max_examples=100)
@given(st.lists(st.tuples(st.text(max_size=400), st.text(max_size=2000)), min_size=1, max_size=400))
def test_error_details_stay_small(faults: list[tuple[str, str]]) -> None:
    faults = [(field, description + "\N{GRINNING FACE}" * 200) for field, description in faults]
    violations = [errors.Violation(field, description) for field, description in faults]
    rich = status.status_of(errors.InvalidInputError(violations))
    assert rich.ByteSize() < 4096
