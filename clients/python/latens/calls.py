"""The calls of an operation without the sending: what to ask, and what to do with the answers.

An operation of the client is a generator, a `Plan`. It yields a `CallGroup`, calls that may be in
flight together; a transport performs the calls and resumes the generator, or throws the error into
it. So the sync and the async client share every decision and differ in `await` only.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from latens import tensors, wire
from latens.channel import SERVICE
from latens.errors import ResponseError, TooLargeError
from latens.message_reader import MessageReader
from latens.v1 import latens_pb2 as pb

T = TypeVar("T")


class Method:
    """One RPC of the contract."""

    def __init__(self, name: str, response: type[Message]) -> None:
        self.name = name
        self.path = f"/{SERVICE}/{name}"
        self.answers = MessageReader(response)


ENCODE = Method("Encode", pb.EncodeResponse)
DECODE = Method("Decode", pb.DecodeResponse)
SAMPLE = Method("Sample", pb.SampleResponse)
INTERPOLATE = Method("Interpolate", pb.InterpolateResponse)
GET_MODEL = Method("GetModel", pb.GetModelResponse)
LIST_MODELS = Method("ListModels", pb.ListModelsResponse)
RECONSTRUCT = Method("Reconstruct", pb.ReconstructResponse)
TRAVERSE = Method("Traverse", pb.TraverseResponse)
INPAINT = Method("Inpaint", pb.InpaintResponse)
SCORE = Method("Score", pb.ScoreResponse)
METHODS = (
    *(ENCODE, DECODE, SAMPLE, INTERPOLATE, GET_MODEL, LIST_MODELS),
    *(RECONSTRUCT, TRAVERSE, INPAINT, SCORE),
)


# Made for each call: a named tuple takes a third of the time of a frozen dataclass.
class Call(NamedTuple):
    """One call to make."""

    method: Method
    request: Message
    arrays: Mapping[str, NDArray[Any]] = MappingProxyType({})
    """The request's tensors by field path."""

    def payload(self, max_bytes: int) -> bytes:
        """The request as bytes.

        Raises:
            TooLargeError: it exceeds `max_bytes`. It is not sent: gRPC would report an overload,
                which is tried again.
        """
        payload = wire.serialize(self.request, self.arrays)
        if len(payload) > max_bytes:
            raise TooLargeError(
                f"the request of {self.method.name} takes {len(payload)} bytes,"
                f" expected at most {max_bytes}"
            )
        return payload

    def answer(self, payload: bytes) -> wire.Parsed:
        """Parses the response.

        Raises:
            ResponseError: the bytes are no such message.
        """
        try:
            return self.method.answers.read(payload)
        except (DecodeError, tensors.TensorError) as error:
            message = f"the response of {self.method.name} cannot be parsed: {error}"
            raise ResponseError(message) from error


class CallGroup(NamedTuple):
    """Calls that may be in flight together; `take` gets their answers in the calls' order."""

    calls: Iterable[Call]
    take: Callable[[wire.Parsed], None]


Plan = Generator[CallGroup, None, T]


def ask(call: Call) -> Plan[wire.Parsed]:
    """The plan of one call."""
    answers: list[wire.Parsed] = []
    yield CallGroup((call,), answers.append)
    return answers[0]
