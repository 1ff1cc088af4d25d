"""A row now and then through every model that no one calls: a device that died is found idle."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from latens_serving.engine.batcher import Batcher
from latens_serving.errors import DrainingError, LatensError, QueueFullError
from latens_serving.models.model import LoadedModel
from latens_serving.models.probe import Question, questions
from latens_serving.models.repository import Repository
from latens_serving.monitoring.periodic import Rounds

_ANSWER_SECONDS = 30.0


class Canary:
    """Asks each idle model for the first row of its probe, and compares with what it must be."""

    def __init__(
        self, models: Repository, interval: float, lost: Callable[[str, str, BaseException], None]
    ) -> None:
        """Makes one at rest.

        Args:
            models: whose models to ask.
            interval: seconds between rounds; 0 for none at all.
            lost: told of a model (name, graph, why) that does not answer as it must.
        """
        self._rounds = Rounds(models, interval, self._ask_if_idle)
        self._lost = lost
        self._runs: dict[tuple[str, str], int] = {}

    def start(self) -> None:
        self._rounds.start()

    async def stop(self) -> None:
        await self._rounds.stop()

    async def _ask_if_idle(self, model: LoadedModel) -> None:
        key = (model.name, model.version)
        runs = sum(statistics.runs for statistics in model.statistics.values())
        if self._runs.get(key) == runs and model.is_idle:
            await self.ask(model)
        self._runs[key] = sum(statistics.runs for statistics in model.statistics.values())

    async def ask(self, model: LoadedModel) -> None:
        """Sends the row through every graph; what fails or differs is told as lost."""
        probe = model.probe
        if probe is None:
            return
        model.hold()
        try:
            asked = questions(probe, model.contract.tolerance)
            for graph, batcher in model.batchers.items():
                await self._ask(model, graph, batcher, asked[graph])
        finally:
            model.release()

    async def _ask(
        self, model: LoadedModel, graph: str, batcher: Batcher, question: Question
    ) -> None:
        deadline = time.monotonic() + _ANSWER_SECONDS
        try:
            (answer, *_) = await batcher.submit(question.given[:1], deadline)
        except (QueueFullError, DrainingError):
            return  # it is anything but idle, or on its way out
        except LatensError as error:
            self._lost(model.name, graph, error)
            return
        wanted, *_ = question.wanted.values()
        difference = float(np.abs(answer - wanted[:1]).max())
        if not difference <= question.allowed:  # also when it is NaN
            told = ValueError(f"the probe's answer is off by {difference:.3g}")
            self._lost(model.name, graph, told)
