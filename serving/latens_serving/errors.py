"""Every failure that the service can report, whatever the transport.

A failure names its reason (a word for programs), a message (a sentence for people) and how it may
be retried. What turns one into a status of a transport is in `latens_serving.calls.status`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class LatensError(Exception):
    """A failure with a meaning to the caller.

    Attributes:
        reason: the failure's name for programs, in capitals; part of the contract.
        retry_after: seconds after which the same call may be tried again here; None when that is
            useless or the caller's to decide.
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
    """One field of the request at fault."""

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
    """The call carries, or asks for, more rows or bytes than one call may; split it."""

    reason = "TOO_LARGE"


class ModelNotFoundError(LatensError):
    """No model, or no version of it, of that name."""

    reason = "MODEL_NOT_FOUND"


class QueueFullError(LatensError):
    """More rows or bytes wait than the model's queue may hold."""

    reason = "QUEUE_FULL"


class OutOfDeviceMemoryError(LatensError):
    """The device has not enough memory for the batch; a smaller one may fit."""

    reason = "DEVICE_MEMORY"


class UnavailableError(LatensError):
    """This server cannot answer now; another may."""

    reason = "UNAVAILABLE"


class DrainingError(UnavailableError):
    """The server, or the model, is going away."""

    reason = "DRAINING"


class NotReadyError(UnavailableError):
    """The server, or the model, has not come up."""

    reason = "NOT_READY"


class DeadlineError(LatensError):
    """The caller's deadline passed before the engine took the call's rows."""

    reason = "DEADLINE_EXCEEDED"


class UnauthenticatedError(LatensError):
    """No token, or one that is not known."""

    reason = "UNAUTHENTICATED"


class PermissionDeniedError(LatensError):
    """The token does not carry the scope that the call needs."""

    reason = "PERMISSION_DENIED"


class BundleRefusedError(LatensError):
    """A bundle that cannot be served: damaged, of another schema, or unlike its probe."""

    reason = "BUNDLE_REFUSED"


class UnsupportedError(LatensError):
    """The call asks for what this server does not do."""

    reason = "UNSUPPORTED"


class EngineFailedError(LatensError):
    """The engine raised on a batch, or its thread died; the chained cause stays in our log."""

    reason = "INTERNAL"

    def __init__(self, message: str = "the engine failed") -> None:
        super().__init__(message)
