"""How a run is optimised, and on which machine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from latens_training.config.section import Section


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
    warmup: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="epochs over which the learning rate rises from 0 to its value",
        ),
    ] = 0.0
    weight_decay: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False, description="decoupled decay of the weights, as in AdamW"),
    ] = 0.0
    clip_norm: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="largest norm of a step's gradient; larger ones are scaled down. 0: none",
        ),
    ] = 0.0
    ema: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="decay per step of a moving average of the weights, which is the result "
            "where it is better on the --validation images. 0: none",
        ),
    ] = 0.0
    patience: Annotated[
        int,
        Field(
            ge=0,
            description="stop after so many epochs without a better result on the --validation "
            "images. 0: never",
        ),
    ] = 0
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
        Literal["float32", "tf32", "bfloat16"],
        Field(
            description="precision of products and convolutions; tf32 rounds their factors on a "
            "GPU, which float32 does not; bfloat16 is autocast, and slow on processors without "
            "bfloat16 arithmetic"
        ),
    ] = "float32"
    compile: Annotated[
        Literal["off", "default", "reduce-overhead", "max-autotune"],
        Field(
            description="mode of torch.compile for the network; reduce-overhead replays CUDA "
            "graphs. On a CPU it gains nothing, so it is off"
        ),
    ] = "off"
