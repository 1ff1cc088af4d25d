"""The share of time that work without callers may take of a model's engines."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from latens_serving.models.model import LoadedModel

_LARGEST_SHARE = 0.02
_CHEAP_SECONDS = 0.05


class Pace:
    """Rests after each piece of work in proportion to how long it took, model by model.

    Work of less than `_CHEAP_SECONDS` needs no rest.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rests_until: dict[tuple[str, str], float] = {}

    def may_begin(self, model: LoadedModel) -> bool:
        return self._clock() >= self._rests_until.get((model.name, model.version), 0.0)

    @contextlib.contextmanager
    def of(self, model: LoadedModel) -> Iterator[None]:
        """Measures the work of the block."""
        begun = self._clock()
        try:
            yield
        finally:
            ended = self._clock()
            if ended - begun > _CHEAP_SECONDS:
                rest = (ended - begun) / _LARGEST_SHARE
                self._rests_until[model.name, model.version] = ended + rest
