"""Any bytes as a request give an answer or an error of the register."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latens.v1 import latens_pb2 as pb
from latens_serving.calls.admission import Admission
from latens_serving.calls.context import CallContext
from latens_serving.calls.status import status_of
from latens_serving.errors import LatensError
from latens_serving.models.loading import load
from latens_serving.models.repository import Repository
from latens_serving.service.service import LatentService
from latens_serving.settings import Settings

EXTREMES = st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 28, 2**31, 2**32 + 1, 2**62, 2**63 - 1])
FUZZ = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
METHODS: dict[str, Any] = {
    "encode": pb.EncodeRequest,
    "decode": pb.DecodeRequest,
    "sample": pb.SampleRequest,
    "interpolate": pb.InterpolateRequest,
    "get_model": pb.GetModelRequest,
    "list_models": pb.ListModelsRequest,
    "reconstruct": pb.ReconstructRequest,
    "traverse": pb.TraverseRequest,
    "inpaint": pb.InpaintRequest,
    "score": pb.ScoreRequest,
}


class _Silent:
    def ran(self, *_: Any) -> None: ...

    def recomputed(self, model: str, graph: str, rows: int) -> None:
        del model, graph, rows

    def lost(self, model: str, graph: str, error: BaseException) -> None:
        raise AssertionError((model, graph, error))


class Desk:
    """The service with a loop of its own, asked synchronously."""

    def __init__(self, repository: Path) -> None:
        self._runner = asyncio.Runner()
        self._service = self._runner.run(self._made(repository))

    async def _made(self, repository: Path) -> LatentService:
        options = Settings(max_rows=64, max_row_passes=512).load_options()
        models = Repository(repository, lambda path: load(path, options, _Silent()))
        await models.refresh()
        return LatentService(models, Admission(models))

    def ask(self, method: str, request: Any) -> Any:
        """The answer, or the error of the register; anything else is raised."""
        handler = getattr(self._service, method)
        try:
            return self._runner.run(handler(request, CallContext()))
        except LatensError as error:
            refusal = error
        assert status_of(refusal).ByteSize() < 4096
        return refusal

    def close(self) -> None:
        self._runner.close()


@pytest.fixture(scope="module")
def desk(model_repository: Path) -> Iterator[Desk]:
    desk = Desk(model_repository)
    yield desk
    desk.close()


@FUZZ
@given(st.sampled_from(sorted(METHODS)), st.binary(max_size=200))
def test_any_bytes(desk: Desk, method: str, body: bytes) -> None:
    try:
        request = METHODS[method].FromString(body)
    except DecodeError:
        return  # refused by the library before any of ours is run
    desk.ask(method, request)


TENSORS = st.builds(
    pb.Tensor,
    dtype=st.sampled_from([0, 1, 2, 3, 99]),
    shape=st.lists(EXTREMES, max_size=9),
    data=st.one_of(st.binary(max_size=64), st.binary(min_size=3136, max_size=3136)),
)
NEAR_IMAGES = st.builds(
    lambda rows, value, extra: pb.Tensor(
        dtype=pb.DATA_TYPE_FLOAT32,
        shape=[rows, 1, 28, 28],
        data=np.full((rows, 784), value, "<f4").tobytes() + extra,
    ),
    st.integers(0, 3),
    st.floats(width=32),
    st.sampled_from([b"", b"\0"]),
)
NEAR_LATENTS = st.builds(
    lambda rows, value: pb.Tensor(
        dtype=pb.DATA_TYPE_FLOAT32,
        shape=[rows, 2],
        data=np.full((rows, 2), value, "<f4").tobytes(),
    ),
    st.integers(0, 3),
    st.floats(width=32),
)
ANY_TENSOR = st.one_of(TENSORS, NEAR_IMAGES, NEAR_LATENTS)
ENDS = st.one_of(
    st.builds(pb.Endpoints, latents=ANY_TENSOR), st.builds(pb.Endpoints, images=ANY_TENSOR)
)
NAMES = st.sampled_from(["", "mnist-2d", "point", "none", "../x", "\0"])
VERSIONS = st.sampled_from(["", "1", "2", "-1", "x" * 300])
SEEDS = st.integers(0, 2**64 - 1)
REQUESTS = st.one_of(
    st.builds(pb.EncodeRequest, model=NAMES, version=VERSIONS, images=ANY_TENSOR),
    st.builds(
        pb.EncodeRequest,
        images=NEAR_IMAGES,
        draw=st.builds(pb.PosteriorDraw, seed=SEEDS, first_row=SEEDS),
    ),
    st.builds(pb.DecodeRequest, model=NAMES, latents=ANY_TENSOR, image_dtype=st.integers(0, 9)),
    st.builds(
        pb.SampleRequest,
        model=NAMES,
        count=EXTREMES,
        seed=SEEDS,
        temperature=st.floats(width=32),
        first_row=SEEDS,
    ),
    st.builds(
        pb.InterpolateRequest,
        starts=ENDS,
        ends=ENDS,
        steps=EXTREMES,
        mode=st.integers(0, 5),
    ),
    st.builds(
        pb.ListModelsRequest, page_size=st.integers(-(2**31), 2**31 - 1), page_token=st.text()
    ),
)


@FUZZ
@given(REQUESTS)
def test_any_fields(desk: Desk, request: Any) -> None:
    name = type(request).__name__.removesuffix("Request")
    method = {"GetModel": "get_model", "ListModels": "list_models"}.get(name, name.lower())
    answer = desk.ask(method, request)
    for field in ("mean", "images", "latents"):
        tensor = getattr(answer, field, None)
        if tensor is not None and tensor.dtype == pb.DATA_TYPE_FLOAT32:
            assert np.isfinite(np.frombuffer(tensor.data, "<f4")).all()
