"""A run of any likelihood becomes a bundle whose images are the means of p(x|z)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from latens_serving import Decoder
from latens_serving.bundle.spec import Likelihood
from latens_training import Dataset, LossConfig, ModelConfig, RunConfig, Split, TrainConfig, train

SERVED = {
    "bernoulli": Likelihood.BERNOULLI,
    "gaussian": Likelihood.GAUSSIAN,
    "gaussian-learnt": Likelihood.GAUSSIAN,
    "continuous-bernoulli": Likelihood.NONE,
    "logistic-mixture": Likelihood.NONE,
    "categorical": Likelihood.NONE,
}


@pytest.mark.parametrize("name", SERVED)
def test_a_bundle_decodes_to_the_mean(name: str, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (80, 1, 8, 8), generator=draw, dtype=torch.uint8)
    data = Dataset("noise", Split(images[:60]), Split(images[60:]))
    config = RunConfig(
        model=ModelConfig(hidden=(16,), latent_size=3),
        loss=LossConfig(likelihood=name),
        train=TrainConfig(epochs=2, batch_size=20),
    )
    run = train(config, dataset=data, out=tmp_path / "run", quiet=True)
    path = run.export(tmp_path / "models", "model")
    decoder = Decoder(path, device="cpu")
    spec = decoder.manifest.spec
    assert spec.likelihood is SERVED[name]
    if name == "gaussian-learnt":
        served = run.model.likelihood.served
        assert served is not None
        assert spec.sigma == pytest.approx(served.sigma)
        assert spec.sigma != pytest.approx(config.loss.sigma, rel=1e-3), "it was trained"
    latents = torch.randn(5, 3, generator=draw)
    np.testing.assert_allclose(decoder(latents.numpy()), run.decode(latents).numpy(), atol=1e-4)
