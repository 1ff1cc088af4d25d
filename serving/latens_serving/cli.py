"""The command `latens-serve`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from pydantic import ValidationError
from pydantic_settings import CliApp

from latens_serving import logs
from latens_serving.calls.authorization import TokenFileError
from latens_serving.engine.onnx import DeviceUnavailableError
from latens_serving.mirror import MirrorError
from latens_serving.models.layout import names_in
from latens_serving.models.repository import State
from latens_serving.server import Latens, NothingToServeError
from latens_serving.settings import Settings, unknown_variables
from latens_serving.transports.frontends import FrontEndMissingError
from latens_serving.transports.tls import CertificateError
from latens_serving.transports.tracing import TracingMissingError
from latens_serving.welcome import welcome
from latens_serving.workers.supervisor import Supervisor
from latens_serving.workers.task import READY, WorkerTask, leave_with_supervisor

_OK, _FAILURE, _USAGE, _NOT_FOUND, _BAD_DATA = 0, 1, 2, 3, 5

# Failures that a user can put right: reported in one line, without a traceback.
_REFUSALS = (
    DeviceUnavailableError,
    FrontEndMissingError,
    CertificateError,
    TokenFileError,
    MirrorError,
    TracingMissingError,
    OSError,
)


class CommandLine(Settings):
    """Serves the models of a repository over gRPC; metrics and probes on the HTTP port.

    Each flag is also an environment variable: --http-port is LATENS_SERVE_HTTP_PORT. Flags win.

    Exit codes: 0 stopped on request, 1 failure, 2 usage, 3 no model found, 5 every model refused.
    """

    print_config: bool = False
    """Print the effective settings as JSON and exit."""


def main() -> None:
    """Runs the command and exits."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    if unknown := unknown_variables():
        return _complain(f"unknown environment variables: {', '.join(unknown)}", _USAGE)
    try:
        settings = CliApp.run(CommandLine, cli_args=arguments)
    except ValidationError as error:
        return _complain(_first_fault(error), _USAGE)
    if settings.print_config:
        print(settings.model_dump_json(indent=2, exclude={"print_config"}))
        return _OK
    logs.configure(settings.log_format, settings.log_level)
    return _serve(settings)


def _serve(settings: Settings) -> int:
    try:
        if settings.workers > 1:
            return asyncio.run(_supervise(settings))
        return _run(_live(settings))
    except NothingToServeError as error:
        return _complain(str(error), _BAD_DATA if error.refused else _NOT_FOUND)
    except _REFUSALS as error:
        return _complain(str(error), _FAILURE)


def run_worker(task: WorkerTask) -> int:
    """Runs one of several processes; returns its exit code."""
    logs.configure(task.settings.log_format, task.settings.log_level)
    try:
        return _run(_work(task))
    except NothingToServeError as error:
        return _complain(str(error), _BAD_DATA if error.refused else _NOT_FOUND)
    except _REFUSALS as error:
        return _complain(str(error), _FAILURE)


def _run(life: Coroutine[Any, Any, int]) -> int:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(life)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, which saves a tenth of each call; the standard loop where it is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _live(settings: Settings) -> int:
    latens = Latens(settings)
    await _start(latens)
    names = sorted({e.name for e in latens.models.entries() if e.state is State.READY})
    _welcome(names, settings, latens.port, latens.http_port)
    await latens.run_until_stopped()
    return _OK if latens.failed is None else _FAILURE


async def _work(task: WorkerTask) -> int:
    latens = Latens(task.settings, task)
    orphaned = asyncio.create_task(leave_with_supervisor(latens.leave))
    await _start(latens)
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    await latens.run_until_stopped()
    orphaned.cancel()
    return _OK if latens.failed is None else _FAILURE


async def _start(latens: Latens) -> None:
    try:
        await latens.start()
    except BaseException:
        await latens.abandon()
        raise


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
    text = welcome(
        names,
        f"{settings.host}:{port}",
        f"{settings.host}:{http_port}",
        with_commands=sys.stdout.isatty(),
        explorer=settings.explorer and settings.tls is None,
    )
    print(text, flush=True)


def _first_fault(error: ValidationError) -> str:
    fault: Any = error.errors()[0]
    flag = "--" + "-".join(str(part).replace("_", "-") for part in fault["loc"])
    return f"{flag}: {fault['msg']}"


def _complain(message: str, code: int) -> int:
    print(f"latens-serve: {message}", file=sys.stderr)
    return code
