"""A model's test embeddings for the page: each array as a .npy file."""

from __future__ import annotations

import gzip
import io
import math
from typing import Final

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from latens_serving.calls.authorization import Tokens
from latens_serving.errors import (
    LatensError,
    ModelNotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from latens_serving.models.model import LoadedModel
from latens_serving.models.repository import Repository

NAMES = ("images", "means", "labels", "axes", "spreads", "umap")
_LEVEL = 6
_MOST_KEPT = 24
_STATUSES: Final[dict[type[LatensError], int]] = {
    UnauthenticatedError: 401,
    PermissionDeniedError: 403,
    ModelNotFoundError: 404,
}
_UNAVAILABLE = 503


class EmbeddingArrays:
    """`/test-embeddings/<model>/<version>/<array>.npy`, compressed at the first request."""

    def __init__(self, models: Repository, tokens: Tokens) -> None:
        self._models = models
        self._tokens = tokens
        self._packed: dict[tuple[str, str], bytes] = {}

    async def respond(self, request: Request) -> Response:
        """The array, with gzip; 204 if the embeddings lack it, 404 without embeddings or model.

        503 while the model is not ready.
        """
        part = request.path_params
        try:
            self._tokens.authorize(request.headers.get("authorization", ""), "infer")
            model = self._models.pick(part["model"], part["version"])
        except LatensError as error:
            return _refusal(error)
        name, embeddings = part["array"], model.test_embeddings
        array = getattr(embeddings, name, None) if name in NAMES else None
        if model.manifest.test_embeddings is None or name not in NAMES:
            return PlainTextResponse("the model's bundle has no such array\n", 404)
        if array is None:
            return Response(status_code=204)
        digest = model.manifest.test_embeddings.sha256
        headers = {
            "ETag": f'"{digest[:20]}"',
            "Cache-Control": "no-cache",
            "Vary": "Accept-Encoding",
        }
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        content = await self._content(digest, part["array"], model)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
        else:
            content = await run_in_threadpool(gzip.decompress, content)
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def _content(self, digest: str, name: str, model: LoadedModel) -> bytes:
        found = self._packed.get((digest, name))
        if found is None:
            found = await run_in_threadpool(_packed, getattr(model.test_embeddings, name))
            while len(self._packed) >= _MOST_KEPT:
                del self._packed[next(iter(self._packed))]
            self._packed[digest, name] = found
        return found


def _refusal(error: LatensError) -> Response:
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    status = _STATUSES.get(type(error), _UNAVAILABLE)
    return PlainTextResponse(f"{error.reason}: {error}\n", status, headers)


def _packed(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return gzip.compress(buffer.getvalue(), _LEVEL, mtime=0)
