"""Builds the autoencoder of a run's settings, ours or one from outside the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from latens_training.errors import UsageError
from latens_training.likelihoods.continuous import Bernoulli
from latens_training.models.autoencoder import Autoencoder, posterior_of
from latens_training.models.conditional import ConditionalDecoder, ConditionalEncoder
from latens_training.models.registry import MODELS

if TYPE_CHECKING:
    from latens_training.config import ModelConfig
    from latens_training.likelihoods.likelihood import Likelihood
    from latens_training.models.autoencoder import ImageShape, Posterior


def build(
    config: ModelConfig,
    image_shape: ImageShape,
    likelihood: Likelihood | None = None,
    label_count: int = 0,
) -> Autoencoder:
    """Makes an untrained network; its weights are drawn from torch's global generator.

    Args:
        config: name, sizes and options of the network.
        image_shape: channels, height and width.
        likelihood: of the images; Bernoulli if not given.
        label_count: classes of the images, where the settings say that the network knows them.

    Raises:
        NotFoundError: there is no such network.
        UsageError: it does not take such images, or its outputs are not those of a network.
    """
    likelihood = likelihood or Bernoulli()
    channels = likelihood.channels(image_shape[0])
    label_count = label_count if config.conditional else 0
    encoder, decoder = _made(config, image_shape, channels, label_count)
    latent_shape, posterior = _tried(
        config.architecture,
        encoder,
        decoder,
        image_shape,
        (channels, *image_shape[1:]),
        conditional=label_count > 0,
    )
    return Autoencoder(
        encoder, decoder, image_shape, latent_shape, posterior, likelihood, label_count
    )


def _made(
    config: ModelConfig, image_shape: ImageShape, decoder_channels: int, label_count: int
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder; of a conditional network each from a network of its own size."""

    def network(shape: ImageShape, latent_size: int) -> tuple[nn.Module, nn.Module]:
        shared = {
            "latent_size": latent_size,
            "hidden": config.hidden,
            "activation": config.activation,
            "decoder_channels": decoder_channels,
        }
        made = entry.factory(shape, **entry.arguments(shared, config.model_options))
        return _parts(config.architecture, made)

    entry = MODELS.find(config.architecture)
    if not label_count:
        return network(image_shape, config.latent_size)
    channels, height, width = image_shape
    encoder, _ = network((channels + 1, height, width), config.latent_size)
    _, decoder = network(image_shape, config.latent_size + label_count)
    return (
        ConditionalEncoder(encoder, label_count, height, width),
        ConditionalDecoder(decoder, label_count),
    )


def _parts(name: str, made: object) -> tuple[nn.Module, nn.Module]:
    parts = made if isinstance(made, tuple) else (
        getattr(made, "encoder", None), getattr(made, "decoder", None)
    )  # fmt: skip
    if len(parts) != 2 or not all(isinstance(part, nn.Module) for part in parts):
        raise UsageError(
            f"model: {name} gave {type(made).__name__}; expected a pair of modules, or a module "
            "with the attributes encoder and decoder"
        )
    encoder, decoder = parts
    return encoder, decoder


@torch.no_grad()
def _tried(
    name: str,
    encoder: nn.Module,
    decoder: nn.Module,
    image_shape: ImageShape,
    decoded_shape: tuple[int, ...],
    *,
    conditional: bool,
) -> tuple[tuple[int, ...], Posterior]:
    """The latent shape and the posterior, found by encoding and decoding one black image.

    Raises:
        UsageError: the encoder or the decoder fails, or gives something of another shape.
    """
    weight = next(encoder.parameters(), torch.empty(0))
    image = torch.zeros((1, *image_shape), device=weight.device)
    labels = [torch.zeros(1, dtype=torch.int64, device=weight.device)] if conditional else []
    modes = [(module, module.training) for part in (encoder, decoder) for module in part.modules()]
    encoder.eval()
    decoder.eval()
    try:
        mean, log_var = posterior_of(encoder(image, *labels))
        decoded = decoder(mean, *labels)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        shape = " x ".join(map(str, image_shape))
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"model: {name} does not take images of {shape}: {first}") from error
    finally:
        for module, training in modes:
            module.training = training
    _require_shapes(name, mean, log_var, decoded, decoded_shape)
    posterior: Posterior = "deterministic" if log_var is None else "diagonal-gaussian"
    return tuple(mean.shape[1:]), posterior


def _require_shapes(
    name: str, mean: Tensor, log_var: Tensor | None, decoded: Tensor, expected: tuple[int, ...]
) -> None:
    if log_var is not None and log_var.shape != mean.shape:
        raise UsageError(
            f"model: {name} encodes to a mean of {tuple(mean.shape)} and a log variance of "
            f"{tuple(log_var.shape)}; expected equal shapes"
        )
    if tuple(decoded.shape[1:]) != expected:
        raise UsageError(
            f"model: {name} decodes to {tuple(decoded.shape[1:])}; the likelihood needs "
            f"{expected} (channels, height, width)"
        )
