"""`POST /v1/...`: the RPCs that `curl` can call, pictures in and out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.bundle.axes import SpecError
from latens_serving.calls.context import CallContext
from latens_serving.errors import InvalidInputError, UnsupportedError
from latens_serving.models.model import LoadedModel
from latens_serving.service import validation
from latens_serving.service.decode import decode
from latens_serving.service.encode import encode
from latens_serving.service.offload import COPIES, offload
from latens_serving.service.service import LatentService
from latens_serving.transports.rest import json_arrays, parameters, pictures
from latens_serving.transports.rest.parameters import Parse
from latens_serving.transports.rest.plain_calls import accepted, body_of, media_type
from latens_serving.transports.rest.refusals import HttpRefusal

Floats = NDArray[np.float32]

JSON: Final = "application/json"
PICTURES: Final = ("image/png", "image/jpeg", JSON)
NUMBERS: Final = (JSON,)
_SMALL_BODY: Final = 16 << 10
_SMALL_ANSWER: Final = 1 << 12

_MODEL: Final[Mapping[str, Parse]] = {
    "model": parameters.word,
    "version": parameters.word,
    "labels": parameters.classes,
}
_READ: Final[Mapping[str, Parse]] = {
    "fit": parameters.fit,
    "size": parameters.size,
    "grey": parameters.flag,
}
_DRAWN: Final[Mapping[str, Parse]] = {
    "scale": parameters.whole(1, 64),
    "columns": parameters.whole(1, 1 << 14),
}

ENCODE: Final = {**_MODEL, **_READ, "seed": parameters.seed}
DECODE: Final = {**_MODEL, **_DRAWN}
RECONSTRUCT: Final = {**_MODEL, **_READ, **_DRAWN}
SAMPLE: Final = {
    **_MODEL,
    "count": parameters.whole(1, 1 << 20),
    "seed": parameters.seed,
    "temperature": parameters.number,
    "size": parameters.size,
    **_DRAWN,
}
INTERPOLATE: Final = {
    **_MODEL,
    "steps": parameters.whole(2, 1 << 14),
    "spherical": parameters.flag,
    **_DRAWN,
}


class Operations:
    """What the routes under `/v1` do."""

    def __init__(self, service: LatentService, most: int) -> None:
        """Makes them; `most` bytes are the largest body and the largest picture."""
        self._service = service
        self._most = most

    async def encode(self, request: Request, call: CallContext) -> Response:
        """Pictures or numbers to the parameters of their posteriors."""
        given = parameters.read(request, ENCODE)
        accepted(request, NUMBERS)
        body = await self._body(request, given)
        with self._service.lease(*_name(given), call) as model:
            images = await _images(body, given, model)
            wanted = pb.EncodeRequest(labels=given.get("labels"))
            if "seed" in given:
                wanted.draw.seed = given["seed"]
            rows = await encode(wanted, {model.spec.data_field: images}, model, call)
            encoded = model.spec.encoded_fields[0]
            arrays = {encoded: rows.mean, "log_var": rows.log_var, "latents": rows.latents}
            return await _numbers(arrays, _facts(model))

    async def decode(self, request: Request, call: CallContext) -> Response:
        """Latents to a picture, or to numbers."""
        given = parameters.read(request, DECODE)
        kind = accepted(request, PICTURES)
        latents = await self._arrays(request, ["latents"], "codes")
        with self._service.lease(*_name(given), call) as model:
            _check_kind(kind, model)
            wanted = pb.DecodeRequest(image_dtype=_dtype(kind), labels=given.get("labels"))
            rows = await decode(wanted, latents, model, call)
            return await self._data_answer(rows.data, kind, given, model)

    async def reconstruct(self, request: Request, call: CallContext) -> Response:
        """A picture, or numbers, encoded and decoded again."""
        given = parameters.read(request, RECONSTRUCT)
        kind = accepted(request, PICTURES)
        body = await self._body(request, given)
        with self._service.lease(*_name(given), call) as model:
            _check_kind(kind, model)
            images = await _images(body, given, model)
            field = model.spec.data_field
            wanted = pb.ReconstructRequest(
                model=model.name,
                version=model.version,
                image_dtype=_dtype(kind),
                labels=given.get("labels"),
            )
            message = await offload(images.size > COPIES, to_message, images)
            getattr(wanted, field).CopyFrom(message)
            answer = await self._service.reconstruct(wanted, call)
            return await self._data_answer(getattr(answer, field), kind, given, model)

    async def sample(self, request: Request, call: CallContext) -> Response:
        """New images."""
        given = parameters.read(request, SAMPLE)
        kind = accepted(request, PICTURES)
        with self._service.lease(*_name(given), call) as model:
            _check_kind(kind, model)
            wanted = pb.SampleRequest(
                model=model.name,
                version=model.version,
                count=given.get("count", 1),
                seed=given.get("seed"),
                temperature=given.get("temperature"),
                image_dtype=_dtype(kind),
                latent_shape=_latent_shape(model, given.get("size")),
                labels=given.get("labels"),
            )
            answer = await self._service.sample(wanted, call)
            data = getattr(answer, model.spec.data_field)
            return await self._data_answer(data, kind, given, model, {"seed": answer.seed})

    async def interpolate(self, request: Request, call: CallContext) -> Response:
        """A walk from each start to its end, one row of images for each."""
        given = parameters.read(request, INTERPOLATE)
        kind = accepted(request, PICTURES)
        ends = await self._arrays(request, ["starts", "ends"])
        with self._service.lease(*_name(given), call) as model:
            _check_kind(kind, model)
            steps = given.get("steps", 8)
            spherical = given.get("spherical", False)
            wanted = pb.InterpolateRequest(
                model=model.name,
                version=model.version,
                starts=pb.Endpoints(latents=to_message(ends["starts"])),
                ends=pb.Endpoints(latents=to_message(ends["ends"])),
                steps=steps,
                mode="INTERPOLATION_MODE_SPHERICAL" if spherical else "INTERPOLATION_MODE_LINEAR",
                image_dtype=_dtype(kind),
                labels=given.get("labels"),
            )
            answer = await self._service.interpolate(wanted, call)
            data = getattr(answer, model.spec.data_field)
            return await self._data_answer(data, kind, {"columns": steps} | given, model)

    async def _body(self, request: Request, given: Mapping[str, Any]) -> bytes | Floats:
        """A picture file, or the field `images` or `items` of JSON.

        Read before a model is leased.
        """
        kind = media_type(request)
        if kind in pictures.TYPES:
            return await body_of(request, self._most)
        if kind != JSON:
            offered = f"{', '.join(pictures.TYPES)} or {JSON}"
            raise HttpRefusal(415, f"expected Content-Type {offered}, got {kind[:60]!r}")
        for name in _READ:
            if name in given:
                raise InvalidInputError.at(name, "expected with a picture, not with numbers")
        (array,) = (await self._arrays(request, ["images"], "items")).values()
        return array

    async def _arrays(
        self, request: Request, names: list[str], instead: str = ""
    ) -> dict[str, NDArray[Any]]:
        if (kind := media_type(request)) != JSON:
            raise HttpRefusal(415, f"expected Content-Type {JSON}, got {kind[:60]!r}")
        content = await body_of(request, json_arrays.MOST_BYTES)
        return await offload(len(content) > _SMALL_BODY, json_arrays.read, content, names, instead)

    async def _data_answer(
        self,
        data: validation.Given,
        kind: str,
        given: Mapping[str, Any],
        model: LoadedModel,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> Response:
        """Data `[..., *data_shape]` as a picture or as numbers; `more` facts of them."""
        facts = {**_facts(model), **more}
        if kind == JSON:
            array = await offload(math.prod(data.shape) > COPIES, _array, data)
            return await _numbers({model.spec.data_field: array}, facts)
        scale, columns = given.get("scale", 1), given.get("columns")
        if math.prod(data.shape) * scale**2 > self._most:
            raise InvalidInputError.at("scale", f"the picture would have over {self._most} bytes")

        def drawn() -> bytes:
            array = _array(data)
            rows = array.reshape(-1, *array.shape[-3:])
            picture = pictures.sheet_of(pictures.as_pixels(rows), columns, scale)
            return pictures.file_of(picture, kind)

        headers = {f"X-Latens-{name.title()}": str(fact) for name, fact in facts.items()}
        return Response(await pictures.in_thread(drawn), media_type=kind, headers=headers)


async def _images(
    body: bytes | Floats, given: Mapping[str, Any], model: LoadedModel
) -> NDArray[Any]:
    """The images of a body as rows of the model."""
    if not isinstance(body, bytes):
        return body
    fit, size, grey = given.get("fit"), given.get("size"), given.get("grey", False)
    return await pictures.in_thread(pictures.row_of, body, model.spec, fit, size, grey=grey)


async def _numbers(arrays: Mapping[str, NDArray[Any] | None], facts: Mapping[str, Any]) -> Response:
    size = sum(array.size for array in arrays.values() if array is not None)
    return await offload(size > _SMALL_ANSWER, json_arrays.write, arrays, facts)


def _array(given: validation.Given) -> NDArray[Any]:
    """The array of a tensor, which reading it copies; an array as it is."""
    return given if isinstance(given, np.ndarray) else to_array(given)


def _name(given: Mapping[str, Any]) -> tuple[str, str]:
    return given.get("model", ""), given.get("version", "")


def _facts(model: LoadedModel) -> dict[str, Any]:
    return {"model": model.name, "version": model.version}


def _dtype(kind: str) -> pb.DataType:
    return pb.DATA_TYPE_FLOAT32 if kind == JSON else pb.DATA_TYPE_UINT8


def _check_kind(kind: str, model: LoadedModel) -> None:
    if kind != JSON:
        pictures.check_pictures(model.spec)


def _latent_shape(model: LoadedModel, size: tuple[int, int] | None) -> tuple[int, ...]:
    spec = model.spec
    if size is None:
        return spec.usual_latent_shape
    if not spec.is_image:
        raise UnsupportedError("size: expected for models of images only")
    try:
        return spec.latent_shape_of((spec.usual_data_shape[0], *size))
    except SpecError as error:
        raise InvalidInputError.at("size", str(error)) from error
