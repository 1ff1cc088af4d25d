"""The card of a pair of modules: what is inferred by tracing, under what a given card says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latens_export.errors import UsageError
from latens_export.sources.card import Card, FreeAxis
from latens_export.sources.inference import ShapeRunner, infer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from latens_export.sources.inference import Inferred
    from latens_serving.bundle.spec import Axis, LatentAxis


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
    card = given.over(_card_of(inferred))
    if given.latent is None:
        card = card.model_copy(update={"latent": _following(card, inferred)})
    _check_sizes(ShapeRunner(encoder, decoder), card, inferred)
    return card


def with_fixed_sizes(card: Card) -> Card:
    """The card with its free axes fixed to their usual sizes."""
    axes = {axis.name: axis for axis in card.data_axes()}
    latent = {
        axis.name: axis.size or axes[axis.of].usual_size // axis.stride
        for axis in card.latent_axes()
    }
    data = {name: axis.usual_size for name, axis in axes.items()}
    return card.model_copy(update={"data": data, "latent": latent})


def _card_of(inferred: Inferred) -> Card:
    return Card(
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
