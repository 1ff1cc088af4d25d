"""What the command line says, and exits with, when something expected goes wrong."""

from __future__ import annotations

import grpc

from latens.errors import (
    DeadlineExceededError,
    InvalidInputError,
    LatensError,
    ModelNotFoundError,
    OverloadedError,
    UnavailableError,
)

FAILURE, USAGE, NOT_FOUND, UNAVAILABLE, BAD_DATA = 1, 2, 3, 4, 5
INTERRUPTED, TERMINATED = 130, 143

EXIT_CODES = f"""\
Exit codes: 0 ok, {FAILURE} failure, {USAGE} usage, {NOT_FOUND} not found, {UNAVAILABLE} \
unavailable, {BAD_DATA} bad data, {INTERRUPTED} interrupted, {TERMINATED} terminated."""


class CommandError(Exception):
    """A failure of a command with the code to exit with; the message is for people."""

    def __init__(self, message: str, exit_code: int = FAILURE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def bad_data(message: str) -> CommandError:
    return CommandError(message, BAD_DATA)


def exit_code_of(error: LatensError) -> int:
    match error:
        case ModelNotFoundError() | LatensError(code=grpc.StatusCode.NOT_FOUND):
            return NOT_FOUND
        case UnavailableError() | OverloadedError() | DeadlineExceededError():
            return UNAVAILABLE
        case InvalidInputError():
            return BAD_DATA
        case _:
            return FAILURE


def _cause(message: str) -> str:
    """What gRPC says last, after all that it was doing when it happened."""
    if "http1.x" in message:
        return "what is there speaks HTTP/1; is it the server's HTTP port?"
    return message.rpartition(": ")[2].rstrip("]")


def sentence_of(error: LatensError, address: str) -> str:
    """The error in words, with what to do about it where that is known."""
    lines = [error.message]
    lines += [
        f"  {violation.field}: {violation.description}"
        for violation in error.field_violations
        if violation.description not in error.message
    ]
    if isinstance(error, UnavailableError) and not error.reason:
        lines = [
            f"no server answers at {address} ({_cause(error.message)})",
            "Start one with `latens-serve`, or name another with --address HOST:PORT.",
        ]
    if incident := error.metadata.get("incident"):
        lines.append(f"  incident {incident}")
    return "\n".join(lines)
