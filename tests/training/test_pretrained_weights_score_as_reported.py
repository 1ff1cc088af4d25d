"""Networks that disentangling-vae trained have, by our metrics, the figures that it reports.

github.com/YannDubs/disentangling-vae, commit fe65e19: the last lines of `train_losses.log` of each
folder under `results/`. Those are means over the last epoch of training, of weights that still
moved; so the figures of the final weights may differ by some hundredths of a nat per unit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from latens_training.data import datasets
from latens_training.metrics.evaluation import evaluate
from latens_training.models.autoencoder import Autoencoder
from pretrained_weights import BURGESS, weights_of

REPORTED_KL = (2.87, 1.91, 3.78, 1.05, 3.27, 3.21, 1.10, 0.94, 0.00, 3.62)
"""Of FactorVAE on dSprites by unit, nats; 21.74 in all."""
REPORTED_LOSS = 138.48
"""Of the VAE on MNIST at 32 x 32 pixels, -ELBO, nats."""
IMAGES = 2000


class Logits(nn.Module):
    """A decoder of probabilities as one of logits, which the likelihood takes."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latents: Tensor) -> Tensor:
        return torch.logit(self.decoder(latents).double(), eps=1e-12).float()


class SmallEncoder(nn.Module):
    """That of Burgess et al. for 32 pixels: without one convolution."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, images: Tensor) -> Any:
        whole = self.whole
        for layer in (whole.conv1, whole.conv2, whole.conv3):
            images = torch.relu(layer(images))
        hidden = torch.relu(whole.lin2(torch.relu(whole.lin1(images.flatten(1)))))
        return whole.mu_logvar_gen(hidden).view(-1, 10, 2).unbind(-1)


class SmallDecoder(nn.Module):
    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, latents: Tensor) -> Tensor:
        whole = self.whole
        for layer in (whole.lin1, whole.lin2, whole.lin3):
            latents = torch.relu(layer(latents))
        maps = latents.view(-1, 32, 4, 4)
        for layer in (whole.convT1, whole.convT2):
            maps = torch.relu(layer(maps))
        return torch.sigmoid(whole.convT3(maps))


def network(name: str, *, small: bool) -> Any:
    scope: dict[str, Any] = {"__name__": "network_of_this_test"}
    exec(BURGESS, scope)
    found = scope["dsprites"]()
    odd = found.load_state_dict(load_file(weights_of(name)), strict=not small)
    if small:
        assert all("_64" in key for key in odd.missing_keys)
        assert not odd.unexpected_keys
    return found.eval()


def some(images: Any) -> Tensor:
    rows = np.linspace(0, len(images) - 1, IMAGES).astype(np.int64)
    chosen: Tensor = images[torch.from_numpy(rows)]
    return chosen


def test_factor_vae_uses_each_unit_as_much_as_reported() -> None:
    trained = network("factor_dsprites.safetensors", small=False)
    model = Autoencoder(
        trained.encoder, Logits(trained.decoder), (1, 64, 64), (10,), "diagonal-gaussian"
    )
    terms = evaluate(model, some(datasets.load("sprites").train.images), draws=1)
    # Our sprites are drawn by ourselves, so their edges differ a little from those of the file.
    np.testing.assert_allclose(terms.kl_by_dim.numpy(), REPORTED_KL, atol=0.35)
    assert float(terms.kl.mean()) == pytest.approx(sum(REPORTED_KL), abs=1.5)
    assert terms.active_units == 9
    assert 36 < float(terms.reconstruction.mean()) < 60  # 36.6 is reported, for the file's edges


def test_the_vae_on_mnist_has_the_bound_that_is_reported() -> None:
    trained = network("vae_mnist.safetensors", small=True)
    model = Autoencoder(
        SmallEncoder(trained.encoder),
        Logits(SmallDecoder(trained.decoder)),
        (1, 32, 32),
        (10,),
        "diagonal-gaussian",
    )
    images = some(datasets.load("mnist").train.images).float()
    larger = nn.functional.interpolate(images, size=32, mode="bilinear", antialias=True)
    pixels = larger.round().clamp(0, 255).to(torch.uint8)
    metrics = evaluate(model, pixels, draws=1).metrics("diagonal-gaussian")
    assert -metrics["elbo"] == pytest.approx(REPORTED_LOSS, rel=0.025)
