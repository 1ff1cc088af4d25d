"""Models as callers see them: the contract's `Model` message, and pages of a list."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from latens.v1 import latens_pb2 as pb
from latens_serving.bundle import schema as bundle
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
    bundle.Likelihood.BERNOULLI: pb.LIKELIHOOD_BERNOULLI,
    bundle.Likelihood.GAUSSIAN: pb.LIKELIHOOD_GAUSSIAN,
}
_POSTERIORS = {
    bundle.Posterior.DIAGONAL_GAUSSIAN: pb.POSTERIOR_DIAGONAL_GAUSSIAN,
    bundle.Posterior.DETERMINISTIC: pb.POSTERIOR_DETERMINISTIC,
}


def description(entry: Entry) -> pb.Model:
    """What is known of a version: all of the contract once it is loaded, else its state."""
    message = pb.Model(
        name=entry.name,
        version=str(entry.version),
        state=_STATES[entry.state],
        state_reason=entry.reason,
    )
    if entry.model is not None:
        _fill_contract(message, entry.model)
    return message


def _fill_contract(message: pb.Model, model: LoadedModel) -> None:
    contract, manifest = model.contract, model.manifest
    message.MergeFrom(
        pb.Model(
            image_shape=contract.image_shape,
            latent_shape=contract.latent_shape,
            architecture=contract.architecture,
            beta=contract.beta,
            dataset=contract.dataset,
            likelihood=_LIKELIHOODS[contract.likelihood],
            posterior=_POSTERIORS[contract.posterior],
            precision=contract.precision,
            tolerance=contract.tolerance,
            encoder_sha256=manifest.encoder.sha256,
            decoder_sha256=manifest.decoder.sha256,
            parameter_count=contract.parameter_count,
            limits=pb.ModelLimits(
                max_rows=model.limits.max_rows,
                max_message_bytes=model.limits.max_message_bytes,
                max_row_passes=model.limits.max_row_passes,
            ),
            noise_generator=NOISE_GENERATOR,
            provider=model.provider,
            latent_dims=[
                pb.LatentDim(kl=dim.kl, mean=dim.mean, std=dim.std) for dim in contract.latent_dims
            ],
            metrics=manifest.provenance.metrics,
            attributes=[
                pb.Attribute(name=name, direction=direction)
                for name, direction in sorted(contract.attributes.items())
            ],
            sigma=contract.sigma if contract.likelihood is bundle.Likelihood.GAUSSIAN else 0,
        )
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
