"""From the small fields of requests to values; every fault named with its field."""

from __future__ import annotations

from latens.v1 import latens_pb2 as pb
from latens_serving.errors import InvalidInputError
from latens_serving.models.model import LoadedModel

MAX_TEMPERATURE = 100.0

_IMAGE_DTYPES = (pb.DATA_TYPE_FLOAT32, pb.DATA_TYPE_FLOAT16, pb.DATA_TYPE_UINT8)


def image_dtype_of(code: int, model: LoadedModel) -> int:
    """The element type in which the caller wants images; FLOAT32 unless said.

    Raises:
        InvalidInputError: another type, or UINT8 from a model whose data are no images.
    """
    if code == pb.DATA_TYPE_UNSPECIFIED:
        return pb.DATA_TYPE_FLOAT32
    if code not in _IMAGE_DTYPES:
        raise InvalidInputError.at("image_dtype", f"expected FLOAT32, FLOAT16 or UINT8, got {code}")
    if code == pb.DATA_TYPE_UINT8 and not model.spec.is_image:
        expected = f"expected FLOAT32 or FLOAT16 for model {model.name}, whose data are no images"
        raise InvalidInputError.at("image_dtype", f"{expected}, got UINT8")
    return code


def count_of(count: int) -> int:
    """How many rows to sample; `check_rows` says whether a call may carry them."""
    if count < 1:
        raise InvalidInputError.at("count", f"expected at least 1, got {count}")
    return count


def temperature_of(request: pb.SampleRequest) -> float:
    """The standard deviation of the latents to draw; 1 unless said."""
    temperature = request.temperature if request.HasField("temperature") else 1.0
    if not 0 <= temperature <= MAX_TEMPERATURE:
        expected = f"expected a value in [0, {MAX_TEMPERATURE:g}]"
        raise InvalidInputError.at("temperature", f"{expected}, got {temperature:g}")
    return temperature


def steps_of(request: pb.InterpolateRequest | pb.TraverseRequest) -> int:
    """The points of a path, both ends included."""
    if request.steps < 2:
        raise InvalidInputError.at("steps", f"expected at least 2, got {request.steps}")
    return request.steps


def mode_of(code: int) -> int:
    """The shape of a path; LINEAR unless said."""
    if code not in pb.InterpolationMode.values():
        raise InvalidInputError.at("mode", f"expected LINEAR or SPHERICAL, got {code}")
    return code or pb.INTERPOLATION_MODE_LINEAR
