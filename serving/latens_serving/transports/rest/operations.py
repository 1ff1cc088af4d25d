"""`POST /v1/...`: the RPCs that `curl` can call, pictures in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.bundle.axes import SpecError
from latens_serving.calls.context import CallContext
from latens_serving.errors import InvalidInputError, UnsupportedError
from latens_serving.models.model import LoadedModel
from latens_serving.service.decode import decode
from latens_serving.service.encode import encode
from latens_serving.service.offload import offload
from latens_serving.service.service import LatentService
from latens_serving.transports.rest import json_arrays, parameters, pictures
from latens_serving.transports.rest.parameters import Parse
from latens_serving.transports.rest.plain_calls import accepted, body_of, media_type
from latens_serving.transports.rest.refusals import HttpRefusal

JSON: Final = "application/json"
PICTURES: Final = ("image/png", "image/jpeg", JSON)
NUMBERS: Final = (JSON,)
_SMALL_BODY: Final = 16 << 10
_SMALL_ANSWER: Final = 1 << 12

_MODEL: Final[Mapping[str, Parse]] = {"model": parameters.word, "version": parameters.word}
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

    def __init__(self, service: LatentService, most_body: int, most_answer: int) -> None:
        """Makes them.

        Args:
            service: answers.
            most_body: the largest body, bytes.
            most_answer: the largest answer, bytes.
        """
        self._service = service
        self._most_body = most_body
        self._most_answer = most_answer

    async def encode(self, request: Request, call: CallContext) -> Response:
        """Pictures or numbers to the parameters of their posteriors."""
        given = parameters.read(request, ENCODE)
        accepted(request, NUMBERS)
        with self._service.lease(*_name(given), call) as model:
            images = await self._images(request, given, model)
            wanted = pb.EncodeRequest()
            if "seed" in given:
                wanted.draw.seed = given["seed"]
            rows = await encode(wanted, images, model, call)
            arrays = {"mean": rows.mean, "log_var": rows.log_var, "latents": rows.latents}
            return await self._numbers(arrays, _facts(model))

    async def decode(self, request: Request, call: CallContext) -> Response:
        """Latents to a picture, or to numbers."""
        given = parameters.read(request, DECODE)
        kind = accepted(request, PICTURES)
        with self._service.lease(*_name(given), call) as model:
            _check_kind(kind, model)
            latents = (await self._read(request, ["latents"]))["latents"]
            wanted = pb.DecodeRequest(image_dtype=_dtype(kind))
            rows = await decode(wanted, latents, model, call)
            return await self._images_answer(rows.images, kind, given, _facts(model))

    async def reconstruct(self, request: Request, call: CallContext) -> Response:
        """A picture, or numbers, encoded and decoded again."""
        given = parameters.read(request, RECONSTRUCT)
        kind = accepted(request, PICTURES)
        with self._service.lease(*_name(given), call) as model:
            _check_kind(kind, model)
            images = await self._images(request, given, model)
            wanted = pb.ReconstructRequest(
                model=model.name,
                version=model.version,
                images=to_message(images),
                image_dtype=_dtype(kind),
            )
            answer = await self._service.reconstruct(wanted, call)
            return await self._images_answer(to_array(answer.images), kind, given, _facts(model))

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
            )
            answer = await self._service.sample(wanted, call)
            images, facts = to_array(answer.images), _facts(model) | {"seed": answer.seed}
            return await self._images_answer(images, kind, given, facts)

    async def interpolate(self, request: Request, call: CallContext) -> Response:
        """A walk from each start to its end, one row of images for each."""
        given = parameters.read(request, INTERPOLATE)
        kind = accepted(request, PICTURES)
        with self._service.lease(*_name(given), call) as model:
            _check_kind(kind, model)
            ends = await self._read(request, ["starts", "ends"])
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
            )
            answer = await self._service.interpolate(wanted, call)
            images = to_array(answer.images)
            if kind != JSON:
                images, given = images.reshape(-1, *images.shape[2:]), {"columns": steps} | given
            return await self._images_answer(images, kind, given, _facts(model))

    async def _images(
        self, request: Request, given: Mapping[str, Any], model: LoadedModel
    ) -> NDArray[Any]:
        """The images of a body: one picture, or the field `images` of JSON."""
        kind = media_type(request)
        if kind in pictures.TYPES:
            content = await body_of(request, self._most_body)
            fit, size, grey = given.get("fit"), given.get("size"), given.get("grey", False)
            return await offload(True, pictures.row_of, content, model.spec, fit, size, grey=grey)
        if kind != JSON:
            offered = f"{', '.join(pictures.TYPES)} or {JSON}"
            raise HttpRefusal(415, f"expected Content-Type {offered}, got {kind[:60]!r}")
        for name in _READ:
            if name in given:
                raise InvalidInputError.at(name, "expected with a picture, not with numbers")
        return (await self._read(request, ["images"]))["images"]

    async def _read(self, request: Request, names: list[str]) -> dict[str, json_arrays.Floats]:
        if (kind := media_type(request)) != JSON:
            raise HttpRefusal(415, f"expected Content-Type {JSON}, got {kind[:60]!r}")
        content = await body_of(request, self._most_body)
        return await offload(len(content) > _SMALL_BODY, json_arrays.read, content, names)

    async def _numbers(
        self, arrays: Mapping[str, NDArray[Any] | None], facts: Mapping[str, Any]
    ) -> Response:
        size = sum(array.size for array in arrays.values() if array is not None)
        most = self._most_answer
        return await offload(size > _SMALL_ANSWER, json_arrays.write, arrays, facts, most)

    async def _images_answer(
        self, images: NDArray[Any], kind: str, given: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> Response:
        if kind == JSON:
            return await self._numbers({"images": images}, facts)
        scale, columns = given.get("scale", 1), given.get("columns")
        if images.nbytes * scale**2 > self._most_answer:
            raise InvalidInputError.at(
                "scale", f"the picture would have more than {self._most_answer} bytes"
            )

        def drawn() -> bytes:
            picture = pictures.sheet_of(pictures.as_pixels(images), columns, scale)
            return pictures.file_of(picture, kind)

        headers = {f"X-Latens-{name.title()}": str(fact) for name, fact in facts.items()}
        return Response(await offload(True, drawn), media_type=kind, headers=headers)


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
