"""The call boundary: authorize first, one status for each error, and nothing held afterwards."""

from __future__ import annotations

import asyncio
import time
import weakref
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError

from latens_serving.calls.authorization import Tokens
from latens_serving.calls.boundary import UNARY, Boundaries, CallBoundary, CallPolicy
from latens_serving.errors import (
    DeadlineError,
    InvalidInputError,
    QueueFullError,
    UnauthenticatedError,
)
from latens_serving.monitoring.metrics import Metrics

METHOD = "/latens.v1.LatentService/Encode"
TOKEN = "0123456789abcdef"
C = grpc.StatusCode


def boundaries(metrics: Metrics, tokens: Path | None = None, max_calls: int = 8) -> Boundaries:
    policy = CallPolicy(
        tokens=Tokens(tokens),
        scope="infer",
        max_deadline=60.0,
        log_calls="none",
        max_calls=max_calls,
        open_services=("grpc.health.v1.Health",),
    )
    return Boundaries(metrics, policy)


@pytest.fixture
async def boundary() -> CallBoundary:
    return boundaries(Metrics()).of(METHOD)


async def test_a_deadline_is_bounded_and_an_expired_one_is_not_taken_for_none(
    boundary: CallBoundary,
) -> None:
    now = time.monotonic()
    latest = boundary.begin(None, "").deadline
    assert latest is not None
    assert latest - now > 59
    assert boundary.begin(now + 1e6, "").deadline == pytest.approx(latest, abs=1)
    expired = boundary.begin(now, "")
    assert expired.deadline == now
    with pytest.raises(DeadlineError):
        boundary.admit("", expired)


async def test_what_the_parser_raises_is_the_callers_error(boundary: CallBoundary) -> None:
    failure = boundary.fail(boundary.begin(None, ""), DecodeError("latens.v1.EncodeRequest"))
    assert (failure.code, failure.reason) == (C.INVALID_ARGUMENT, "INVALID_INPUT")
    assert "latens.v1" not in failure.status.message


async def test_a_cancelled_call_is_late_only_after_its_deadline(boundary: CallBoundary) -> None:
    error = asyncio.CancelledError()
    assert boundary.fail(boundary.begin(None, ""), error).code is C.CANCELLED
    late = boundary.begin(time.monotonic(), "")
    assert boundary.fail(late, error).code is C.DEADLINE_EXCEEDED


async def test_nothing_that_a_failed_call_held_outlives_it(boundary: CallBoundary) -> None:
    held: list[weakref.ref[np.ndarray]] = []

    def parse() -> None:
        array = np.zeros(10)
        held.append(weakref.ref(array))
        try:
            array.reshape(3)
        except ValueError as cause:
            raise InvalidInputError.at("images", "expected pixels") from cause

    kept: BaseException | None = None
    try:
        parse()
    except InvalidInputError as error:
        kept = error  # as a future or a framework would
        boundary.fail(boundary.begin(None, ""), error)
    assert kept is not None
    assert held[0]() is None
    assert kept.__traceback__ is None
    assert kept.__cause__ is None


async def test_calls_beyond_the_limit_are_refused_with_a_hint_and_health_is_not() -> None:
    server = boundaries(Metrics(), max_calls=2)
    encode, health = server.of(METHOD), server.of("/grpc.health.v1.Health/Check")
    calls = [encode.begin(None, "") for _ in range(3)]
    with pytest.raises(QueueFullError) as caught:
        encode.admit("", calls[2])
    failure = encode.fail(calls[2], caught.value)
    assert dict(failure.trailers())["grpc-retry-pushback-ms"] == "100"
    beyond = encode.begin(None, "")
    health.admit("", health.begin(None, ""))
    encode.succeed(calls[0])
    encode.succeed(calls[1])
    encode.admit("", beyond)


async def test_a_call_without_a_token_is_refused_and_counted(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"infer {TOKEN}\n")
    metrics = Metrics()
    boundary = boundaries(metrics, tokens).of(METHOD, UNARY)
    call = boundary.begin(None, "")
    with pytest.raises(UnauthenticatedError) as caught:
        boundary.admit("", call)
    assert boundary.fail(call, caught.value).code is C.UNAUTHENTICATED
    admitted = boundary.begin(None, "")
    boundary.admit(f"Bearer {TOKEN}", admitted)
    boundary.succeed(admitted)
    text = metrics.exposition().decode()
    assert 'latens_refused_calls_total{reason="UNAUTHENTICATED"} 1.0' in text
    assert 'grpc_code="UNAUTHENTICATED"' in text
    assert "latens_calls_in_flight 0.0" in text
