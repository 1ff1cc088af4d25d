"""How long runs of an engine take: what was measured when it was loaded, corrected by each run."""

from __future__ import annotations

_NEWEST = 0.1  # the weight of the newest run


class RunSeconds:
    """A line: each run takes a constant time, and each element of its input a time of its own.

    A short run says how long a start takes, and a long one how long an element does. One figure for
    both would be wrong for a long queue whenever the runs before were short.
    """

    __slots__ = ("element_seconds", "start_seconds")

    def __init__(self, start_seconds: float = 0.0, element_seconds: float = 0.0) -> None:
        self.start_seconds = start_seconds
        self.element_seconds = element_seconds

    def expected(self, elements: int, runs: int = 1) -> float:
        """The seconds that this many runs take, of this many elements together."""
        return runs * self.start_seconds + elements * self.element_seconds

    def learn(self, elements: int, seconds: float) -> None:
        """Corrects the line by one run."""
        of_elements = elements * self.element_seconds
        if of_elements < self.start_seconds:
            rest = max(seconds - of_elements, 0.0)
            self.start_seconds += _NEWEST * (rest - self.start_seconds)
        else:
            rest = max(seconds - self.start_seconds, 0.0) / elements
            self.element_seconds += _NEWEST * (rest - self.element_seconds)
