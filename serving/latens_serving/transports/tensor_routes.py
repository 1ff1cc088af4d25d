"""Encode and Decode without messages around their arrays: what the fast front end is fast for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from latens.tensors import TensorError
from latens.v1 import latens_pb2 as pb
from latens_serving.calls import status
from latens_serving.calls.context import CallContext
from latens_serving.calls.recorder import MethodAccount
from latens_serving.errors import InvalidInputError, LatensError
from latens_serving.service.service import DecodedRows, EncodedRows, LatentService
from latens_serving.transports.http2 import answers
from latens_serving.transports.http2.inbox import Inbox
from latens_serving.transports.http2.inflow import Message, Stream
from latens_serving.transports.http2.server import FastServer
from latens_serving.transports.http2.session import Session
from latens_serving.transports.http2.steps import Steps
from latens_serving.transports.tensor_messages import AnswerWriter, Part, RequestReader

_DETAILS_KEY = "grpc-status-details-bin"
_UNPARSEABLE = (grpc.StatusCode.INTERNAL, "the request cannot be parsed")

Read = Callable[[Message], tuple[Any, Any]]
Work = Callable[[Any, Any, CallContext], Awaitable[Any]]
Write = Callable[[Any], tuple[list[Part], int]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every call."""

    authorize: Callable[[str], None]
    """Raises for an `authorization` header that does not allow the call."""
    max_deadline: float
    """Seconds that a call may take."""
    message_bytes: int
    """The largest answer."""


class HotRoute:
    """One RPC whose messages are read and written by hand."""

    takes_several = False

    def __init__(
        self,
        read: Read,
        work: Work,
        write: Write,
        account: MethodAccount,
        terms: Terms,
    ) -> None:
        """Makes one.

        Args:
            read: a request's bytes to its small fields and its tensor.
            work: those to the answer's arrays.
            write: the arrays to the parts of the answer, and its size.
            account: where calls are counted.
            terms: what holds for every call.
        """
        self._read = read
        self._work = work
        self._write = write
        self._account = account
        self._authorize = terms.authorize
        self._max_deadline = terms.max_deadline
        self._message_bytes = terms.message_bytes

    def start(self, session: Session, stream: Stream, message: Message | Inbox) -> None:
        """Begins a call."""
        assert not isinstance(message, Inbox)
        Steps(self._run(session, stream, message)).begin(stream)

    async def _run(self, session: Session, stream: Stream, message: Message) -> None:
        call = self._call_of(stream)
        code, reason = grpc.StatusCode.OK, ""
        begun = self._account.begin()
        try:
            self._authorize(stream.head.authorization)
            request, tensor = self._read(message)
            del message
            parts, size = self._write(await self._work(request, tensor, call))
            if size > self._message_bytes:
                code = grpc.StatusCode.RESOURCE_EXHAUSTED
                text = f"the answer is larger than max ({size} vs. {self._message_bytes})"
                _end(session, stream, code, text)
            else:
                session.out.answer(stream, parts, size)
                if not session.streams:  # no other answer is to come that could share the write
                    session.out.flush()
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            _end(session, stream, grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        except Exception as error:
            code, reason = self._fail(session, stream, call, error)
        finally:
            self._account.end(call, begun, code, reason)

    def _call_of(self, stream: Stream) -> CallContext:
        now = time.monotonic()
        latest = now + self._max_deadline
        deadline = latest if stream.deadline is None else min(stream.deadline, latest)
        return CallContext(deadline, stream.head.request_id)

    def _fail(
        self, session: Session, stream: Stream, call: CallContext, error: Exception
    ) -> tuple[grpc.StatusCode, str]:
        """Answers with what went wrong."""
        if isinstance(error, DecodeError):
            _end(session, stream, *_UNPARSEABLE)
            return grpc.StatusCode.INTERNAL, ""
        if isinstance(error, TensorError):
            error = InvalidInputError.at(error.field, str(error))
        if not isinstance(error, LatensError):
            _end_richly(session, stream, self._account.incident(call, error))
            return grpc.StatusCode.INTERNAL, "INTERNAL"
        code = status.code_of(error)
        if code is grpc.StatusCode.INTERNAL:
            rich = self._account.incident(call, error)
        else:
            rich = status.status_of(error)
        _end_richly(session, stream, rich, status.trailers_of(error))
        return code, error.reason


def encode_route(service: LatentService, account: MethodAccount, terms: Terms) -> HotRoute:
    """Encode."""
    reader = RequestReader(pb.EncodeRequest, "images")
    writer = AnswerWriter(pb.EncodeResponse, ("mean", "log_var", "latents"))

    def write(rows: EncodedRows) -> tuple[list[Part], int]:
        mean, log_var = rows.mean, rows.log_var
        if rows.latents is not None:
            arrays = (mean, log_var, rows.latents)
            return writer.write(
                None, lambda: pb.EncodeResponse(version=rows.version, seed=rows.seed), arrays
            )
        key = (rows.version, mean.shape, log_var is None)
        return writer.write(
            key, lambda: pb.EncodeResponse(version=rows.version), (mean, log_var, None)
        )

    return HotRoute(reader.read, service.encode_rows, write, account, terms)


def decode_route(service: LatentService, account: MethodAccount, terms: Terms) -> HotRoute:
    """Decode."""
    reader = RequestReader(pb.DecodeRequest, "latents")
    writer = AnswerWriter(pb.DecodeResponse, ("images", "latents"))

    def write(rows: DecodedRows) -> tuple[list[Part], int]:
        images = rows.images
        key = (rows.version, images.shape, images.dtype, rows.latents is None)
        arrays = (images, rows.latents)
        return writer.write(key, lambda: pb.DecodeResponse(version=rows.version), arrays)

    return HotRoute(reader.read, service.decode_rows, write, account, terms)


def _end(session: Session, stream: Stream, code: grpc.StatusCode, text: str) -> None:
    if stream.id in session.streams:
        session.out.end(stream, answers.trailers(code.value[0], text))


def _end_richly(
    session: Session,
    stream: Stream,
    rich: status_pb2.Status,
    more: tuple[tuple[str, str], ...] = (),
) -> None:
    if stream.id in session.streams:
        details = (_DETAILS_KEY, rich.SerializeToString())
        block = answers.trailers(rich.code, rich.message, (details, *more))
        session.out.end(stream, block)


def add_hot_routes(
    server: FastServer,
    service: LatentService,
    accounts: Callable[[str], MethodAccount],
    terms: Terms,
) -> None:
    """Has the hot routes serve their paths in place of a servicer's handlers.

    Args:
        server: not started.
        service: what answers.
        accounts: opens the account of a method, by its full name.
        terms: what holds for every call.
    """
    for path, route in (
        ("/latens.v1.LatentService/Encode", encode_route),
        ("/latens.v1.LatentService/Decode", decode_route),
    ):
        server.add_route(path, route(service, accounts(path), terms))
