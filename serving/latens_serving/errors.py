"""The errors that the service can report, for all transports.

An error has a reason (a word for programs), a message (a sentence for people) and a retry hint.
`latens_serving.calls.status` maps errors to the statuses of a transport.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class LatensError(Exception):
    """An error that is reported to the caller.

    Attributes:
        reason: the error's name for programs, in capitals; part of the contract.
        retry_after: seconds after which the caller may repeat the call on this server; None if a
            repetition is useless or the caller has to decide.
        metadata: short facts for programs, for example the largest row count allowed.
    """

    reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.metadata = metadata or {}


@dataclass(frozen=True, slots=True)
class Violation:
    """An invalid field of the request."""

    field: str
    """The path of the field, for example `images.shape`."""
    description: str
    """What was expected and what came."""


class InvalidInputError(LatensError):
    """The request contradicts the contract or the model's shapes and ranges."""

    reason = "INVALID_INPUT"

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations[:3]))
        self.violations = tuple(violations)

    @classmethod
    def at(cls, field: str, description: str) -> InvalidInputError:
        return cls([Violation(field, description)])


class TooLargeError(InvalidInputError):
    """The call has, or asks for, more rows or bytes than a call may; it must be split."""

    reason = "TOO_LARGE"


class ModelNotFoundError(LatensError):
    """There is no model of that name, or no such version of it."""

    reason = "MODEL_NOT_FOUND"


class QueueFullError(LatensError):
    """The model's queue has no room for the rows of the call."""

    reason = "QUEUE_FULL"


class OutOfDeviceMemoryError(LatensError):
    """The device does not have enough memory for the batch; a smaller one may fit."""

    reason = "DEVICE_MEMORY"


class UnavailableError(LatensError):
    """This server cannot answer now; another may."""

    reason = "UNAVAILABLE"


class DrainingError(UnavailableError):
    """The server is shutting down, or the model is being unloaded."""

    reason = "DRAINING"


class NotReadyError(UnavailableError):
    """The server or the model is not ready yet."""

    reason = "NOT_READY"


class DeadlineError(LatensError):
    """The deadline passed before the engine ran the rows of the call."""

    reason = "DEADLINE_EXCEEDED"


class UnauthenticatedError(LatensError):
    """The call has no token, or an unknown one."""

    reason = "UNAUTHENTICATED"


class PermissionDeniedError(LatensError):
    """The token does not have the scope that the call needs."""

    reason = "PERMISSION_DENIED"


class BundleRefusedError(LatensError):
    """The bundle cannot be served: it is damaged, has another schema, or fails its probe."""

    reason = "BUNDLE_REFUSED"


class NotOfferedError(LatensError):
    """The model lacks what the call needs, for example a prior; the message says what to do."""

    reason = "NOT_OFFERED"


class UnsupportedError(LatensError):
    """The call asks for a function that this server does not have."""

    reason = "UNSUPPORTED"


class EngineFailedError(LatensError):
    """The engine failed on a batch, or its thread ended. Only the log contains the cause."""

    reason = "INTERNAL"

    def __init__(self, message: str = "the engine failed") -> None:
        super().__init__(message)
