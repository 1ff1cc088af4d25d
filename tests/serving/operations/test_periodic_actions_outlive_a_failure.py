"""Periodic actions and visits to models continue after a failure."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from latens_serving.models.repository import Repository
from latens_serving.monitoring.visits import visit_ready_models
from latens_serving.periodic import Periodic


async def test_an_action_that_fails_is_logged_and_runs_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs: list[int] = []
    second = asyncio.Event()

    async def action() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("a fault of ours")
        second.set()

    periodic = Periodic("test", 0.001, action)
    with caplog.at_level(logging.ERROR):
        periodic.start()
        await asyncio.wait_for(second.wait(), 10)
        await periodic.stop()
    assert "periodic action failed" in caplog.text
    assert "a fault of ours" in caplog.text


async def test_without_an_interval_an_action_runs_only_when_told() -> None:
    ran = asyncio.Event()
    runs: list[int] = []

    async def action() -> None:
        runs.append(1)
        ran.set()

    periodic = Periodic("test", 0, action)
    periodic.start()
    for _ in range(10):
        await asyncio.sleep(0)
    assert runs == []
    periodic.run_now()
    await asyncio.wait_for(ran.wait(), 10)
    await periodic.stop()
    assert runs == [1]


async def test_a_visit_that_fails_does_not_keep_the_next_model_from_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ready = [SimpleNamespace(name=name, version="1") for name in ("first", "second")]
    models = cast("Repository", SimpleNamespace(ready_models=lambda: ready))
    visited: list[str] = []

    async def visit(model: Any) -> None:
        visited.append(model.name)
        raise ValueError("a fault of ours")

    with caplog.at_level(logging.ERROR):
        await visit_ready_models(models, visit)
    assert visited == ["first", "second"]
    assert "a fault of ours" in caplog.text
