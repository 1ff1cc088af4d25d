"""The settings of a run, in sections. Each field is a flag, an environment variable and its help.

`RunConfig` is what a checkpoint stores. `latens_training.cli.settings.TrainSettings` flattens the
same fields into the command line of `latens-train`, so a field's name is unique over all sections.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import NoDecode

Architecture = Literal["ae-mlp", "vae-mlp", "vae-conv"]
Likelihood = Literal["bernoulli", "gaussian"]
Fit = Literal["pad", "crop", "resize"]


def _split(value: Any) -> Any:
    """Splits `200,200`, as written in flags and environment variables."""
    return value.split(",") if isinstance(value, str) else value


def _height_and_width(value: Any) -> Any:
    """`64` or `48x64`, as on the command line, as height and width."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, str):
        parts = value.lower().split("x")
        return parts * 2 if len(parts) == 1 else parts
    return value


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Side = Annotated[int, Field(ge=1, le=8192)]


class DataConfig(Section):
    """Where the images come from."""

    dataset: Annotated[
        str,
        Field(
            min_length=1,
            description="mnist (comes with the package), fashion-mnist, kmnist, emnist, or the "
            "path of a folder of images, an .npz file or an IDX file",
        ),
    ] = "mnist"
    image_size: Annotated[
        tuple[Side, Side] | None,
        NoDecode,
        BeforeValidator(_height_and_width),
        Field(
            description="fit each picture of a folder to this size, as 64 or HEIGHTxWIDTH; "
            "default: all pictures must be of one size"
        ),
    ] = None
    fit: Annotated[
        Fit,
        Field(
            description="with --image-size: pad to the aspect, crop to it, or resize without "
            "keeping it"
        ),
    ] = "pad"
    data_dir: Annotated[
        Path | None,
        Field(description="folder with the files of the named data set, or to download them to"),
    ] = None
    binarize: Annotated[
        Literal["none", "static", "dynamic"],
        Field(
            description="replace pixels by Bernoulli draws of their grey value: once (static) or "
            "each time an image is used (dynamic)"
        ),
    ] = "none"


class ModelConfig(Section):
    """The network."""

    architecture: Annotated[
        Architecture, Field(description="network: ae-mlp, vae-mlp or vae-conv")
    ] = "vae-mlp"
    latent_size: Annotated[
        int, Field(ge=1, le=65536, description="number of latent dimensions")
    ] = 2
    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...],
        NoDecode,
        BeforeValidator(_split),
        Field(
            min_length=1,
            description="sizes of the MLP's hidden layers, encoder side, as 400 or 200,200",
        ),
    ] = (400,)
    activation: Annotated[
        Literal["relu", "tanh"], Field(description="nonlinearity of the hidden layers")
    ] = "relu"


class LossConfig(Section):
    """The objective."""

    beta: Annotated[
        float,
        Field(
            ge=0, allow_inf_nan=False, description="weight of the KL term; 0: only reconstruction"
        ),
    ] = 1.0
    likelihood: Annotated[
        Likelihood,
        Field(description="p(x|z): bernoulli (cross-entropy) or gaussian (squared error)"),
    ] = "bernoulli"
    sigma: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="standard deviation of the gaussian likelihood; the default, the root of "
            "one half, makes it the plain sum of squared errors",
        ),
    ] = 0.5**0.5
    objective: Annotated[
        Literal["elbo", "iwae"],
        Field(description="bound to maximise: the ELBO or the importance-weighted bound"),
    ] = "elbo"
    samples: Annotated[int, Field(ge=1, le=1000, description="latent draws per image and step")] = 1


class TrainConfig(Section):
    """The optimisation."""

    epochs: Annotated[int, Field(ge=1, description="passes over the training set")] = 20
    batch_size: Annotated[int, Field(ge=1, description="images per step, over all devices")] = 128
    learning_rate: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="Adam's step size")
    ] = 1e-3
    adam_beta1: Annotated[
        float, Field(ge=0, lt=1, description="decay of Adam's mean of the gradients")
    ] = 0.9
    adam_epsilon: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False, description="what Adam adds to the root of its variance"),
    ] = 1e-8
    schedule: Annotated[
        Literal["constant", "cosine", "burda"],
        Field(
            description="learning rate over the epochs: constant, cosine to 0, or the eight stages "
            "of Burda et al. (3^i epochs at 10^(-i/7))"
        ),
    ] = "constant"
    seed: Annotated[
        int, Field(ge=0, lt=2**63, description="seed of weights, order of images and latent noise")
    ] = 0


class DeviceConfig(Section):
    """The machine."""

    device: Annotated[
        str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto, cpu, cuda or mps")
    ] = "auto"
    threads: Annotated[
        int,
        Field(
            ge=0,
            description="CPU threads; 0: one per core, as torch chooses. On a machine with other "
            "work --threads 1 can be twice as fast",
        ),
    ] = 0
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Field(
            description="precision of the matrix products; bfloat16 is autocast, and slow on "
            "processors without bfloat16 arithmetic"
        ),
    ] = "float32"
    compile: Annotated[
        Literal["off", "default", "reduce-overhead", "max-autotune"],
        Field(
            description="mode of torch.compile for the network; reduce-overhead replays CUDA "
            "graphs. On a CPU it gains nothing, so it is off"
        ),
    ] = "off"


class RunConfig(Section):
    """All settings of a run, as stored in its `config.json`.

    Its `Likelihood` is the distribution p(x|z), whose negative logarithm is the reconstruction
    term; its `Architecture` names a network of `latens_training.models.autoencoder`.
    """

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    machine: DeviceConfig = DeviceConfig()


def without_effect(config: RunConfig) -> dict[str, str]:
    """The settings that differ from their defaults without an effect, each with the reason."""
    model, loss, data = config.model, config.loss, config.data
    found: dict[str, str] = {}
    if model.architecture == "vae-conv":
        reason = "vae-conv has fixed layers; use --model vae-mlp"
        found |= dict.fromkeys(("hidden", "activation"), reason)
    if model.architecture == "ae-mlp":
        reason = "ae-mlp has no distribution over latents; use --model vae-mlp"
        found |= dict.fromkeys(("beta", "objective", "samples"), reason)
    if loss.likelihood == "bernoulli":
        found["sigma"] = "it belongs to --likelihood gaussian"
    if data.image_size is None:
        found["fit"] = "it says how pictures are fitted to --image-size"
    return {name: reason for name, reason in found.items() if _differs(config, name)}


def _differs(config: RunConfig, name: str) -> bool:
    for section in (config.model, config.loss, config.data):
        if name in type(section).model_fields:
            return bool(getattr(section, name) != type(section).model_fields[name].default)
    raise KeyError(name)
