"""The card of a pair of modules: what is inferred by tracing, under what a given card says."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from torch import nn

from latens_export.errors import UsageError
from latens_export.sources.card import Card, FreeAxis
from latens_export.sources.inference import ShapeRunner, infer
from latens_serving.bundle.spec import Axis, LatentAxis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latens_export.sources.inference import Inferred


def describe(
    encoder: nn.Module, decoder: nn.Module, given: Card, usual: Sequence[int] | None = None
) -> Card:
    """A card with all that is known of a pair of modules.

    Args:
        encoder: data to `z`, `(mean, log_var)` or `(mean, None)`.
        decoder: latents to data.
        given: what the user says; it goes before what is inferred.
        usual: the shape of one row of data that the model was made for, if known.

    Raises:
        GraphError: nothing can be inferred; see `infer`.
        UsageError: a size of the given card is one that the network does not take.
    """
    inferred = infer(encoder, decoder, given.data_shape, usual)
    if given.scaling is not None and given.scaling.packing > 1:
        inferred = _packed(inferred, given.scaling.packing)
    card = given.over(_card_of(inferred, encoder))
    if given.latent is None:
        card = card.model_copy(update={"latent": _following(card, inferred)})
    _check_sizes(ShapeRunner(encoder, decoder), card, inferred)
    return card


def codebook_size(encoder: nn.Module) -> int:
    """The number of codes: an attribute of a module, or the rows of its only embedding.

    Raises:
        UsageError: neither is there.
    """
    for module in encoder.modules():
        size = getattr(module, "codebook_size", None)
        if isinstance(size, int):
            return size
    tables = [module for module in encoder.modules() if isinstance(module, nn.Embedding)]
    if len(tables) == 1:
        return tables[0].num_embeddings
    raise UsageError(
        "card: codebook_size: expected a value: the encoder gives codes, and has no attribute "
        "codebook_size"
    )


def with_fixed_sizes(card: Card) -> Card:
    """The card with its free axes fixed to their usual sizes."""
    axes = {axis.name: axis for axis in card.data_axes()}
    latent = {
        axis.name: axis.size or axes[axis.of].usual_size // axis.stride
        for axis in card.latent_axes()
    }
    data = {name: axis.usual_size for name, axis in axes.items()}
    return card.model_copy(update={"data": data, "latent": latent})


def _packed(inferred: Inferred, packing: int) -> Inferred:
    """With squares of latents as channels: fewer places, and data in larger steps."""
    latent = inferred.latent_axes
    if len(latent) != 3:
        raise UsageError("card: scaling.packing: expected latents of channels, height and width")
    fixed = [axis.size for axis in latent]
    if fixed[0] is None or any(size is not None and size % packing for size in fixed[1:]):
        raise UsageError(f"card: scaling.packing: {packing} does not divide the latent's sides")
    channels = latent[0].model_copy(update={"size": fixed[0] * packing**2})
    sides = [
        LatentAxis(name=axis.name, size=axis.size // packing)
        if axis.size is not None
        else LatentAxis(name=axis.name, of=axis.of, stride=axis.stride * packing)
        for axis in latent[1:]
    ]
    steps = {axis.of: axis.stride for axis in sides if axis.of}
    data = tuple(_in_steps(axis, steps.get(axis.name, 1)) for axis in inferred.data_axes)
    return dataclasses.replace(inferred, data_axes=data, latent_axes=(channels, *sides))


def _in_steps(axis: Axis, step: int) -> Axis:
    """A free axis whose sizes are multiples of a step as well."""
    if not axis.is_free:
        return axis
    many = math.lcm(axis.multiple, step)
    return Axis(
        name=axis.name,
        multiple=many,
        minimum=math.ceil(axis.minimum / many) * many,
        maximum=max(axis.maximum, many) // many * many,
        usual=math.ceil(axis.usual / many) * many,
    )


def _card_of(inferred: Inferred, encoder: nn.Module) -> Card:
    codes = {"codebook_size": codebook_size(encoder)} if inferred.has_codes else {}
    return Card(
        **codes,
        modality=inferred.modality,
        data={axis.name: _size(axis) for axis in inferred.data_axes},
        latent={axis.name: _latent_size(axis) for axis in inferred.latent_axes},
        graph_range=inferred.graph_range,
        posterior=inferred.posterior,
    )


def _size(axis: Axis) -> int | FreeAxis:
    if axis.size is not None:
        return axis.size
    return FreeAxis(
        multiple=axis.multiple, minimum=axis.minimum, maximum=axis.maximum, usual=axis.usual
    )


def _latent_size(axis: LatentAxis) -> int | str:
    return axis.size or f"{axis.of}/{axis.stride}"


def _following(card: Card, inferred: Inferred) -> dict[str, int | str]:
    """The inferred latent axes, fixed where the card fixes the data axis that they follow."""
    names = [axis.name for axis in inferred.data_axes]
    sizes = dict(zip(names, (card.data or {}).items(), strict=True))
    latent: dict[str, int | str] = {}
    for axis in inferred.latent_axes:
        if axis.size is not None:
            latent[axis.name] = axis.size
            continue
        name, size = sizes[axis.of]
        if isinstance(size, int):
            latent[axis.name] = size // axis.stride
        else:
            latent[axis.name] = f"{name}/{axis.stride}"
    return latent


def _check_sizes(runner: ShapeRunner, card: Card, inferred: Inferred) -> None:
    """Refuses a card whose sizes the network does not take, with the multiple that it does."""
    axes = card.data_axes()
    usual = tuple(axis.usual_size for axis in axes)
    for place, axis in enumerate(axes):
        if not axis.is_free:
            continue
        taken = inferred.data_axes[place]
        sizes = {axis.minimum, axis.usual, axis.maximum, axis.usual + axis.multiple}
        for size in sorted(size for size in sizes if size <= axis.maximum):
            shape = (*usual[:place], size, *usual[place + 1 :])
            if runner.latent_shape(shape) is None:
                raise UsageError(
                    f"card: data.{axis.name}: {size} does not come back as {size}; "
                    f"the network takes {taken.sizes_allowed}"
                )
