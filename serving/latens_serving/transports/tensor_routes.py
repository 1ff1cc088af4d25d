"""Encode, Decode and ModelInfer on the HTTP/2 front end, without messages around their arrays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from latens.v1 import latens_pb2 as pb
from latens_serving.calls.boundary import Boundaries, CallBoundary
from latens_serving.calls.context import CallContext
from latens_serving.service.decode import DecodedRows
from latens_serving.service.encode import EncodedRows
from latens_serving.service.service import LatentService
from latens_serving.transports.eager_call import EagerCall
from latens_serving.transports.http2.contract import Payload, Responder
from latens_serving.transports.http2.trailers import Status
from latens_serving.transports.oip.raw_messages import InferReader, InferWriter
from latens_serving.transports.oip.service import OpenInferenceService
from latens_serving.transports.servicer_routes import Http2FrontEnd
from latens_serving.transports.tensor_messages import AnswerWriter, Part, RequestReader

_SHUTTING_DOWN = Status(grpc.StatusCode.UNAVAILABLE.value[0], "the server is shutting down")

Read = Callable[[Payload], tuple[Any, Any]]
Work = Callable[[Any, Any, CallContext], Awaitable[Any]]
Write = Callable[[Any], tuple[list[Part], int]]


class TensorRoute:
    """One RPC whose messages are read and written by hand."""

    takes_stream = False

    def __init__(
        self,
        read: Read,
        work: Work,
        write: Write,
        boundary: CallBoundary,
        message_bytes: int,
    ) -> None:
        """Creates the handler of one RPC.

        Args:
            read: a request's bytes to its small fields and its tensors.
            work: those to the answer's arrays.
            write: the arrays to the parts of the answer, and its size.
            boundary: surrounds the calls.
            message_bytes: the largest answer.
        """
        self._read = read
        self._work = work
        self._write = write
        self._boundary = boundary
        self._message_bytes = message_bytes

    def start(self, call: Responder) -> None:
        """Starts a call."""
        EagerCall(self._run(call)).start(call)

    async def _run(self, responder: Responder) -> None:
        boundary, head = self._boundary, responder.head.text
        call = boundary.begin(responder.deadline, head.get("x-request-id", ""))
        try:
            boundary.admit(head.get("authorization", ""), call)
            message = await responder.read()
            assert message is not None  # a unary call starts when its message is complete
            request, tensors = self._read(message)
            del message
            rows = await self._work(request, tensors, call)
            parts, size = self._write(rows)
        except asyncio.CancelledError as error:
            boundary.fail(call, error)
            responder.end(_SHUTTING_DOWN)
        except Exception as error:
            failure = boundary.fail(call, error)
            rich = failure.status
            responder.end(Status(rich.code, rich.message, failure.trailers()))
        else:
            if size > self._message_bytes:
                self._refuse(responder, call, size)
                return
            boundary.succeed(call)
            responder.answer(parts, size)

    def _refuse(self, responder: Responder, call: CallContext, size: int) -> None:
        """Ends a call whose answer is too large, as grpc.aio would."""
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        self._boundary.end(call, code)
        text = f"the answer is larger than max ({size} vs. {self._message_bytes})"
        responder.end(Status(code.value[0], text))


def encode_route(service: LatentService, boundary: CallBoundary, message_bytes: int) -> TensorRoute:
    """Encode."""
    reader = RequestReader(pb.EncodeRequest)
    writer = AnswerWriter(pb.EncodeResponse, ("mean", "log_var", "latents"))
    code_writer = AnswerWriter(pb.EncodeResponse, ("codes",))

    def write(rows: EncodedRows) -> tuple[list[Part], int]:
        mean, log_var = rows.mean, rows.log_var
        if rows.are_codes:
            answer = pb.EncodeResponse(version=rows.version)
            return code_writer.write((rows.version, mean.shape), lambda: answer, (mean,))
        if rows.latents is not None:
            arrays = (mean, log_var, rows.latents)
            return writer.write(
                None, lambda: pb.EncodeResponse(version=rows.version, seed=rows.seed), arrays
            )
        key = (rows.version, mean.shape, log_var is None)
        return writer.write(
            key, lambda: pb.EncodeResponse(version=rows.version), (mean, log_var, None)
        )

    return TensorRoute(reader.read, service.encode_rows, write, boundary, message_bytes)


def decode_route(service: LatentService, boundary: CallBoundary, message_bytes: int) -> TensorRoute:
    """Decode."""
    reader = RequestReader(pb.DecodeRequest)
    writers = {
        field: AnswerWriter(pb.DecodeResponse, (field, "latents")) for field in ("images", "items")
    }

    def write(rows: DecodedRows) -> tuple[list[Part], int]:
        data = rows.data
        key = (rows.version, data.shape, data.dtype, rows.latents is None)
        writer = writers[rows.data_field]
        return writer.write(
            key, lambda: pb.DecodeResponse(version=rows.version), (data, rows.latents)
        )

    return TensorRoute(reader.read, service.decode_rows, write, boundary, message_bytes)


def infer_route(
    service: OpenInferenceService, boundary: CallBoundary, message_bytes: int
) -> TensorRoute:
    """ModelInfer of the Open Inference Protocol."""
    reader, writer = InferReader(), InferWriter()
    return TensorRoute(reader.read, service.infer_rows, writer.write, boundary, message_bytes)


def add_tensor_routes(
    server: Http2FrontEnd,
    service: LatentService,
    open_inference: OpenInferenceService,
    boundaries: Boundaries,
    message_bytes: int,
) -> None:
    """Serves the paths of the tensor routes by them, in place of a servicer's handlers.

    Args:
        server: not started.
        service: answers Encode and Decode.
        open_inference: answers ModelInfer.
        boundaries: of the server.
        message_bytes: the largest answer.
    """
    for path, route in (
        ("/latens.v1.LatentService/Encode", encode_route),
        ("/latens.v1.LatentService/Decode", decode_route),
    ):
        server.add_route(path, route(service, boundaries.of(path), message_bytes))
    path = "/inference.GRPCInferenceService/ModelInfer"
    server.add_route(path, infer_route(open_inference, boundaries.of(path), message_bytes))
