"""The routes of plain HTTP, in one table that the OpenAPI document is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from latens_serving.calls.boundary import Boundaries
from latens_serving.service.service import LatentService
from latens_serving.transports.rest import operations, pictures, raw_tensors, remote_vae
from latens_serving.transports.rest.openapi import document
from latens_serving.transports.rest.operations import JSON, NUMBERS, Operations
from latens_serving.transports.rest.parameters import Parse
from latens_serving.transports.rest.plain_calls import PlainCalls, Work
from latens_serving.transports.rest.remote_vae import RemoteVae
from latens_serving.transports.tracing import Tracing

DOCUMENT_PATH: Final = "/openapi.json"
_PICTURES_OR_NUMBERS: Final = (*pictures.TYPES, JSON)
_RAW: Final = ("application/octet-stream", raw_tensors.MEDIA_TYPE)


@dataclass(frozen=True, slots=True)
class Operation:
    """One route: what it takes and what it gives."""

    path: str
    name: str
    summary: str
    work: Work
    parameters: Mapping[str, Parse]
    takes: Sequence[str] = ()
    """The types of the body; empty for none."""
    fields: Sequence[str] = ()
    """The fields of a JSON body: nested lists of numbers."""
    gives: Sequence[str] = field(default=operations.PICTURES)


def operations_of(service: LatentService, most: int) -> list[Operation]:
    """Every operation of plain HTTP; bodies and pictures have at most so many bytes."""
    plain, remote = Operations(service, most), RemoteVae(service, most)
    return [
        Operation(
            "/v1/encode",
            "Encode",
            "Encodes a picture, or images as numbers, to mean and log-variance.",
            plain.encode,
            operations.ENCODE,
            _PICTURES_OR_NUMBERS,
            ["images"],
            NUMBERS,
        ),
        Operation(
            "/v1/decode",
            "Decode",
            "Decodes latents to a picture, or to images as numbers.",
            plain.decode,
            operations.DECODE,
            NUMBERS,
            ["latents"],
        ),
        Operation(
            "/v1/reconstruct",
            "Reconstruct",
            "Encodes a picture and decodes it again.",
            plain.reconstruct,
            operations.RECONSTRUCT,
            _PICTURES_OR_NUMBERS,
            ["images"],
        ),
        Operation(
            "/v1/sample",
            "Sample",
            "Draws new images from the prior.",
            plain.sample,
            operations.SAMPLE,
        ),
        Operation(
            "/v1/interpolate",
            "Interpolate",
            "Walks from each start to its end.",
            plain.interpolate,
            operations.INTERPOLATE,
            NUMBERS,
            ["starts", "ends"],
        ),
        Operation(
            "/huggingface/{model}/decode",
            "RemoteDecode",
            "Answers remote_decode of diffusers.",
            remote.decode,
            remote_vae.DECODE,
            _RAW,
            gives=(raw_tensors.MEDIA_TYPE, "image/png", "image/jpeg"),
        ),
        Operation(
            "/huggingface/{model}/encode",
            "RemoteEncode",
            "Answers remote_encode of diffusers.",
            remote.encode,
            remote_vae.ENCODE,
            (*_RAW, *pictures.TYPES),
            gives=(raw_tensors.MEDIA_TYPE,),
        ),
    ]


def rest_routes(
    service: LatentService,
    boundaries: Boundaries,
    most: int,
    tracing: Tracing | None = None,
    *,
    has_tokens: bool = False,
) -> list[Route]:
    """The routes, and the document that describes them.

    Args:
        service: answers.
        boundaries: of the HTTP port.
        most: the largest body and the largest picture, bytes.
        tracing: makes spans of the calls, if given.
        has_tokens: whether calls need a bearer token.
    """
    calls, known = PlainCalls(boundaries, tracing), operations_of(service, most)
    description = document(known, has_tokens=has_tokens)

    async def describe(_: Request) -> Response:
        return JSONResponse(description)

    named = [calls.route(each.path, each.name, each.work) for each in known]
    return [Route(DOCUMENT_PATH, describe), *named]
