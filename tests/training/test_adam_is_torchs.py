"""The trainer's optimiser is torch's Adam, bit for bit, over schedules and saved states."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from latens_training.adam import Adam

STEPS = 6


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return nn.Sequential(nn.Linear(7, 11), nn.Tanh(), nn.Linear(11, 3))


def set_gradients(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def torchs(rates: list[float]) -> list[torch.Tensor]:
    """Weights after a step at each rate by torch's own Adam."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), rates[0], fused=True)
    for step, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        set_gradients(model, step)
        optimizer.step()
    return list(model.parameters())


@pytest.mark.parametrize("rates", [[1e-3] * STEPS, [1e-2 / (1 + i) for i in range(STEPS)]])
def test_updates_are_torchs_steps(rates: list[float]) -> None:
    model = network()
    optimizer = Adam(model.parameters(), rates[0])
    for step, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        set_gradients(model, step)
        optimizer.update()
    for ours, theirs in zip(model.parameters(), torchs(rates), strict=True):
        assert torch.equal(ours, theirs)


def test_a_loaded_state_is_gone_on_with() -> None:
    model = network()
    first, second = (Adam(model.parameters(), 1e-3) for _ in range(2))
    set_gradients(model, 99)
    with torch.no_grad():
        before = copy.deepcopy(model.state_dict())
        second.update()
        model.load_state_dict(before)
    for step in range(STEPS):
        if step == STEPS // 2:
            second.load_state_dict(copy.deepcopy(first.state_dict()))
        set_gradients(model, step)
        (first if step < STEPS // 2 else second).update()
    for ours, theirs in zip(model.parameters(), torchs([1e-3] * STEPS), strict=True):
        assert torch.equal(ours, theirs)
