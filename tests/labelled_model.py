"""A small conditional VAE on images whose class and style are known, and its bundle."""

from __future__ import annotations

from pathlib import Path

import torch

from latens_training import Dataset, ModelConfig, RunConfig, Split, TrainConfig, train
from latens_training.api import Run

SIDE = 8
NAMES = ("left", "right", "both")


def labelled() -> Dataset:
    """Images of a bar whose class says which halves are lit, and whose height is its style."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(240) % len(NAMES)
    top = torch.randint(0, SIDE - 1, (240, 1), generator=draw)
    rows = torch.arange(SIDE)
    bar = ((rows >= top) & (rows < top + 2)).view(-1, 1, SIDE, 1)
    left, right = ((labels != side).view(-1, 1, 1, 1) for side in (1, 0))
    halves = [(bar & side).expand(-1, 1, SIDE, SIDE // 2) for side in (left, right)]
    images = torch.cat(halves, 3).to(torch.uint8) * 255
    splits = Split(images[:192], labels[:192]), Split(images[192:], labels[192:])
    return Dataset("halves", *splits, class_names=NAMES)


def settings(epochs: int = 40, **model: object) -> RunConfig:
    fields = {"architecture": "vae-mlp", "latent_size": 2, "hidden": (32,), "conditional": True}
    return RunConfig(
        model=ModelConfig(**{**fields, **model}),  # type: ignore[arg-type]
        train=TrainConfig(epochs=epochs, batch_size=16, learning_rate=5e-3),
    )


def trained(out: Path, epochs: int = 40, **model: object) -> Run:
    return train(settings(epochs, **model), dataset=labelled(), out=out, quiet=True)
