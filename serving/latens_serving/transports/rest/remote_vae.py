"""Hugging Face's remote VAE: what `remote_decode` and `remote_encode` of diffusers call.

They send raw tensor bytes with shape, type and scaling as query parameters, and read a tensor or a
picture (`diffusers.utils.remote_utils`). Pixels of diffusers are -1 to 1, those of Latens 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from latens.v1 import latens_pb2 as pb
from latens_serving.bundle.spec import ModelSpec
from latens_serving.calls.context import CallContext
from latens_serving.errors import InvalidInputError
from latens_serving.models.model import LoadedModel
from latens_serving.service.arguments import refuse_codes
from latens_serving.service.decode import decode
from latens_serving.service.encode import encode
from latens_serving.service.offload import COPIES, offload
from latens_serving.service.service import LatentService
from latens_serving.transports.rest import parameters, pictures, raw_tensors
from latens_serving.transports.rest.latent_scaling import CallerScaling, unpacked
from latens_serving.transports.rest.parameters import Parse
from latens_serving.transports.rest.plain_calls import accepted, body_of

Floats = NDArray[np.float32]

_side = parameters.whole(1, 1 << 16)
_TENSOR: Final[Mapping[str, Parse]] = {"dtype": parameters.word}
_SCALED: Final[Mapping[str, Parse]] = {
    "scaling_factor": parameters.number,
    "shift_factor": parameters.number,
}
DECODE: Final[Mapping[str, Parse]] = {
    **_TENSOR,
    **_SCALED,
    "do_scaling": parameters.flag,
    "output_type": parameters.word,
    "image_format": parameters.word,
    "partial_postprocess": parameters.flag,
    "height": _side,
    "width": _side,
    "version": parameters.word,
}
ENCODE: Final[Mapping[str, Parse]] = {
    **_TENSOR,
    **_SCALED,
    "seed": parameters.seed,
    "fit": parameters.fit,
    "version": parameters.word,
}
_FORMATS: Final = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png"}


class RemoteVae:
    """What the routes under `/huggingface/{model}` do."""

    def __init__(self, service: LatentService, most: int) -> None:
        """Makes it; `most` bytes are the largest body."""
        self._service = service
        self._most = most

    async def decode(self, request: Request, call: CallContext) -> Response:
        """`remote_decode`: latents to a tensor or a picture."""
        shape, given = _shape_and(request, DECODE)
        output = _output_of(request, given)
        scaling = _scaling(given)
        content = await body_of(request, self._most)
        with self._service.lease(_model(request), given.get("version", ""), call) as model:
            pictures.check_pictures(model.spec)
            refuse_codes(model, "remote_decode")

            def prepared() -> Floats:
                tensor = raw_tensors.read(content, shape, given.get("dtype", "float32"))
                return scaling.to_graph(_unpacked(tensor, given, model.spec), model.spec)

            scaled = await offload(len(content) > COPIES, prepared)
            wanted = pb.DecodeRequest(image_dtype=output.image_dtype)
            rows = await decode(wanted, {"latents": scaled}, model, call)
            return await pictures.in_thread(output.written, rows.data)

    async def encode(self, request: Request, call: CallContext) -> Response:
        """`remote_encode`: a picture or a tensor to the mean, or to a draw if `seed` is given."""
        shape, given = _shape_and(request, ENCODE)
        scaling = _scaling(given)
        content = await body_of(request, self._most)
        with self._service.lease(_model(request), given.get("version", ""), call) as model:
            refuse_codes(model, "remote_encode")
            images = await _images(content, shape, given, model)
            wanted = pb.EncodeRequest()
            if "seed" in given:
                wanted.draw.seed = given["seed"]
            rows = await encode(wanted, {"images": images}, model, call)
            latents = rows.mean if rows.latents is None else rows.latents
            is_long = latents.size > COPIES
            scaled = await offload(is_long, scaling.from_graph, latents, model.spec)
            return raw_tensors.answer(scaled, raw_tensors.dtype_of(given.get("dtype", "float32")))


async def _images(
    content: bytes, shape: list[int], given: Mapping[str, Any], model: LoadedModel
) -> NDArray[Any]:
    pictures.check_pictures(model.spec)
    if not shape:  # a picture, of which diffusers does not name the type
        return await pictures.in_thread(pictures.row_of, content, model.spec, given.get("fit"))
    if "fit" in given:
        raise InvalidInputError.at("fit", "expected with a picture, not with a tensor")

    def prepared() -> NDArray[Any]:
        tensor = raw_tensors.read(content, shape, given.get("dtype", "float32"))
        return tensor if tensor.dtype == np.uint8 else _from_signed(tensor)

    return await offload(len(content) > COPIES, prepared)


class _Output:
    """The form of the pixels that a caller wants."""

    image_dtype = pb.DATA_TYPE_FLOAT32

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype

    def written(self, images: NDArray[Any]) -> Response:
        """`output_type=pt`: a tensor as the decoder of diffusers gives it, -1 to 1."""
        return raw_tensors.answer(images * np.float32(2) - np.float32(1), self._dtype)


class _Denormalized(_Output):
    """`output_type=pil` where the caller makes the picture: a tensor from 0 to 1."""

    def written(self, images: NDArray[Any]) -> Response:
        return raw_tensors.answer(images, self._dtype)


class _Bytes(_Output):
    """`partial_postprocess`: bytes `[n, height, width, channels]`."""

    image_dtype = pb.DATA_TYPE_UINT8

    def written(self, images: NDArray[Any]) -> Response:
        return raw_tensors.answer(images.transpose(0, 2, 3, 1), "uint8")


class _File(_Output):
    """`output_type=pil`: one picture as a file."""

    image_dtype = pb.DATA_TYPE_UINT8

    def written(self, images: NDArray[Any]) -> Response:
        if len(images) != 1:
            raise InvalidInputError.at(
                "output_type", f"expected pt for several images, got pil for {len(images)}"
            )
        picture = pictures.sheet_of(images)
        return Response(pictures.file_of(picture, self._dtype), media_type=self._dtype)


def _output_of(request: Request, given: Mapping[str, Any]) -> _Output:
    name, dtype = given.get("output_type", "pil"), raw_tensors.dtype_of(given.get("dtype", ""))
    if name == "pt":
        return _Bytes(dtype) if given.get("partial_postprocess") else _Output(dtype)
    if name != "pil":
        raise InvalidInputError.at("output_type", f"expected pt or pil, got {name[:20]!r}")
    if request.headers.get("accept") == raw_tensors.MEDIA_TYPE:
        return _Denormalized(dtype)
    wanted = given.get("image_format", "jpg")
    if wanted not in _FORMATS:
        raise InvalidInputError.at("image_format", f"expected jpg or png, got {wanted[:20]!r}")
    return _File(accepted(request, [_FORMATS[wanted]]))


def _shape_and(request: Request, known: Mapping[str, Parse]) -> tuple[list[int], dict[str, Any]]:
    """The shape, which is sent as a parameter for each axis, and the other parameters."""
    sizes = request.query_params.getlist("shape")
    try:
        shape = [parameters.whole(0, (1 << 62) - 1)(size) for size in sizes]
    except ValueError as error:
        raise InvalidInputError.at("shape", f"expected {error} for each axis") from None
    return shape, parameters.read(request, known, besides={"shape"})


def _unpacked(tensor: NDArray[Any], given: Mapping[str, Any], spec: ModelSpec) -> Floats:
    latents = tensor.astype(np.float32, copy=False)
    if latents.ndim != 3 or len(spec.latent_axes) != 3:
        return latents
    if "height" not in given or "width" not in given:
        raise InvalidInputError.at("height", "expected height and width with packed latents")
    stride = spec.usual_data_shape[1] // spec.usual_latent_shape[1]
    return unpacked(latents, given["height"], given["width"], stride)


def _scaling(given: Mapping[str, Any]) -> CallerScaling:
    scale, shift = given.get("scaling_factor"), given.get("shift_factor")
    if scale == 0:
        raise InvalidInputError.at("scaling_factor", "expected a number other than 0")
    return CallerScaling(scale, shift, is_models=given.get("do_scaling", False) and scale is None)


def _from_signed(images: NDArray[Any]) -> Floats:
    """Pixels from -1 to 1 as pixels from 0 to 1; what rounding left beyond them is clipped."""
    pixels = images.astype(np.float32) * np.float32(0.5) + np.float32(0.5)
    beyond = 1 / 256
    if not (pixels.min() >= -beyond and pixels.max() <= 1 + beyond):  # also NaN
        raise InvalidInputError.at("request", "expected pixels from -1 to 1")
    clipped: Floats = np.clip(pixels, 0, 1)
    return clipped


def _model(request: Request) -> str:
    name: str = request.path_params["model"]
    return name
