"""The model that a request without a name means."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


class DefaultModel:
    """A name that stays the same while the repository holds the model.

    Chosen when the server starts, so that a model that is exported later does not replace it.
    """

    def __init__(self, configured: str) -> None:
        """Pins the configured name; empty for the first ready model by name."""
        self._configured = configured
        self.name = configured

    def update(self, held: set[str], ready: set[str]) -> None:
        """Chooses where there is no choice yet, or where the chosen model has gone.

        A configured name is never replaced.

        Args:
            held: the models of the repository, whatever their state.
            ready: those that can answer.
        """
        if self._configured or self.name in held or not ready:
            return
        before, self.name = self.name, min(ready)
        facts = {"model": self.name}
        if before:
            log.warning("default model changed", extra={"facts": facts | {"before": before}})
        else:
            log.info("default model", extra={"facts": facts})
