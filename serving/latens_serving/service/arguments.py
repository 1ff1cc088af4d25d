"""What several RPCs have in common: seeds, draws, end points, attributes, repeated passes."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from latens.v1 import latens_pb2 as pb
from latens_serving.bundle.axes import Shape
from latens_serving.bundle.spec import Prior
from latens_serving.calls.context import CallContext
from latens_serving.errors import InvalidInputError, NotOfferedError, TooLargeError
from latens_serving.models.model import Labels, LoadedModel, PosteriorRows
from latens_serving.models.pixels import as_pixels
from latens_serving.service import validation
from latens_serving.service.noise import draw_posterior
from latens_serving.service.offload import COPIES, DRAWS, offload

# Seeds that the server chooses are exact in a double, so that no JSON reader rounds them.
_SEED_BITS = 53

Floats = NDArray[np.float32]


class _Seeded(Protocol):
    seed: int

    def HasField(self, field_name: str) -> bool: ...  # noqa: N802  (protobuf's name)


def tensors_in(request: Message, *fields: str) -> validation.Tensors:
    """The tensors of a message that are present."""
    return {field: getattr(request, field) for field in fields if request.HasField(field)}


def seed_of(request: object) -> int:
    """The seed of a request, or a new one."""
    seeded = cast("_Seeded", request)
    return seeded.seed if seeded.HasField("seed") else secrets.randbits(_SEED_BITS)


async def decoded(
    model: LoadedModel,
    latents: Floats,
    dtype: int,
    call: CallContext,
    labels: Labels | None = None,
) -> NDArray[Any]:
    """Latents `[n, *latent_shape]` to data of the element type that the caller wants."""
    if dtype == pb.DATA_TYPE_UINT8:
        return await model.decode_bytes(latents, call.deadline, labels)
    images = await model.decode(latents, call.deadline, labels)
    return await offload(images.size > COPIES, as_pixels, images, dtype)


async def drawn(posterior: PosteriorRows, seed: int, first_row: int, step: int = 0) -> Floats:
    """One draw of each posterior; row i has the noise of row `first_row + i`."""
    return await offload(
        posterior.mean.size > DRAWS,
        draw_posterior,
        posterior.mean,
        posterior.log_var,
        seed=seed,
        first_row=first_row,
        step=step,
    )


def end_rows(ends: pb.Endpoints, field: str, model: LoadedModel) -> tuple[NDArray[Any], bool]:
    """The rows of end points, and whether they are data.

    Raises:
        InvalidInputError: neither is given, or what is given does not fit the model.
    """
    source, data = ends.WhichOneof("source"), model.spec.data_field
    if source == "latents":
        return validation.latents_of(ends.latents, f"{field}.latents", model), False
    if source == data:
        return validation.data_of(getattr(ends, data), f"{field}.{data}", model), True
    raise InvalidInputError.at(field, f"expected latents or {data}, got {source or 'neither'}")


def latent_shape_of(rows: NDArray[Any], are_data: bool, model: LoadedModel) -> Shape:
    """The shape of the latents of end points."""
    shape = rows.shape[1:]
    return model.spec.latent_shape_of(shape) if are_data else shape


def check_latents(rows: int, field: str, model: LoadedModel, latent_shape: Shape) -> None:
    """Refuses more rows than a call may carry with their data; raises as `check_rows` does."""
    validation.check_rows(rows, field, model, model.spec.data_shape_of(latent_shape))


def refuse_codes(model: LoadedModel, what: str) -> None:
    """Raises NotOfferedError if latents are codes, with which nothing can be computed."""
    if model.spec.has_codes:
        raise NotOfferedError(
            f"{what} needs latents of real numbers, and model {model.name} has codes; "
            "Encode, Decode and Reconstruct are offered"
        )


def refuse_other_than_images(model: LoadedModel, what: str) -> None:
    """Raises NotOfferedError if the model's data are no images."""
    if not model.spec.is_image:
        raise NotOfferedError(
            f"{what} is for images, and model {model.name} has {model.spec.modality} items"
        )


def refuse_without_prior(model: LoadedModel) -> None:
    """Raises NotOfferedError if there is nothing to draw latents from."""
    if model.spec.prior is Prior.NONE:
        raise NotOfferedError(
            f"model {model.name} has no prior to draw latents from; export it with "
            "`--fit-prior DATA`, which fits one to encoded data, or send latents to Decode"
        )


def attribute_shift(shifts: Sequence[pb.AttributeShift], model: LoadedModel) -> Floats | None:
    """The sum of the attributes' directions times their strengths `[*latent_shape]`; None for none.

    Raises:
        InvalidInputError: the model has no such attribute, a name comes twice, or a strength is not
            finite.
    """
    if not shifts:
        return None
    total = np.zeros(model.spec.usual_latent_shape, np.float64)
    seen: set[str] = set()
    for place, shift in enumerate(shifts):
        field = f"attributes[{place}]"
        if shift.name in seen:
            raise InvalidInputError.at(f"{field}.name", f"{shift.name!r} is named twice")
        if not math.isfinite(shift.strength):
            raise InvalidInputError.at(
                f"{field}.strength", f"expected a finite value, got {shift.strength}"
            )
        seen.add(shift.name)
        total += shift.strength * direction_of(shift.name, f"{field}.name", model)
    return total.astype(np.float32)


def direction_of(name: str, field: str, model: LoadedModel) -> NDArray[np.float64]:
    """A named direction of the model's latent space, `[*latent_shape]`."""
    directions = model.spec.attributes
    if name not in directions:
        known = ", ".join(sorted(directions)[:8]) or "none"
        raise InvalidInputError.at(
            field, f"expected an attribute of the model ({known}), got {name[:40]!r}"
        )
    return np.asarray(directions[name], np.float64).reshape(model.spec.usual_latent_shape)


def check_passes(rows: int, passes: int, field: str, model: LoadedModel) -> None:
    """Refuses more rows, counted each time they go through the graphs, than a call may cost."""
    limit = model.limits.max_row_passes
    if rows * passes > limit:
        raise TooLargeError.at(
            field,
            f"rows times {field} may be {limit} in a call to {model.name}, "
            f"got {rows} x {passes}; send fewer rows a call",
        )


def check_repeats(count: int, most: int, field: str) -> int:
    """A count of iterations or samples, 1 to `most`."""
    if not 1 <= count <= most:
        raise InvalidInputError.at(field, f"expected 1 to {most}, got {count}")
    return count
