"""Encode and Decode on the HTTP/2 front end, without protobuf messages around their arrays."""

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
from latens_serving.transports.eager_call import EagerCall
from latens_serving.transports.http2.contract import Payload, Responder
from latens_serving.transports.http2.trailers import Status
from latens_serving.transports.servicer_routes import Http2FrontEnd
from latens_serving.transports.tensor_messages import AnswerWriter, Part, RequestReader

_DETAILS_KEY = "grpc-status-details-bin"
_LONGEST_REQUEST_ID = 64
_UNPARSEABLE = (grpc.StatusCode.INTERNAL.value[0], "the request cannot be parsed")

Read = Callable[[Payload], tuple[Any, Any]]
Work = Callable[[Any, Any, CallContext], Awaitable[Any]]
Write = Callable[[Any], tuple[list[Part], int]]


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """What holds for every call."""

    authorize: Callable[[str], None]
    """Raises for an `authorization` header that does not allow the call."""
    max_deadline: float
    """Seconds that a call may take."""
    message_bytes: int
    """The largest answer."""


class TensorRoute:
    """One RPC whose messages are read and written by hand."""

    takes_stream = False

    def __init__(
        self,
        read: Read,
        work: Work,
        write: Write,
        account: MethodAccount,
        policy: CallPolicy,
    ) -> None:
        """Creates the handler of one RPC.

        Args:
            read: a request's bytes to its small fields and its tensor.
            work: those to the answer's arrays.
            write: the arrays to the parts of the answer, and its size.
            account: where calls are counted.
            policy: what holds for every call.
        """
        self._read = read
        self._work = work
        self._write = write
        self._account = account
        self._authorize = policy.authorize
        self._max_deadline = policy.max_deadline
        self._message_bytes = policy.message_bytes

    def start(self, call: Responder) -> None:
        """Starts a call."""
        EagerCall(self._run(call)).start(call)

    async def _run(self, responder: Responder) -> None:
        call = self._call_of(responder)
        code, reason = grpc.StatusCode.OK, ""
        begun = self._account.begin()
        try:
            self._authorize(responder.head.text.get("authorization", ""))
            message = await responder.read()
            assert message is not None  # a unary call starts when its message is complete
            request, tensor = self._read(message)
            del message
            rows = await self._work(request, tensor, call)
            parts, size = self._write(rows)
            if size > self._message_bytes:
                code = grpc.StatusCode.RESOURCE_EXHAUSTED
                text = f"the answer is larger than max ({size} vs. {self._message_bytes})"
                responder.end(Status(code.value[0], text))
            else:
                responder.answer(parts, size)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            responder.end(
                Status(grpc.StatusCode.UNAVAILABLE.value[0], "the server is shutting down")
            )
        except Exception as error:
            code, reason = self._fail(responder, call, error)
        finally:
            self._account.end(call, begun, code, reason)

    def _call_of(self, responder: Responder) -> CallContext:
        latest = time.monotonic() + self._max_deadline
        deadline = responder.deadline
        if deadline is None or deadline > latest:
            deadline = latest
        return CallContext(
            deadline, responder.head.text.get("x-request-id", "")[:_LONGEST_REQUEST_ID]
        )

    def _fail(
        self, responder: Responder, call: CallContext, error: Exception
    ) -> tuple[grpc.StatusCode, str]:
        """Answers with what went wrong."""
        if isinstance(error, DecodeError):
            responder.end(Status(*_UNPARSEABLE))
            return grpc.StatusCode.INTERNAL, ""
        if isinstance(error, TensorError):
            error = InvalidInputError.at(error.field, str(error))
        if not isinstance(error, LatensError):
            _end(responder, self._account.incident(call, error))
            return grpc.StatusCode.INTERNAL, "INTERNAL"
        code = status.code_of(error)
        if code is grpc.StatusCode.INTERNAL:
            rich = self._account.incident(call, error)
        else:
            rich = status.status_of(error)
        _end(responder, rich, status.trailers_of(error))
        return code, error.reason


def _end(
    responder: Responder, rich: status_pb2.Status, more: tuple[tuple[str, str], ...] = ()
) -> None:
    details = (_DETAILS_KEY, rich.SerializeToString())
    responder.end(Status(rich.code, rich.message, (details, *more)))


def encode_route(service: LatentService, account: MethodAccount, policy: CallPolicy) -> TensorRoute:
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

    return TensorRoute(reader.read, service.encode_rows, write, account, policy)


def decode_route(service: LatentService, account: MethodAccount, policy: CallPolicy) -> TensorRoute:
    """Decode."""
    reader = RequestReader(pb.DecodeRequest, "latents")
    writer = AnswerWriter(pb.DecodeResponse, ("images", "latents"))

    def write(rows: DecodedRows) -> tuple[list[Part], int]:
        images = rows.images
        key = (rows.version, images.shape, images.dtype, rows.latents is None)
        arrays = (images, rows.latents)
        return writer.write(key, lambda: pb.DecodeResponse(version=rows.version), arrays)

    return TensorRoute(reader.read, service.decode_rows, write, account, policy)


def add_tensor_routes(
    server: Http2FrontEnd,
    service: LatentService,
    accounts: Callable[[str], MethodAccount],
    policy: CallPolicy,
) -> None:
    """Serves the paths of the tensor routes by them, in place of a servicer's handlers.

    Args:
        server: not started.
        service: what answers.
        accounts: opens the account of a method, by its full name.
        policy: what holds for every call.
    """
    for path, route in (
        ("/latens.v1.LatentService/Encode", encode_route),
        ("/latens.v1.LatentService/Decode", decode_route),
    ):
        server.add_route(path, route(service, accounts(path), policy))
