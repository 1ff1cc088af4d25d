"""The model that a request without a name means."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)


class DefaultModel:
    """A name that stays the same while the repository holds the model.

    Chosen when the server starts, so that a model that is exported later does not replace it.
    """

    def __init__(self, configured: str, shared: Path | None = None) -> None:
        """Pins the configured name; empty for the first ready model by name.

        Args:
            configured: the name, or empty.
            shared: a file through which several processes agree on the choice, so that a process
                that is started anew does not choose another model.
        """
        self._configured = configured
        self._shared = shared
        self.name = configured

    def update(self, held: set[str], ready: set[str]) -> None:
        """Chooses if nothing is chosen yet, or if the chosen model has gone.

        A configured name is never replaced.

        Args:
            held: the models of the repository, whatever their state.
            ready: those that can answer.
        """
        if self._configured or self.name in held or not ready:
            return
        before, self.name = self.name, self._agreed(min(ready), held)
        facts = {"model": self.name}
        if before:
            log.warning("default model changed", extra={"facts": facts | {"before": before}})
        else:
            log.info("default model", extra={"facts": facts})

    def _agreed(self, choice: str, held: set[str]) -> str:
        """The choice of the first process whose chosen model is still held; else this one."""
        if self._shared is None:
            return choice
        mine = self._shared.with_name(f"{self._shared.name}.{os.getpid()}")
        mine.write_text(choice)
        try:
            os.link(mine, self._shared)  # whole or not at all, and only if there is none yet
        except FileExistsError:
            found = self._shared.read_text()
            if found in held:
                return found
            mine.replace(self._shared)
        finally:
            mine.unlink(missing_ok=True)
        return choice
