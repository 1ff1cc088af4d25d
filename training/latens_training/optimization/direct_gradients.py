"""One step of the article's MLP VAE with its gradients written out, in place of autograd's.

On a CPU a step of this network takes a few milliseconds, of which autograd's own work is a fifth.
The gradients are those of Kingma and Welling (2013), equation 10: of the reconstruction through
z = mean + sigma * noise, and of the KL in closed form. They equal autograd's but for rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from latens_training.likelihoods.continuous import Bernoulli
from latens_training.models.mlp import MlpDecoder, MlpEncoder
from latens_training.objectives.elbo import Elbo

if TYPE_CHECKING:
    from latens_training.config import RunConfig
    from latens_training.devices import Placement
    from latens_training.models.autoencoder import Autoencoder
    from latens_training.objectives.batch import Objective, Terms


@dataclass(frozen=True)
class DirectGradients:
    """The network of a run whose gradients are known in closed form."""

    encoder: MlpEncoder
    log_var: nn.Linear
    decoder: MlpDecoder
    beta: float

    @classmethod
    def of(
        cls, model: Autoencoder, objective: Objective, config: RunConfig, placement: Placement
    ) -> DirectGradients | None:
        """Of a run; None for a network, an objective or a device for which they are not written."""
        encoder, decoder = model.encoder, model.decoder
        is_plain = (
            placement.device.type == "cpu"
            and placement.world_size == 1
            and config.machine.compile == "off"
            and config.machine.precision != "bfloat16"
            and config.loss.samples == 1
            and type(model.likelihood) is Bernoulli
        )
        # The classes themselves: a subclass may compute something else.
        if not (is_plain and type(encoder) is MlpEncoder and type(decoder) is MlpDecoder):
            return None
        if encoder.log_var is None or encoder.relu_code:
            return None
        if type(objective) is not Elbo or objective.kl_warmup or objective.free_bits:
            return None
        return cls(encoder, encoder.log_var, decoder, objective.beta)

    @torch.no_grad()
    def step(self, images: Tensor, noise: Tensor) -> Terms:
        """Sets the gradients of the mean loss; returns the sums of the ELBO's terms.

        Args:
            images: [n, c, h, w] in [0, 1].
            noise: [n, L], standard normal.
        """
        targets, count = images.flatten(1), len(images)
        encoded = _through(self.encoder.body, targets)
        mean, log_var = self.encoder.mean(encoded[-1]), self.log_var(encoded[-1])
        sigma = torch.exp(0.5 * log_var)
        decoded = _through(self.decoder.body, torch.addcmul(mean, sigma, noise))
        logits = self.decoder.logits(decoded[-1])

        reconstruction = _cross_entropy(logits, targets)
        variance = sigma.square()
        kl = 0.5 * (mean.square() + variance - log_var - 1).sum()

        of_logits = torch.sigmoid(logits).sub_(targets).div_(count)
        _set_gradients(self.decoder.logits, of_logits, decoded[-1])
        of_hidden = of_logits @ self.decoder.logits.weight
        of_first = _back(self.decoder.body, decoded, of_hidden)
        of_latents = of_first @ _first(self.decoder.body).weight
        share = self.beta / count
        of_mean = torch.add(of_latents, mean, alpha=share)
        of_log_var = torch.addcmul((variance - 1) * share, of_latents * noise, sigma).mul_(0.5)
        _set_gradients(self.encoder.mean, of_mean, encoded[-1])
        _set_gradients(self.log_var, of_log_var, encoded[-1])
        of_hidden = (of_mean @ self.encoder.mean.weight).addmm_(of_log_var, self.log_var.weight)
        _back(self.encoder.body, encoded, of_hidden)
        return {
            "loss": reconstruction + self.beta * kl,
            "reconstruction": reconstruction,
            "kl": kl,
        }


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy of targets and sigmoid(logits), summed.

    It is log(1 + exp(logit)) - target * logit, in a form in which exp does not overflow. torch has
    it with log1p, which was seen to take a millisecond for minutes at a time.
    """
    small = logits.abs().neg_().exp_()
    entropy = small.add_(1).log_().add_(logits.clamp_min(0))
    return entropy.sum() - torch.dot(logits.flatten(), targets.flatten())


def _through(body: nn.Sequential, inputs: Tensor) -> list[Tensor]:
    """The inputs, and the output of each hidden layer."""
    outputs = [inputs]
    for layer, activation in _layers(body):
        outputs.append(activation(layer(outputs[-1])))
    return outputs


def _back(body: nn.Sequential, outputs: list[Tensor], gradient: Tensor) -> Tensor:
    """Sets the gradients of hidden layers.

    Args:
        body: the layers.
        outputs: what `_through` gave.
        gradient: of the last output.

    Returns:
        The gradient of the first layer's output, before its activation.
    """
    layers = list(_layers(body))
    for place in range(len(layers) - 1, -1, -1):
        layer, activation = layers[place]
        output = outputs[place + 1]
        if isinstance(activation, nn.Tanh):
            gradient = gradient * (1 - output.square())
        else:
            gradient = torch.ops.aten.threshold_backward(gradient, output, 0)
        _set_gradients(layer, gradient, outputs[place])
        if place:
            gradient = gradient @ layer.weight
    return gradient


def _set_gradients(layer: nn.Linear, gradient: Tensor, inputs: Tensor) -> None:
    """Sets those of a layer's weights, given that of its output."""
    for parameter in (layer.weight, layer.bias):
        if parameter.grad is None:
            parameter.grad = torch.empty_like(parameter)
    torch.mm(gradient.t(), inputs, out=layer.weight.grad)
    torch.sum(gradient, 0, out=layer.bias.grad)


def _layers(body: nn.Sequential) -> list[tuple[nn.Linear, nn.Module]]:
    found = []
    for layer, activation in pairwise(body):
        if isinstance(layer, nn.Linear):
            found.append((layer, activation))
    return found


def _first(body: nn.Sequential) -> nn.Linear:
    layer, _ = _layers(body)[0]
    return layer
