"""What a service needs to know of a call, whatever transport carried it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class CallContext:
    """One call: what its transport knows of it, and what the service learns.

    Attributes:
        deadline: on the clock of `time.monotonic`, after which no one wants the answer.
        request_id: the call's name in the log: the caller's, or one of ours.
        begun: when the call began, on the same clock.
        model: the model's name; filled in by the service, as are `version` and `rows`.
        version: the version that answers.
        rows: how many rows the call sends through the model.
    """

    deadline: float | None = None
    request_id: str = ""
    begun: float = 0.0
    model: str = ""
    version: str = ""
    rows: int = 0
