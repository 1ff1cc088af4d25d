"""The service itself: messages in, messages out, and no transport.

Each method is the RPC of its name and takes a lease of the model; what the RPC does is in the
module of its name. Errors that callers are told about are raised as
`latens_serving.errors.LatensError`. Every front end uses the same object.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from latens.v1 import latens_pb2 as pb
from latens_serving.calls.admission import Admission, ModelLease
from latens_serving.calls.context import CallContext
from latens_serving.models.model import LoadedModel
from latens_serving.models.repository import Repository
from latens_serving.service import validation
from latens_serving.service.arguments import tensors_in
from latens_serving.service.decode import DecodedRows, decode
from latens_serving.service.encode import EncodedRows, encode
from latens_serving.service.inpaint import inpaint
from latens_serving.service.interpolate import interpolate
from latens_serving.service.model_messages import description, page_of
from latens_serving.service.reconstruct import reconstruct
from latens_serving.service.sample import sample
from latens_serving.service.score import score
from latens_serving.service.traverse import traverse

Response = TypeVar("Response")


class _NamesModel(Protocol):
    model: str
    version: str


class LatentService:
    """`latens.v1.LatentService` over the models of a repository."""

    def __init__(self, models: Repository, admission: Admission) -> None:
        self._models = models
        self._admission = admission

    def lease(self, model: str, version: str, call: CallContext) -> ModelLease:
        """The model of that name, kept open while the lease is entered.

        Raises:
            LatensError: there is no such model, it is not ready, or new calls are refused.
        """
        return self._admission.lease(model, version, call)

    async def encode(self, request: pb.EncodeRequest, call: CallContext) -> pb.EncodeResponse:
        tensors = tensors_in(request, "images", "items")
        return (await self.encode_rows(request, tensors, call)).message()

    async def encode_rows(
        self, request: pb.EncodeRequest, tensors: validation.Tensors, call: CallContext
    ) -> EncodedRows:
        """Encode without messages around its arrays; the tensors of `request` are not read."""
        with self.lease(request.model, request.version, call) as model:
            return await encode(request, tensors, model, call)

    async def decode(self, request: pb.DecodeRequest, call: CallContext) -> pb.DecodeResponse:
        tensors = tensors_in(request, "latents", "codes")
        return (await self.decode_rows(request, tensors, call)).message()

    async def decode_rows(
        self, request: pb.DecodeRequest, tensors: validation.Tensors, call: CallContext
    ) -> DecodedRows:
        """Decode without messages around its arrays; the tensors of `request` are not read."""
        with self.lease(request.model, request.version, call) as model:
            return await decode(request, tensors, model, call)

    async def sample(self, request: pb.SampleRequest, call: CallContext) -> pb.SampleResponse:
        return await self._with_model(sample, request, call)

    async def interpolate(
        self, request: pb.InterpolateRequest, call: CallContext
    ) -> pb.InterpolateResponse:
        return await self._with_model(interpolate, request, call)

    async def reconstruct(
        self, request: pb.ReconstructRequest, call: CallContext
    ) -> pb.ReconstructResponse:
        return await self._with_model(reconstruct, request, call)

    async def traverse(self, request: pb.TraverseRequest, call: CallContext) -> pb.TraverseResponse:
        return await self._with_model(traverse, request, call)

    async def inpaint(self, request: pb.InpaintRequest, call: CallContext) -> pb.InpaintResponse:
        return await self._with_model(inpaint, request, call)

    async def score(self, request: pb.ScoreRequest, call: CallContext) -> pb.ScoreResponse:
        return await self._with_model(score, request, call)

    async def get_model(
        self, request: pb.GetModelRequest, call: CallContext
    ) -> pb.GetModelResponse:
        with self.lease(request.model, request.version, call):
            entry = self._models.entry(request.model, request.version)
            return pb.GetModelResponse(model=description(entry))

    async def list_models(
        self, request: pb.ListModelsRequest, call: CallContext
    ) -> pb.ListModelsResponse:
        del call
        entries, next_token = page_of(self._models.entries(), request.page_size, request.page_token)
        return pb.ListModelsResponse(
            models=[description(entry) for entry in entries],
            next_page_token=next_token,
            default_model=self._models.default_name,
        )

    async def _with_model(
        self,
        rpc: Callable[[Any, LoadedModel, CallContext], Awaitable[Response]],
        request: _NamesModel,
        call: CallContext,
    ) -> Response:
        with self.lease(request.model, request.version, call) as model:
            return await rpc(request, model, call)
