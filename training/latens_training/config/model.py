"""The network of a run, and what it is trained to minimise."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from latens_training.config.section import Name, Options, Section, split_list


class ModelFields(Section):
    """The network."""

    architecture: Annotated[
        Name,
        Field(
            description="network: ae-mlp, vae-mlp, vae-conv (the article's), conv, resnet, "
            "vq-vae, vq-vae-2, or "
            "module:Class of your own"
        ),
    ] = "vae-mlp"
    latent_size: Annotated[
        int, Field(ge=1, le=65536, description="number of latent dimensions")
    ] = 2
    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...],
        NoDecode,
        BeforeValidator(split_list),
        Field(
            min_length=1,
            description="sizes of the MLP's hidden layers, encoder side, as 400 or 200,200",
        ),
    ] = (400,)
    activation: Annotated[
        Literal["relu", "tanh"], Field(description="nonlinearity of the hidden layers")
    ] = "relu"
    conditional: Annotated[
        bool,
        Field(
            description="encoder and decoder know the class of each image (a conditional VAE); for "
            "networks with --latent-size, and data with labels"
        ),
    ] = False


class ModelConfig(ModelFields):
    """The network and its options."""

    model_options: Options = Field(default_factory=dict)


class LossFields(Section):
    """The objective."""

    beta: Annotated[
        float,
        Field(
            ge=0, allow_inf_nan=False, description="weight of the KL term; 0: only reconstruction"
        ),
    ] = 1.0
    likelihood: Annotated[
        Name,
        Field(
            description="p(x|z): bernoulli (cross-entropy), continuous-bernoulli, gaussian "
            "(squared error), gaussian-learnt, logistic-mixture, categorical, or module:Class of "
            "your own"
        ),
    ] = "bernoulli"
    sigma: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="standard deviation of the gaussian likelihood, or the first one of "
            "gaussian-learnt; the default, the root of one half, makes the error the plain sum of "
            "squares",
        ),
    ] = 0.5**0.5
    objective: Annotated[
        Name,
        Field(
            description="what is minimised: elbo, iwae, dreg, capacity, beta-tc, factor-vae, mmd, "
            "vq (that of vq-vae), "
            "or module:function of your own"
        ),
    ] = "elbo"
    samples: Annotated[int, Field(ge=1, le=1000, description="latent draws per image and step")] = 1


class LossConfig(LossFields):
    """The objective, the likelihood, and the options of both."""

    objective_options: Options = Field(default_factory=dict)
    likelihood_options: Options = Field(default_factory=dict)
