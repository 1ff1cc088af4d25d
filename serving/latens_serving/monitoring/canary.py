"""Runs a row through every idle model, so that the failure of an idle device is found."""

from __future__ import annotations

import time
from collections.abc import Callable

from latens_serving.engine.batcher import Batcher
from latens_serving.errors import DeadlineError, DrainingError, LatensError, QueueFullError
from latens_serving.models.model import LoadedModel
from latens_serving.models.probe import Question, largest_difference, questions
from latens_serving.models.repository import Repository
from latens_serving.monitoring.pace import Pace
from latens_serving.monitoring.visits import visit_ready_models

_ANSWER_SECONDS = 30.0
# So many times the expected duration of the run, besides.
_PATIENCE = 4.0

# The row never ran, so these say nothing of the engine. A run that does not end is found by the
# batcher (`BatchLimits.stuck_seconds`).
_NEVER_RAN = (QueueFullError, DeadlineError, DrainingError)


class Canary:
    """Runs the first row of each idle model's probe, and compares the outputs.

    A model whose row takes long is checked the less often: see `Pace`.
    """

    def __init__(self, models: Repository, lost: Callable[[str, str, BaseException], None]) -> None:
        """Runs nothing yet.

        Args:
            models: the models to check.
            lost: called with a model's name, a graph and the error, when outputs are wrong.
        """
        self._models = models
        self._lost = lost
        self._pace = Pace()
        self._runs: dict[tuple[str, str], int] = {}

    async def check_idle_models(self) -> None:
        """Checks each model that has run nothing since the last check."""
        await visit_ready_models(self._models, self._check_if_idle)

    async def _check_if_idle(self, model: LoadedModel) -> None:
        key = (model.name, model.version)
        is_due = self._pace.may_begin(model)
        if is_due and self._runs.get(key) == _runs_of(model) and model.is_idle:
            with self._pace.of(model):
                await self.check(model)
        self._runs[key] = _runs_of(model)

    async def check(self, model: LoadedModel) -> None:
        """Sends the row through every graph, and reports failures and differences as lost."""
        probe = model.probe
        if probe is None:
            return
        model.hold()
        try:
            asked = questions(probe, model.spec.tolerance)
            for graph, batcher in model.batchers.items():
                await self._check_graph(model, graph, batcher, asked[graph])
        finally:
            model.release()

    async def _check_graph(
        self, model: LoadedModel, graph: str, batcher: Batcher, question: Question
    ) -> None:
        row = question.given[:1]
        patience = _ANSWER_SECONDS + _PATIENCE * batcher.expected_seconds(row)
        try:
            (answer, *_) = await batcher.submit(row, time.monotonic() + patience)
        except _NEVER_RAN:
            return
        except LatensError as error:
            self._lost(model.name, graph, error)
            return
        wanted, *_ = question.wanted.values()
        difference = largest_difference(wanted[:1], answer)
        if not difference <= question.allowed:  # also when it is NaN
            why = ValueError(f"the probe's output differs by {difference:.3g}")
            self._lost(model.name, graph, why)


def _runs_of(model: LoadedModel) -> int:
    return sum(statistics.runs for statistics in model.statistics.values())
