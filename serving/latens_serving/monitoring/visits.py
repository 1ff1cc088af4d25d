"""Visits every model that is ready."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from latens_serving.models.model import LoadedModel
from latens_serving.models.repository import Repository

log = logging.getLogger(__name__)


async def visit_ready_models(
    models: Repository, visit: Callable[[LoadedModel], Awaitable[None]]
) -> None:
    """Awaits `visit` for each model in turn. One that fails is logged; the others are visited."""
    for model in models.ready_models():
        try:
            await visit(model)
        except Exception:
            facts = {"model": model.name, "version": model.version}
            log.exception("a visit failed", extra={"facts": facts})
