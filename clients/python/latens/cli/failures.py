"""The messages and exit codes of failures that a user can put right."""

from __future__ import annotations

import grpc

from latens.errors import (
    DeadlineExceededError,
    InvalidInputError,
    LatensError,
    ModelNotFoundError,
    NotOfferedError,
    OverloadedError,
    TlsError,
    TlsProblem,
    UnavailableError,
)

FAILURE, USAGE, NOT_FOUND, UNAVAILABLE, BAD_DATA = 1, 2, 3, 4, 5
INTERRUPTED, TERMINATED = 130, 143

EXIT_CODES = f"""\
Exit codes: 0 ok, {FAILURE} failure, {USAGE} usage, {NOT_FOUND} not found, {UNAVAILABLE} \
unavailable, {BAD_DATA} bad data, {INTERRUPTED} interrupted, {TERMINATED} terminated."""

TLS_ADVICE = {
    TlsProblem.UNTRUSTED: "Name the file of its authority with --ca-file FILE.",
    TlsProblem.EXPIRED: "The server's operator has to renew it; check this machine's clock, too.",
    TlsProblem.NAME_MISMATCH: "Use an address with that name, or give it with --server-name.",
    TlsProblem.SERVER_IS_PLAIN: "Leave out --tls and the options that imply it.",
    TlsProblem.SERVER_WANTS_TLS: "Add --tls, or --ca-file FILE for an authority of your own.",
    TlsProblem.CLIENT_CERTIFICATE: "Name one that it accepts with --cert-file and --key-file.",
}


class CommandError(Exception):
    """A failure of a command with the code to exit with; the message is for the user."""

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
        case InvalidInputError() | NotOfferedError():
            return BAD_DATA
        case _:
            return FAILURE


def sentence_of(error: LatensError, address: str) -> str:
    """The error in words, with advice where there is some."""
    lines = [error.message]
    lines += [
        f"  {violation.field}: {violation.description}"
        for violation in error.field_violations
        if violation.description not in error.message
    ]
    if isinstance(error, TlsError) and error.problem is not None:
        lines.append(TLS_ADVICE[error.problem])
    elif isinstance(error, UnavailableError) and not error.reason:
        lines = _unreachable(error.message, address)
    elif isinstance(error, DeadlineExceededError):
        lines.append("Allow more with --timeout SECONDS.")
    if incident := error.metadata.get("incident"):
        lines.append(f"  incident {incident}")
    return "\n".join(lines)


def _unreachable(message: str, address: str) -> list[str]:
    if "http1.x" in message:
        return [f"{address} answers by HTTP/1, expected gRPC; is it the server's HTTP port?"]
    cause = message.rpartition(": ")[2].rstrip("]")  # gRPC names what it was doing first
    lines = [f"no server answers at {address} ({cause})"]
    if "refused" in cause:
        lines.append("Start one with `latens-serve`, or name another with --address HOST:PORT.")
    return lines
