"""The command `latens-healthcheck`: checks whether a server on this machine answers calls.

Container engines run it every few seconds, so it imports only modules of the standard library that
load fast. It reads the environment variables of the server.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys

_OK, _UNAVAILABLE = 0, 4
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - names what it replaces


def main() -> None:
    """Runs the command and exits."""
    arguments = _parse(sys.argv[1:])
    sys.exit(check(arguments.host, arguments.http_port, arguments.timeout))


def check(host: str, http_port: int, timeout: float) -> int:
    """Requests `/readyz`, prints an error to stderr, and returns the exit code."""
    connection = http.client.HTTPConnection(_ANY_ADDRESS.get(host, host), http_port, timeout)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        word = response.read(200).decode("ascii", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        print(f"latens-healthcheck: {host}:{http_port}: {error}", file=sys.stderr)
        return _UNAVAILABLE
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        print(f"latens-healthcheck: {word}", file=sys.stderr)
        return _UNAVAILABLE
    return _OK


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="latens-healthcheck",
        description="Checks whether a server on this machine answers calls.",
        epilog="Exit codes: 0 it does, 2 usage, 4 it does not, or there is no server.",
    )
    parser.add_argument(
        "--host", default=os.environ.get("LATENS_SERVE_HOST", "127.0.0.1"), help="%(default)s"
    )
    parser.add_argument(
        "--http-port",
        type=int,
        default=os.environ.get("LATENS_SERVE_HTTP_PORT", "8080"),
        help="the server's HTTP port (%(default)s)",
    )
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds to wait (%(default)s)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
