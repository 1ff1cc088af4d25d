"""Points that callers give as latents or as images, and points that are decoded: for walks."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from latens import arguments, axes
from latens.axes import Sizes
from latens.calls import Plan
from latens.chunks import CallBudget, ModelRef
from latens.errors import invalid
from latens.labels import Labels
from latens.models import Model
from latens.operations.decode import Decode
from latens.picture_rows import PictureSources
from latens.results import Images

Kind = Literal["latents", "images", "items"]
"""What an array holds, where its shape does not tell."""


def kind(field: str, value: Kind | None) -> Kind | None:
    """Checks the argument that says what the points are.

    Raises:
        InvalidInputError: another word.
    """
    if value not in (None, *get_args(Kind)):
        raise invalid(field, f"expected latents, images or items, got {value!r}")
    return value


def endpoint(
    name: str, array: arguments.Images, model: Model, given: Kind | None
) -> tuple[str, arguments.ImageRows]:
    """The path of the request's field for points of the latent space, and the points.

    Args:
        name: the field of type `Endpoints`.
        array: latents, or images or pictures that stand for their posterior's mean.
        model: by its shapes images and latents are told apart.
        given: what they are, if the caller said.
    """
    if isinstance(array, PictureSources):
        return f"{name}.images", arguments.image_rows(array, model)
    shaped = arguments.with_channel(array, model)
    row = shaped.shape[1:]
    is_data = shaped.dtype == np.uint8 or (
        axes.fits(model.image_axes, row) and not axes.fits(model.latent_axes, row)
    )
    if given in ("images", "items") or (given is None and is_data):
        return f"{name}.{model.data_field}", arguments.pixels(name, shaped)
    return f"{name}.latents", arguments.latents(array)


def sizes_of(path: str, rows: arguments.ImageRows, model: Model) -> Sizes:
    """The sizes of the points that `endpoint` gave with the path of their field."""
    shape = rows.shape[1:]
    if path.endswith(".latents"):
        return model.sizes_of_latent(path, shape)
    return model.sizes_of_image(path, shape)


def decoded(
    points: NDArray[np.float32],
    batch_axes: int,
    image_dtype: DTypeLike,
    model: Model,
    ref: ModelRef,
    budget: CallBudget,
    labels: Labels | None = None,
) -> Plan[Images]:
    """The images of points, in as many calls as they need.

    Args:
        points: latents with several axes before the latent's own.
        batch_axes: how many.
        image_dtype: of the images.
        model: for its limits.
        ref: the version that is to decode.
        budget: of each call.
        labels: the class of each point, or of all; for a conditional model.
    """
    points.flags.writeable = False  # all results are read-only
    around, latent_shape = points.shape[:batch_axes], points.shape[batch_axes:]
    decode = Decode(points.reshape(-1, *latent_shape), None, image_dtype, labels)
    result = yield from decode.plan(model, ref, budget)
    return result.images.reshape(*around, *result.images.shape[1:])
