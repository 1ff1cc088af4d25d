"""Models as callers see them: the contract's `Model` message, and pages of a list."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from latens.v1 import latens_pb2 as pb
from latens_serving.bundle.spec import (
    Axis,
    LatentAxis,
    Likelihood,
    Modality,
    ModelSpec,
    Posterior,
    Prior,
    Tiles,
)
from latens_serving.errors import InvalidInputError
from latens_serving.models.model import LoadedModel
from latens_serving.models.repository import Entry, State
from latens_serving.service.noise import NOISE_GENERATOR

_DEFAULT_PAGE = 100
_LARGEST_PAGE = 1000

_STATES = {
    State.LOADING: pb.MODEL_STATE_LOADING,
    State.READY: pb.MODEL_STATE_READY,
    State.DRAINING: pb.MODEL_STATE_DRAINING,
    State.FAILED: pb.MODEL_STATE_FAILED,
}
_LIKELIHOODS = {
    Likelihood.NONE: pb.LIKELIHOOD_NONE,
    Likelihood.BERNOULLI: pb.LIKELIHOOD_BERNOULLI,
    Likelihood.GAUSSIAN: pb.LIKELIHOOD_GAUSSIAN,
}
_POSTERIORS = {
    Posterior.DIAGONAL_GAUSSIAN: pb.POSTERIOR_DIAGONAL_GAUSSIAN,
    Posterior.DETERMINISTIC: pb.POSTERIOR_DETERMINISTIC,
}


_PRIORS = {
    Prior.STANDARD_NORMAL: pb.PRIOR_STANDARD_NORMAL,
    Prior.FITTED_GAUSSIAN: pb.PRIOR_FITTED_GAUSSIAN,
    Prior.NONE: pb.PRIOR_NONE,
}
_MODALITIES = {
    Modality.IMAGE: pb.MODALITY_IMAGE,
    Modality.AUDIO: pb.MODALITY_AUDIO,
    Modality.TABULAR: pb.MODALITY_TABULAR,
    Modality.OTHER: pb.MODALITY_OTHER,
}
_TILES = {
    Tiles.EXACT: pb.Tiling.KIND_EXACT,
    Tiles.APPROXIMATE: pb.Tiling.KIND_APPROXIMATE,
    Tiles.NONE: pb.Tiling.KIND_NONE,
}


def description(entry: Entry) -> pb.Model:
    """What is known of a version: all of the spec once it is loaded, else its state."""
    message = pb.Model(
        name=entry.name,
        version=str(entry.version),
        state=_STATES[entry.state],
        state_reason=entry.reason,
    )
    if entry.model is not None:
        _fill_spec(message, entry.model)
        message.MergeFrom(_sizes(entry.model.spec))
    return message


def _fill_spec(message: pb.Model, model: LoadedModel) -> None:
    spec, manifest = model.spec, model.manifest
    message.MergeFrom(
        pb.Model(
            image_shape=[size or 0 for size in spec.data_shape],
            latent_shape=[size or 0 for size in spec.latent_shape],
            architecture=spec.architecture,
            beta=spec.beta or 0,
            dataset=spec.dataset,
            likelihood=_LIKELIHOODS[spec.likelihood],
            posterior=_POSTERIORS[spec.posterior],
            precision=spec.precision,
            tolerance=spec.tolerance,
            encoder_sha256=manifest.encoder.sha256,
            decoder_sha256=manifest.decoder.sha256,
            parameter_count=spec.parameter_count,
            limits=pb.ModelLimits(
                max_rows=model.limits.max_rows,
                max_message_bytes=model.limits.max_message_bytes,
                max_row_passes=model.limits.max_row_passes,
            ),
            noise_generator=NOISE_GENERATOR,
            provider=model.provider,
            latent_dims=[
                pb.LatentDim(kl=dim.kl, mean=dim.mean, std=dim.std) for dim in spec.latent_dims
            ],
            metrics=manifest.provenance.metrics,
            attributes=[
                pb.Attribute(name=name, direction=direction)
                for name, direction in sorted(spec.attributes.items())
            ],
            prior=_PRIORS[spec.prior],
            modality=_MODALITIES[spec.modality],
            tiling=pb.Tiling(kind=_TILES[spec.tiles], halo=spec.halo),
            measured_error=spec.error,
            codebook_size=spec.codebook_size or 0,
            label_names=spec.label_names,
            label_count=spec.label_count or 0,
            sigma=spec.sigma if spec.likelihood is Likelihood.GAUSSIAN else 0,
        )
    )


def _sizes(spec: ModelSpec) -> pb.Model:
    """The axes, and what was folded into the graphs."""
    message = pb.Model(
        image_axes=[_axis(axis) for axis in spec.data_axes],
        latent_axes=[
            _axis(sizes, axis)
            for axis, sizes in zip(spec.latent_axes, spec.latent_sizes, strict=True)
        ],
    )
    if (scaling := spec.scaling) is not None:
        message.scaling.CopyFrom(
            pb.Scaling(scale=scaling.scale, shift=scaling.shift, packing=scaling.packing)
        )
    return message


def _axis(sizes: Axis, latent: LatentAxis | None = None) -> pb.Axis:
    if sizes.size is not None:
        return pb.Axis(name=sizes.name, size=sizes.size)
    return pb.Axis(
        name=sizes.name,
        multiple=sizes.multiple,
        minimum=sizes.minimum,
        maximum=sizes.maximum,
        usual=sizes.usual,
        of=latent.of if latent else "",
        stride=latent.stride if latent else 0,
    )


def page_of(entries: Sequence[Entry], size: int, token: str) -> tuple[Sequence[Entry], str]:
    """A page of a sorted list, and the token of the next one, empty after the last.

    A token holds the last entry of its page, so that models which come or go in between neither
    repeat nor hide others.
    """
    if size < 0:
        raise InvalidInputError.at("page_size", f"expected 0 or more, got {size}")
    size = min(size or _DEFAULT_PAGE, _LARGEST_PAGE)
    if token:
        last = _key_of(token)
        entries = [entry for entry in entries if entry.sort_key > last]
    page = entries[:size]
    return page, _token_of(page[-1]) if len(entries) > size else ""


def _token_of(entry: Entry) -> str:
    return base64.urlsafe_b64encode(f"{entry.name}/{entry.version}".encode()).decode()


def _key_of(token: str) -> tuple[str, int]:
    try:
        name, _, version = base64.urlsafe_b64decode(token).decode().partition("/")
        return name, -int(version)
    except (ValueError, binascii.Error) as error:
        raise InvalidInputError.at("page_token", "expected a token of this server") from error
