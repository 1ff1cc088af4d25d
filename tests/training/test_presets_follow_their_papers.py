"""A preset that names a paper trains as its authors' program does."""

from __future__ import annotations

import pytest
import torch

from latens_training.cli.settings import sectioned
from latens_training.config import RunConfig
from latens_training.devices import Placement
from latens_training.models.build import build
from latens_training.presets import PRESETS, preset_values
from latens_training.trainer import Trainer

BURDA = [name for name in PRESETS if name.startswith("burda") and not name.endswith("short")]


def optimizer(preset: str) -> torch.optim.Adam:
    config = RunConfig.model_validate(sectioned(preset_values(preset)))
    images = torch.zeros((1, 1, 4, 4), dtype=torch.uint8)
    model = build(config.model, (1, 4, 4))
    return Trainer(model, images, config, Placement(torch.device("cpu"))).optimizer


@pytest.mark.parametrize("preset", BURDA)
def test_the_rows_of_burda_have_their_authors_adam(preset: str) -> None:
    (group,) = optimizer(preset).param_groups
    assert (group["betas"], group["eps"]) == ((0.99, 0.999), 1e-4)


@pytest.mark.parametrize("preset", ["mnist", "burda-vae-short"])
def test_the_others_have_torchs_adam(preset: str) -> None:
    (group,) = optimizer(preset).param_groups
    assert (group["betas"], group["eps"]) == ((0.9, 0.999), 1e-8)
