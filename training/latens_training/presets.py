"""Named settings: the article's models and the rows of the papers."""

from __future__ import annotations

from typing import Any, NamedTuple

from latens_training.errors import NotFoundError


class Preset(NamedTuple):
    """Values of a run's fields by their flat names, and what they reproduce."""

    summary: str
    values: dict[str, Any]


_BURDA_NETWORK: dict[str, Any] = {
    "architecture": "vae-mlp",
    "hidden": (200, 200),
    "activation": "tanh",
    "latent_size": 50,
    "binarize": "dynamic",
}
# Adam as in the authors' program (github.com/yburda/iwae, optimizers.py). Theirs starts with
# second moments of 1 and does not correct their bias in epsilon, which some thousand steps undo.
_BURDA = _BURDA_NETWORK | {
    "batch_size": 20,
    "schedule": "burda",
    "epochs": 3280,
    "adam_beta1": 0.99,
    "adam_epsilon": 1e-4,
}

PRESETS: dict[str, Preset] = {
    "mnist-2d": Preset("the article's VAE with a plane for its latent space", {"latent_size": 2}),
    "mnist-2d-cosine": Preset(
        "the same net, Adam from 3e-3 to 0 by a cosine: measured better than the article's recipe",
        {"latent_size": 2, "learning_rate": 3e-3, "schedule": "cosine"},
    ),
    "mnist": Preset("ten latent units", {"latent_size": 10}),
    "mnist-20": Preset("twenty latent dimensions, as in pytorch/examples", {"latent_size": 20}),
    "mnist-20-cosine": Preset(
        "the same net, Adam from 2e-3 to 0 by a cosine: measured better than the article's recipe",
        {"latent_size": 20, "learning_rate": 2e-3, "schedule": "cosine"},
    ),
    "mnist-beta4": Preset(
        "the article's beta-VAE, beta 4 with ten dimensions", {"latent_size": 10, "beta": 4.0}
    ),
    "mnist-ae": Preset(
        "a plain autoencoder without a ReLU on its code", {"architecture": "ae-mlp"}
    ),
    "article-ae": Preset(
        "the article's plain autoencoder as listed; the ReLU on its code kills units",
        {"architecture": "ae-mlp", "model_options": {"relu_code": True}},
    ),
    "article-2d": Preset("the article's MLP VAE, the same as mnist-2d", {"latent_size": 2}),
    "article-conv-2d": Preset(
        "the article's convolutional VAE with a plane",
        {"architecture": "vae-conv", "latent_size": 2},
    ),
    "article-conv-beta1": Preset(
        "the article's convolutional VAE with ten coordinates",
        {"architecture": "vae-conv", "latent_size": 10},
    ),
    "article-conv-beta4": Preset(
        "the same as beta-VAE, beta 4",
        {"architecture": "vae-conv", "latent_size": 10, "beta": 4.0},
    ),
    "fashion": Preset(
        "Fashion-MNIST, ten coordinates (needs its files: --data-dir)",
        {"dataset": "fashion-mnist", "latent_size": 10},
    ),
    "fonts": Preset(
        "letters of every font found (first: latens-train data fonts)",
        {
            "dataset": "data/fonts.npz",
            "latent_size": 16,
            "hidden": (800,),
            "batch_size": 64,
            "epochs": 200,
        },
    ),
    "burda-vae": Preset("Burda et al. 2015, table 1: VAE, k = 1, 86.76 nats", _BURDA),
    "burda-vae-5": Preset(
        "Burda et al. 2015, table 1: VAE, k = 5, 86.47 nats", _BURDA | {"samples": 5}
    ),
    "burda-iwae-5": Preset(
        "Burda et al. 2015, table 1: IWAE, k = 5, 85.54 nats",
        _BURDA | {"objective": "iwae", "samples": 5},
    ),
    "burda-iwae-50": Preset(
        "Burda et al. 2015, table 1: IWAE, k = 50, 84.78 nats",
        _BURDA | {"objective": "iwae", "samples": 50},
    ),
    "burda-vae-short": Preset(
        "the net of Burda et al. in minutes: batch 100, 64 epochs with a cosine schedule",
        _BURDA_NETWORK | {"batch_size": 100, "epochs": 64, "schedule": "cosine"},
    ),
}


def preset_values(name: str) -> dict[str, Any]:
    """The field values of a preset.

    Raises:
        NotFoundError: there is none of this name.
    """
    if name not in PRESETS:
        raise NotFoundError(f"preset: no such preset: {name}; there are {', '.join(PRESETS)}")
    return PRESETS[name].values
