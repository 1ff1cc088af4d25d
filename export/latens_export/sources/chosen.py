"""The source that the settings name: read, described, and exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latens_export.bundling import BundleOptions
from latens_export.checks.umap_coordinates import require_umap
from latens_export.settings import (
    DiffusersSettings,
    ExportSettings,
    ExternalSettings,
    ModuleSettings,
    OnnxSettings,
)
from latens_export.sources.card import Card, card_text, read_card
from latens_export.sources.description import describe, with_fixed_sizes
from latens_export.sources.external import Source, Target, export_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from latens_export.bundling import WrittenBundle
    from latens_export.settings import CommonSettings


RUN_ATLAS_IMAGES = 2000


def export(settings: CommonSettings, step: Callable[[str], None]) -> WrittenBundle:
    """Writes the bundle of the source that the settings name.

    Raises:
        ExportError: the source cannot be read or exported.
    """
    atlas = settings.atlas_images
    if atlas is None:
        atlas = RUN_ATLAS_IMAGES if isinstance(settings, ExportSettings) else 0
    if settings.umap:
        require_umap(atlas)
    options = BundleOptions(
        atlas_images=atlas,
        byte_graphs=settings.byte_graphs,
        umap=settings.umap,
        float32_graphs=settings.keep_float32,
        opset=settings.accepted_opset,
    )
    if isinstance(settings, ExportSettings):
        from latens_export.sources.run import export_run

        return export_run(
            settings.run,
            settings.repository,
            settings.model_name,
            precision=settings.precision,
            tolerance=settings.accepted_tolerance,
            data_dir=settings.data_dir,
            fit_prior=settings.fit_prior,
            options=options,
            step=step,
        )
    assert isinstance(settings, ExternalSettings)
    step("reading the model, and finding which sizes it takes")
    return export_source(
        _source(settings),
        Target(
            settings.repository,
            settings.model_name,
            settings.precision,
            settings.accepted_tolerance,
        ),
        images=settings.images,
        fit_prior=settings.fit_prior,
        options=options,
        step=step,
    )


def card_text_of(settings: ExternalSettings) -> str:
    """What is known of the source, as a card."""
    return card_text(_source(settings).card)


def _source(settings: ExternalSettings) -> Source:
    given = Card() if settings.card is None else read_card(settings.card)
    if isinstance(settings, ModuleSettings):
        return _module(settings, given)
    if isinstance(settings, DiffusersSettings):
        return _diffusers(settings, given)
    assert isinstance(settings, OnnxSettings)
    return _onnx(settings, given)


def _module(settings: ModuleSettings, given: Card) -> Source:
    from latens_export.sources.labelled import (
        DecoderOfFirstClass,
        EncoderOfFirstClass,
        LabelledDecoder,
        LabelledEncoder,
    )
    from latens_export.sources.modules import (
        DecodeOf,
        EncodeOf,
        load_module,
        require_arguments,
    )

    module = load_module(settings.factory, settings.weights)
    require_arguments(module, labels=given.label_count is not None)
    encoder: nn.Module
    decoder: nn.Module
    if given.label_count is None:
        encoder, decoder = EncodeOf(module).eval(), DecodeOf(module).eval()
        card = describe(encoder, decoder, given)
    else:
        card = describe(EncoderOfFirstClass(module), DecoderOfFirstClass(module), given)
        card = with_fixed_sizes(card)
        encoder, decoder = LabelledEncoder(module).eval(), LabelledDecoder(module).eval()
    if not card.architecture:
        card = card.model_copy(update={"architecture": type(module).__name__})
    count = sum(parameter.numel() for parameter in module.parameters())
    return Source(encoder, decoder, card, count, {"source": "module"})


def _diffusers(settings: DiffusersSettings, given: Card) -> Source:
    from latens_export.sources.diffusers import load_diffusers

    found = load_diffusers(settings.folder, raw_latents=settings.raw_latents, codes=settings.codes)
    card = describe(found.encoder, found.decoder, given.over(found.card), found.usual)
    return Source(
        found.encoder, found.decoder, card, found.parameter_count, {"source": "diffusers"}
    )


def _onnx(settings: OnnxSettings, given: Card) -> Source:
    from latens_export.sources.onnx_pair import find_pair, load_pair

    found = load_pair(*find_pair(settings.paths), given)
    return Source(
        found.encoder, found.decoder, found.card, found.parameter_count, {"source": "onnx"}
    )
