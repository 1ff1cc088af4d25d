"""Imports the weights of Penkovsky's article "Day 9: Roaming The Latent Space" (10 days of grad).

Its program saves a flat list of tensors, weight before bias and layer after layer, as a TorchScript
archive without code (hasktorch's `save`). The tensors of its autoencoder, its MLP VAE and its
convolutional VAE are in the order of our networks' parameters.

TorchScript archives can contain code, so import only files that you trust. Nothing else in the
project reads them.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from pathlib import Path

import torch
from torch import Tensor

from latens_training.checkpoint import Checkpoint, save
from latens_training.config import LossConfig, ModelConfig, RunConfig, TrainConfig
from latens_training.data.types import Dataset
from latens_training.effects import completed
from latens_training.errors import DataError, NotFoundError, UsageError
from latens_training.metrics.evaluation import evaluate, latent_dims
from latens_training.models.autoencoder import Autoencoder, ImageShape
from latens_training.models.build import build
from latens_training.runs.record import RunRecord

IMAGE_SHAPE: ImageShape = (1, 28, 28)
_EPOCHS = 20
_MLP_TENSORS, _CONV_TENSORS, _AE_TENSORS = 10, 18, 8
_CONV_MEAN = 6
_BETA_IN_NAME = re.compile(r"beta_([0-9]+(?:\.[0-9]+)?)")


def read_tensors(path: Path) -> list[Tensor]:
    """The archive's tensors in their order, on the CPU.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is not such an archive.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            # torch warns that TorchScript is deprecated; these files were written years ago.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a TorchScript archive") from error
    named = dict(module.named_parameters())
    if set(named) != {str(place) for place in range(len(named))}:
        raise DataError(f"{path}: a TorchScript module, but not a list of tensors")
    return [named[str(place)].detach().float().clone() for place in range(len(named))]


def model_of(path: Path, tensors: list[Tensor]) -> tuple[ModelConfig, Autoencoder]:
    """The network of the tensors, with these weights.

    Raises:
        DataError: the tensors fit no known network, or are not finite.
    """
    config = _config_of(path, tensors)
    model = build(config, IMAGE_SHAPE)
    state = model.state_dict()
    for (name, expected), tensor in zip(state.items(), tensors, strict=True):
        if tensor.shape != expected.shape:
            raise DataError(
                f"{path}: its tensors are not those of {config.architecture}: {name} is "
                f"{tuple(tensor.shape)}, expected {tuple(expected.shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise DataError(f"{path}: {name} has values that are not finite")
    model.load_state_dict(dict(zip(state, tensors, strict=True)))
    return config, model.eval().requires_grad_(False)


def beta_in(path: Path) -> float | None:
    """The beta in the name of a file that the article's program wrote; None without one."""
    match = _BETA_IN_NAME.search(path.name)
    return float(match[1]) if match else None


def import_weights(path: Path, beta: float | None, dataset: Dataset, run: Path) -> Checkpoint:
    """Creates a run directory from the article's weights, measured on the data set.

    Args:
        path: the `.ht` file.
        beta: the weight of the KL term in its training, for the record; an autoencoder has none.
        dataset: MNIST, to measure the model and its latent coordinates on.
        run: the directory to write.

    Raises:
        TrainingError: the file cannot be used, or the run cannot be written.
    """
    model_config, model = model_of(path, read_tensors(path))
    if model.posterior == "deterministic":
        loss = LossConfig()
    elif beta is None:
        raise UsageError(f"beta: the name {path.name} has none; give --beta")
    else:
        loss = LossConfig(beta=beta)
    config = completed(RunConfig(model=model_config, loss=loss, train=TrainConfig(epochs=_EPOCHS)))
    terms = evaluate(model, dataset.test.images)
    record = RunRecord(
        config=config,
        image_shape=IMAGE_SHAPE,
        epoch=_EPOCHS,
        metrics=terms.metrics(model.posterior),
        latent_dims=latent_dims(model, dataset.train.images),
        dataset_sha256=dataset.digest(),
        environment={
            "imported": path.name,
            "imported_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
    )
    save(run, model, record)
    return Checkpoint(run, model, record)


def _config_of(path: Path, tensors: list[Tensor]) -> ModelConfig:
    if len(tensors) == _AE_TENSORS:
        hidden, latent = len(tensors[0]), len(tensors[2])
        return ModelConfig(
            architecture="ae-mlp",
            latent_size=latent,
            hidden=(hidden,),
            model_options={"relu_code": True},
        )
    if len(tensors) == _MLP_TENSORS and tensors[0].dim() == tensors[2].dim() == 2:
        hidden, latent = len(tensors[0]), len(tensors[2])
        return ModelConfig(architecture="vae-mlp", latent_size=latent, hidden=(hidden,))
    if len(tensors) == _CONV_TENSORS:
        latent = len(tensors[_CONV_MEAN])
        return ModelConfig(architecture="vae-conv", latent_size=latent)
    raise DataError(
        f"{path}: {len(tensors)} tensors; the article's VAEs have {_MLP_TENSORS} (MLP) "
        f"or {_CONV_TENSORS} (convolutional), its autoencoder {_AE_TENSORS}"
    )
