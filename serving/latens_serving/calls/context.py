"""What a service needs to know of a call, whatever carried it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class CallContext:
    """One call: what its transport knows of it, and what the service learns.

    Attributes:
        deadline: on the clock of `time.monotonic`, after which no one wants the answer.
        request_id: the caller's name for the call, or ours; for logs.
        model: filled in by the service: the model's name and version, and the rows it worked on.
    """

    deadline: float | None = None
    request_id: str = ""
    scopes: frozenset[str] = field(default_factory=frozenset)
    model: str = ""
    version: str = ""
    rows: int = 0
