"""One version of one model in a repository, and its state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from latens_serving.errors import NotReadyError
from latens_serving.models.layout import Fingerprint
from latens_serving.models.model import LoadedModel


class State(Enum):
    """Whether a version can answer."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(slots=True)
class Entry:
    """One version of one model, loaded or not."""

    name: str
    version: int
    fingerprint: Fingerprint
    state: State = State.LOADING
    reason: str = ""
    """Why it is not served, or why its reload was refused; shown to callers."""
    model: LoadedModel | None = None

    @property
    def sort_key(self) -> tuple[str, int]:
        """By name, then newest first."""
        return self.name, -self.version

    @property
    def has_ended(self) -> bool:
        """Whether no call holds it any more."""
        return self.model is None or self.model.is_idle

    def why_not_ready(self) -> NotReadyError:
        what = f"model {self.name!r} version {self.version}"
        if self.state is State.FAILED:
            return NotReadyError(f"{what} was refused when it was loaded")
        return NotReadyError(f"{what} is {self.state.value}", retry_after=1.0)
