"""Gradients that are written out for the article's network are those of autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from latens_training.config import (
    DeviceConfig,
    LossConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
)
from latens_training.devices import Placement
from latens_training.effects import completed
from latens_training.likelihoods.continuous import Bernoulli
from latens_training.likelihoods.registry import build_likelihood
from latens_training.models.build import build
from latens_training.models.mlp import MlpDecoder
from latens_training.objectives.batch import Batch
from latens_training.objectives.registry import build_objective
from latens_training.optimization.direct_gradients import DirectGradients
from latens_training.trainer import Trainer

SHAPE = (1, 6, 5)
CPU = Placement(torch.device("cpu"))


def settings(
    model: dict[str, Any] | None = None,
    loss: dict[str, Any] | None = None,
    machine: dict[str, Any] | None = None,
) -> RunConfig:
    return completed(
        RunConfig(
            model=ModelConfig(**{"latent_size": 3, "hidden": (7,), **(model or {})}),
            loss=LossConfig(**(loss or {})),
            train=TrainConfig(batch_size=8),
            machine=DeviceConfig(**(machine or {})),
        )
    )


def trainer_of(config: RunConfig, label_count: int = 0) -> Trainer:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (20, *SHAPE), dtype=torch.uint8)
    labels = torch.arange(20) % max(label_count, 1)
    model = build(config.model, SHAPE, label_count=label_count)
    return Trainer(model, images, config, CPU, labels=labels)


@pytest.mark.parametrize("hidden", [(7,), (9, 4), (8, 8, 5)])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_they_are_those_of_autograd(hidden: tuple[int, ...], activation: str, beta: float) -> None:
    config = settings({"hidden": hidden, "activation": activation}, {"beta": beta})
    torch.manual_seed(1)
    model = build(config.model, SHAPE).double()
    objective = build_objective(config.loss, model)
    direct = DirectGradients.of(model, objective, config, CPU)
    assert direct is not None
    images, noise = torch.rand(8, *SHAPE).double(), torch.randn(1, 8, 3).double()

    batch = Batch(model(images, noise), images, Bernoulli(), 0.0, 8)
    expected = objective(batch)
    (expected["loss"] / len(images)).backward()
    wanted = {
        name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None
    }
    assert len(wanted) == len(list(model.parameters()))

    for attempt in range(2):  # the second one writes over the first one's
        found = direct.step(images, noise[0])
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value.detach(), rtol=1e-12, atol=1e-12)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(
                parameter.grad, wanted[name], rtol=1e-10, atol=1e-12, msg=f"{name} {attempt}"
            )


def test_a_run_takes_the_same_course_as_with_autograd() -> None:
    direct, plain = trainer_of(settings()), trainer_of(settings())
    assert direct.direct is not None
    plain.direct = None
    for _ in range(3):
        for trainer in (direct, plain):
            trainer.run_epoch(lambda: False, lambda: None)
        first, second = direct.finish_epoch(), plain.finish_epoch()
        assert first == pytest.approx(second, rel=1e-5)
    for one, other in zip(direct.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_clipping_holds_for_them_too() -> None:
    config = settings()
    clipped = config.train.model_copy(update={"clip_norm": 0.01})
    trainer = trainer_of(config.model_copy(update={"train": clipped}))
    assert trainer.direct is not None
    trainer.run_epoch(lambda: False, lambda: None)
    norm = torch.stack(
        [one.grad.norm() for one in trainer.model.parameters() if one.grad is not None]
    )
    assert float(norm.norm()) <= 0.01 + 1e-6


@pytest.mark.parametrize(
    "other",
    [
        {"model": {"architecture": "ae-mlp"}},
        {"loss": {"samples": 2}},
        {"loss": {"likelihood": "gaussian"}},
        {"loss": {"objective": "beta-tc"}},
        {"loss": {"objective_options": {"free_bits": 0.1}}},
        {"loss": {"objective_options": {"kl_warmup": 2.0}}},
        {"machine": {"precision": "bfloat16"}},
    ],
)
def test_everything_else_is_left_to_autograd(other: dict[str, Any]) -> None:
    config = settings(**other)
    model = build(config.model, SHAPE, build_likelihood(config.loss))
    objective = build_objective(config.loss, model)
    assert DirectGradients.of(model, objective, config, CPU) is None


class Squared(MlpDecoder):
    """A decoder of one's own, made of ours."""

    def forward(self, latents: Tensor) -> Tensor:
        return super().forward(latents.square())


def test_a_subclass_of_our_network_is_left_to_autograd() -> None:
    config = settings()
    model = build(config.model, SHAPE)
    objective = build_objective(config.loss, model)
    assert DirectGradients.of(model, objective, config, CPU) is not None
    model.decoder = Squared(SHAPE, 3, (7,), "relu")
    assert DirectGradients.of(model, objective, config, CPU) is None


def test_a_conditional_network_is_left_to_autograd() -> None:
    trainer = trainer_of(settings({"conditional": True}), label_count=2)
    assert trainer.direct is None
    trainer.run_epoch(lambda: False, lambda: None)
