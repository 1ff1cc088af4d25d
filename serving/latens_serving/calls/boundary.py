"""The call boundary: what surrounds a call, once for every transport.

A transport says when a call begins and hands over what its head says; the boundary authorizes it,
bounds its deadline, turns errors into statuses, and records how it ended: metrics, a log line, an
incident. Whatever a failed call held in the frames of its traceback is dropped here.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import time
import traceback
from collections.abc import Collection
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from latens.tensors import TensorError
from latens_serving.calls import status
from latens_serving.calls.authorization import Scope, Tokens
from latens_serving.calls.context import CallContext
from latens_serving.calls.free_memory import FreeMemory
from latens_serving.calls.recorder import CallRecorder
from latens_serving.errors import (
    DeadlineError,
    InvalidInputError,
    LatensError,
    QueueFullError,
)
from latens_serving.monitoring.metrics import Metrics

DETAILS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"
UNARY, SERVER_STREAM, BIDI_STREAM = "unary", "server_stream", "bidi_stream"
_LONGEST_REQUEST_ID = 64
# Of this process; the calls of one are numbered, which costs less than a random name for each.
_PROCESS = secrets.token_hex(5)
_NUMBERS = itertools.count(1)
_RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """What holds for every call to a server."""

    tokens: Tokens
    """Who may call."""
    scope: Scope
    """What a token must allow."""
    max_deadline: float
    """Seconds that a unary call may take."""
    log_calls: str
    """Which calls get a log line: `all`, `failures` or `none`."""
    max_calls: int = 1 << 30
    """Calls at a time; more are refused before any work is spent on them."""
    open_services: Collection[str] = ()
    """Full names of the services that need no token and are answered under any load."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call ended that has no answer."""

    code: grpc.StatusCode
    reason: str
    """The error's reason; empty where the caller left or came too late."""
    status: status_pb2.Status
    """The whole status, with its details."""
    retry_after: float | None = None
    """Seconds after which the same call may be tried again here."""
    request_id: str = ""
    """The call's name in the log."""

    def trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        """The trailing metadata of gRPC beside the code and the message."""
        details = (DETAILS_KEY, self.status.SerializeToString())
        named = (REQUEST_ID_KEY, self.request_id)
        return (details, named, *status.pushback(self.retry_after))


class Load:
    """The calls under way on one server."""

    __slots__ = ("calls", "limit")

    def __init__(self, limit: int) -> None:
        self.calls = 0
        self.limit = limit


class CallBoundary:
    """Surrounds the calls of one RPC method."""

    __slots__ = (
        "_counts",
        "_is_stream",
        "_load",
        "_max_deadline",
        "_memory",
        "_open",
        "_recorder",
        "_scope",
        "_tokens",
    )

    def __init__(
        self,
        method: str,
        kind: str,
        metrics: Metrics,
        policy: CallPolicy,
        load: Load,
        memory: FreeMemory,
    ) -> None:
        """Makes the boundary of a method.

        Args:
            method: the full name, `/package.Service/Method`.
            kind: `unary`, `server_stream` or `bidi_stream`.
            metrics: where calls are counted.
            policy: of the server.
            load: of the server.
            memory: of the process.
        """
        self._load = load
        self._memory = memory
        self._counts = metrics.calls.of(kind, *method.rsplit("/", 2)[1:])
        self._recorder = CallRecorder(
            method, self._counts, metrics, policy.log_calls, is_stream=kind != UNARY
        )
        self._max_deadline = policy.max_deadline
        self._is_stream = kind != UNARY
        self._scope: Scope = policy.scope
        self._tokens = policy.tokens if policy.tokens.are_required else None
        self._open = method.split("/")[1] in policy.open_services

    def begin(self, deadline: float | None, request_id: str) -> CallContext:
        """A call begins; `succeed`, `fail` or `end` must follow.

        Args:
            deadline: the caller's, on the clock of `time.monotonic`; None if it has none.
            request_id: the caller's name for the call; empty for one of ours.
        """
        self._load.calls += 1
        self._counts.started += 1
        self._counts.in_flight += 1
        now = time.monotonic()
        if not self._is_stream:
            latest = now + self._max_deadline
            deadline = latest if deadline is None or deadline > latest else deadline
        return CallContext(deadline, _kept(request_id) or new_request_id(), now)

    def admit(self, authorization: str, call: CallContext | None = None) -> None:
        """Decides, before a request is parsed, whether its call may go on.

        Args:
            authorization: the header, or empty.
            call: None before the call began, where a transport can refuse one unread.

        Raises:
            UnauthenticatedError: the header has no token, or one not known.
            PermissionDeniedError: the token does not have the scope.
            QueueFullError: too many calls are under way.
            DeadlineError: the caller's deadline has passed.
        """
        if not self._open:
            if self._tokens is not None:
                self._tokens.authorize(authorization, self._scope)
            load = self._load
            if load.calls > load.limit:
                raise QueueFullError(
                    f"{load.limit} calls are under way already", retry_after=_RETRY_SECONDS
                )
        if call is not None and call.deadline is not None and call.deadline <= call.begun:
            raise DeadlineError("the deadline passed before the call began")

    def succeed(self, call: CallContext) -> None:
        """The call has its answer."""
        self._load.calls -= 1
        if not self._memory.is_watching:
            self._memory.watch()
        self._recorder.end(call, grpc.StatusCode.OK, "")

    def fail(self, call: CallContext, error: BaseException) -> Failure:
        """The call ends with an error; returns what the caller is told."""
        failure = self._failure_of(call, error)
        self._end(call, failure.code, failure.reason)
        forget(error)
        return failure

    def end(self, call: CallContext, code: grpc.StatusCode) -> None:
        """The call ends with a status that a handler chose itself."""
        self._end(call, code, "")

    def answer_message(self, call: CallContext) -> None:
        """One message of a stream was answered: counts its rows."""
        self._recorder.count_rows(call)

    def refuse_message(self, call: CallContext, error: BaseException) -> Failure:
        """One message of a stream failed, and the stream goes on."""
        failure = self._failure_of(call, error)
        if failure.reason:
            self._recorder.count_refusal(failure.reason)
        forget(error)
        return failure

    def _end(self, call: CallContext, code: grpc.StatusCode, reason: str) -> None:
        self._load.calls -= 1
        if not self._memory.is_watching:
            self._memory.watch()
        self._recorder.end(call, code, reason)

    def _failure_of(self, call: CallContext, error: BaseException) -> Failure:
        if isinstance(error, asyncio.CancelledError):
            code = code_of(error, call)
            ended = status_pb2.Status(code=code.value[0])
            return Failure(code, "", ended, request_id=call.request_id)
        error = in_our_terms(error)
        code = code_of(error, call)
        if not isinstance(error, LatensError):
            incident = self._recorder.incident(call, error)
            return Failure(code, "INTERNAL", incident, request_id=call.request_id)
        if code is grpc.StatusCode.INTERNAL:
            incident = self._recorder.incident(call, error)
            return Failure(code, error.reason, incident, request_id=call.request_id)
        rich = status.status_of(error)
        return Failure(code, error.reason, rich, error.retry_after, call.request_id)


def _kept(request_id: str) -> str:
    """A caller's name for a call; empty if it cannot be sent back as a header."""
    name = request_id[:_LONGEST_REQUEST_ID]
    return name if name.isascii() and name.isprintable() else ""


def new_request_id() -> str:
    """A name for a call whose caller gave it none; no other call has it."""
    return f"{_PROCESS}-{os.getpid():x}-{next(_NUMBERS):x}"  # workers are forked


class Boundaries:
    """The boundaries of one server's methods, each made when it is first asked for."""

    def __init__(self, metrics: Metrics, policy: CallPolicy) -> None:
        self._metrics = metrics
        self._policy = policy
        self.memory = FreeMemory()
        self._load = Load(policy.max_calls)
        self._known: dict[str, CallBoundary] = {}

    def of(self, method: str, kind: str = UNARY) -> CallBoundary:
        """The boundary of a method by its full name."""
        boundary = self._known.get(method)
        if boundary is None:
            boundary = CallBoundary(
                method, kind, self._metrics, self._policy, self._load, self.memory
            )
            self._known[method] = boundary
        return boundary

    def count_unknown(self) -> None:
        """Counts a call of a method that does not exist."""
        self._metrics.calls.of(UNARY, "unknown", "unknown").count_handled("UNIMPLEMENTED")


def in_our_terms(error: BaseException) -> BaseException:
    """What a request's parser raises, as the error of the caller that it is."""
    if isinstance(error, DecodeError):
        return InvalidInputError.at("request", "expected a message of the contract's type")
    if isinstance(error, TensorError):
        return InvalidInputError.at(error.field, str(error))
    return error


def code_of(error: BaseException, call: CallContext) -> grpc.StatusCode:
    """The status code of whatever ends a call."""
    if isinstance(error, asyncio.CancelledError):
        late = call.deadline is not None and time.monotonic() >= call.deadline
        return grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
    error = in_our_terms(error)
    return status.code_of(error) if isinstance(error, LatensError) else grpc.StatusCode.INTERNAL


def forget(error: BaseException) -> None:
    """Drops what an error and those it came of hold: tracebacks, and the frames' variables.

    A traceback holds the frames that it passed through, and they hold requests and arrays. Where
    the error itself is held on, by a future or a framework, 20 refused calls of 50 MB kept 2 GB.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        waiting += (current.__cause__, current.__context__)
        traceback.clear_frames(current.__traceback__)
        current.__traceback__ = None
        current.__cause__ = current.__context__ = None
