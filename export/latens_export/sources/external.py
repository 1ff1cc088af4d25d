"""Writes the bundle of a model that Latens did not train: from a card, with inputs to prove it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from latens_export.bundling import BundleOptions, write_bundle
from latens_export.errors import GraphError
from latens_export.sources.card import Card, spec_of
from latens_export.sources.description import with_fixed_sizes
from latens_export.sources.labelled import labels_in_turn, with_labels
from latens_export.sources.pictures import drawn, read_pictures
from latens_serving.bundle.spec import Prior

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

    from latens_export.bundling import WrittenBundle
    from latens_serving.bundle.spec import ModelSpec


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A pair of modules with their card."""

    encoder: nn.Module
    decoder: nn.Module
    card: Card
    parameter_count: int
    origin: dict[str, Any]
    """Recorded in the bundle: what the model was exported from."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where the bundle goes, and how exact it must be."""

    repository: Path
    name: str
    precision: str
    tolerance: float


def export_source(
    source: Source,
    target: Target,
    *,
    images: Path | None,
    fit_prior: Path | None,
    options: BundleOptions,
    step: Callable[[str], None],
) -> WrittenBundle:
    """Writes the bundle of a source; with fixed sizes, where its graphs cannot have free ones.

    Args:
        source: the modules and all that is known of them.
        target: the repository, name, precision and tolerance.
        images: a folder of pictures that prove the graphs; None for pictures that are drawn.
        fit_prior: a folder of pictures to whose means a prior is fitted; None for the card's.
        options: see `BundleOptions`.
        step: receives a line of text when a part of the work begins.

    Raises:
        ExportError: see `write_bundle`, `spec_of` and `read_pictures`.
    """
    card = source.card
    if fit_prior is not None:
        card = card.model_copy(update={"prior": Prior.FITTED_GAUSSIAN})
    source = dataclasses.replace(source, card=card)
    try:
        return _written(source, target, images, fit_prior, options, step)
    except GraphError as error:
        fixed = with_fixed_sizes(card)
        if fixed == card:
            raise
        step(f"fixing the sizes to the usual ones, since free sizes fail: {error}")
        source = dataclasses.replace(source, card=fixed)
        try:
            return _written(source, target, images, fit_prior, options, step)
        except GraphError:
            raise error from None


def _written(
    source: Source,
    target: Target,
    images: Path | None,
    fit_prior: Path | None,
    options: BundleOptions,
    step: Callable[[str], None],
) -> WrittenBundle:
    spec = spec_of(source.card, target.precision, target.tolerance, source.parameter_count)
    if images is None:
        step("proving the graphs with inputs that are drawn; --images FOLDER gives real ones")
    inputs = _inputs(images, spec)
    return write_bundle(
        source.encoder,
        source.decoder,
        spec,
        inputs,
        target.repository,
        target.name,
        logits=source.card.logits,
        prior_data=None if fit_prior is None else _inputs(fit_prior, spec),
        provenance=({}, {**source.origin, "probe": "drawn" if images is None else "pictures"}),
        options=options,
        step=step,
    )


def _inputs(folder: Path | None, spec: ModelSpec) -> Tensor:
    """Pictures of a folder or drawn ones; of a conditional model with every class in turn."""
    data = drawn(spec) if folder is None else read_pictures(folder, spec)
    if spec.label_count is None:
        return data
    return with_labels(data, labels_in_turn(data, spec.label_count))
