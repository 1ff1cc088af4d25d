"""The command `latens-serve`."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import CliApp

from latens_serving import logs
from latens_serving.calls.authorization import TokenFileError
from latens_serving.engine.errors import DeviceUnavailableError
from latens_serving.models.background import is_background_running
from latens_serving.models.layout import names_in
from latens_serving.models.repository import State
from latens_serving.self_test import self_test
from latens_serving.server import Server
from latens_serving.settings import Settings, unknown_variables
from latens_serving.startup import NothingToServeError, UnknownDefaultModelError
from latens_serving.transports.tls import CertificateError
from latens_serving.transports.tracing import TracingMissingError
from latens_serving.workers.supervisor import Supervisor
from latens_serving.workers.task import READY, WorkerTask, leave_with_supervisor

_OK, _FAILURE, _USAGE, _NOT_FOUND, _BAD_DATA = 0, 1, 2, 3, 5

# Failures that a user can correct: reported in one line, without a traceback.
_REFUSALS = (
    DeviceUnavailableError,
    CertificateError,
    TokenFileError,
    TracingMissingError,
    OSError,
)


class CommandLine(Settings):
    """Serves the models of a repository over gRPC; metrics and probes on the HTTP port.

    Each flag is also an environment variable: --http-port is LATENS_SERVE_HTTP_PORT. Flags win.

    Exit codes: 0 stopped on request, 1 failure, 2 usage, 3 no model found (or no such default
    model), 5 every model refused.
    """

    print_config: bool = False
    """Print the effective settings as JSON and exit."""
    self_test: bool = False
    """Load, verify and run every version in the repository on the wanted device, print a table of
    provider, milliseconds and rows per second by batch size, and exit: 0 if a server would serve
    all of them, else 1, 3 or 5. No port is opened."""


def main() -> None:
    """Runs the command and exits."""
    leave_process(run(sys.argv[1:]))


def leave_process(code: int) -> None:
    """Exits, even if a load does not return."""
    if is_background_running():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    if unknown := unknown_variables():
        return _complain(f"unknown environment variables: {', '.join(unknown)}", _USAGE)
    try:
        settings = CliApp.run(CommandLine, cli_args=arguments)
    except ValidationError as error:
        return _complain(_first_fault(error), _USAGE)
    if settings.print_config:
        print(settings.model_dump_json(indent=2, exclude={"print_config", "self_test"}))
        return _OK
    logs.configure(settings.log_format, settings.log_level)
    return _refusals_as_codes(
        lambda: _self_test(settings) if settings.self_test else _serve(settings)
    )


def _serve(settings: Settings) -> int:
    if settings.workers > 1:
        return asyncio.run(_supervise(settings))
    return _run(_live(settings))


def _self_test(settings: Settings) -> int:
    return _OK if asyncio.run(self_test(settings)) else _FAILURE


def _refusals_as_codes(work: Callable[[], int]) -> int:
    """Runs the work; prints what a user can correct in one line."""
    try:
        return work()
    except NothingToServeError as error:
        return _complain(str(error), _BAD_DATA if error.refused else _NOT_FOUND)
    except UnknownDefaultModelError as error:
        return _complain(str(error), _NOT_FOUND)
    except _REFUSALS as error:
        return _complain(str(error), _FAILURE)


def run_worker(task: WorkerTask) -> int:
    """Runs one of several worker processes; returns its exit code."""
    logs.configure(task.settings.log_format, task.settings.log_level)
    return _refusals_as_codes(lambda: _run(_work(task)))


def _run(life: Coroutine[Any, Any, int]) -> int:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(life)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, which saves a tenth of the time per call; the standard loop without uvloop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _live(settings: Settings) -> int:
    server = Server(settings)
    if not await _start(server):
        return _exit_code(server)
    names = sorted({e.name for e in server.models.entries() if e.state is State.READY})
    _welcome(names, settings, server.port, server.http_port)
    await server.run_until_stopped()
    return _exit_code(server)


async def _work(task: WorkerTask) -> int:
    server = Server(task.settings, task)
    orphaned = asyncio.create_task(leave_with_supervisor(server.leave))
    if not await _start(server):
        orphaned.cancel()
        return _exit_code(server)
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    await server.run_until_stopped()
    orphaned.cancel()
    return _exit_code(server)


async def _start(server: Server) -> bool:
    """Starts the server; False if it was asked to stop before it served."""
    serves = False
    try:
        serves = await server.start()
    finally:
        if not serves:
            await server.abandon()
    return serves


def _exit_code(server: Server) -> int:
    return _OK if server.failed is None else _FAILURE


async def _supervise(settings: Settings) -> int:
    supervisor = Supervisor(settings)
    announce = asyncio.Event()
    running = asyncio.create_task(supervisor.run(announce))
    announced = asyncio.create_task(announce.wait())
    await asyncio.wait((running, announced), return_when=asyncio.FIRST_COMPLETED)
    if announce.is_set():
        names = names_in(settings.repository)
        _welcome(names, settings, supervisor.port, supervisor.http_port)
    announced.cancel()
    return await running


def _welcome(names: list[str], settings: Settings, port: int, http_port: int) -> None:
    address, http_address = f"{settings.host}:{port}", f"http://{settings.host}:{http_port}"
    print(f"Latens serves {', '.join(names)} at {address}")
    if settings.explorer and settings.tls is None:
        print(f"Explore the latent space at {http_address}/")
    print(f"Metrics and probes at {http_address}/metrics, /healthz and /readyz")
    if sys.stdout.isatty():
        print("\nIn a second terminal:", *_commands(names, address), sep="\n")
        print("\nCtrl-C stops the server.")
    sys.stdout.flush()


def _commands(names: list[str], address: str) -> list[str]:
    """Commands to try."""
    latens = _client()
    reached = address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - not bound, but replaced
    at = "" if reached == "127.0.0.1:50051" else f" --address {reached}"
    first, last = names[0], names[-1]
    return [
        f"  {latens} models{at}",
        f"  {latens} sample{at} --model {first} -n 16 --seed 7 -o digits.png",
        f"  {latens} grid{at} --model {last} -o grid.png",
        f"  {latens} interpolate{at} --model {first} --seed 7 -o morph.gif",
    ]


def _client() -> str:
    """The client's command, with its path if it is beside this program and not on the PATH."""
    beside = Path(sys.executable).parent / "latens"
    if shutil.which("latens") or not beside.exists():
        return "latens"
    return os.path.relpath(beside)


def _first_fault(error: ValidationError) -> str:
    fault: Any = error.errors()[0]
    flag = "--" + "-".join(str(part).replace("_", "-") for part in fault["loc"])
    return f"{flag}: {fault['msg']}"


def _complain(message: str, code: int) -> int:
    print(f"latens-serve: {message}", file=sys.stderr)
    return code
