"""What is done for every model every so often goes on when it fails once."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from latens_serving.models.repository import Repository, State
from latens_serving.monitoring.periodic import Rounds


def one_model() -> Repository:
    model = SimpleNamespace(name="mnist", version="1")
    entry = SimpleNamespace(state=State.READY, model=model)
    return cast("Repository", SimpleNamespace(entries=lambda: [entry]))


async def test_a_visit_that_fails_is_logged_and_the_next_one_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    visits: list[Any] = []
    second = asyncio.Event()

    async def visit(model: Any) -> None:
        visits.append(model.name)
        if len(visits) == 1:
            raise ValueError("a fault of ours")
        second.set()

    rounds = Rounds(one_model(), 0.001, visit)
    with caplog.at_level(logging.ERROR):
        rounds.start()
        await asyncio.wait_for(second.wait(), 10)
        await rounds.stop()

    assert visits[:2] == ["mnist", "mnist"]
    assert "a round failed" in caplog.text
    assert "a fault of ours" in caplog.text
