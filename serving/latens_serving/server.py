"""A server's life: up, load, serve, drain, down."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import signal
from collections.abc import Callable

from latens_serving.calls.admission import Door
from latens_serving.calls.authorization import Tokens
from latens_serving.engine.batcher import BatchReport
from latens_serving.errors import DrainingError
from latens_serving.mirror import Mirror
from latens_serving.models.loading import load
from latens_serving.models.repository import Repository, State
from latens_serving.models.watcher import Watcher
from latens_serving.monitoring.canary import Canary
from latens_serving.monitoring.drift import DriftWatch
from latens_serving.monitoring.loop_lag import LoopLag
from latens_serving.monitoring.metrics import Metrics
from latens_serving.service.admin import AdminServicer
from latens_serving.service.health import Health
from latens_serving.service.service import LatentService
from latens_serving.settings import Settings
from latens_serving.transports import tracing
from latens_serving.transports.frontends import FrontEnd
from latens_serving.transports.http.app import application
from latens_serving.transports.http.listener import WebServer
from latens_serving.transports.oip.service import OpenInferenceService
from latens_serving.transports.services import make_admin_server, make_server
from latens_serving.transports.tls import ssl_context
from latens_serving.workers.metrics import WorkerMetrics
from latens_serving.workers.task import WorkerTask

log = logging.getLogger(__name__)

_LAST_ANSWERS_SECONDS = 1.0
_YOUNG_OBJECTS = 20_000


class NothingToServeError(Exception):
    """The repository holds no model, or none that can be served."""

    def __init__(self, message: str, *, refused: bool) -> None:
        super().__init__(message)
        self.refused = refused


class Latens:
    """One server process: its parts, and the order in which they come and go."""

    def __init__(self, settings: Settings, worker: WorkerTask | None = None) -> None:
        """Takes both ports; for a worker, shares them.

        Raises:
            OSError: one of them cannot be had.
        """
        self.settings = settings
        self.metrics = Metrics()
        self.failed: BaseException | None = None
        self.admin_port: int | None = None
        self._loop = asyncio.get_running_loop()
        self.leave = asyncio.Event()
        """Set to have the server take leave in good order."""
        self._patient = True
        self.models = self._repository(worker)
        self.metrics.watch(self.models)
        self._watcher = Watcher(self.models, settings.watch_seconds)
        self._rounds = (
            self._watcher,
            Canary(self.models, settings.canary_seconds, self.lost),
            DriftWatch(self.models, self.metrics, settings.drift_seconds),
            LoopLag(self.metrics.loop_lag),
        )
        self.health = Health(self.metrics, self.models)
        self.door = Door(self.models)
        self.service = LatentService(self.models, self.door)
        open_inference = OpenInferenceService(self.models, self.door)
        tokens = Tokens(settings.tokens)
        self._tracing = tracing.from_environment() if settings.tracing else None
        self._grpc = make_server(
            *(settings, self.service, open_inference, self.health, self.metrics, tokens),
            self._tracing,
        )
        self.port = self._grpc.bind(settings.host, settings.port)
        self._admin = self._admin_server(tokens, worker)
        self._serving_message = "worker serving" if worker else "serving"
        self._summed = (
            WorkerMetrics(worker.folder, worker.name, self.metrics.exposition) if worker else None
        )
        self._web = self._web_server(tokens, shared=worker is not None)
        self.http_port = self._web.port

    async def start(self) -> None:
        """Listens, loads every model, and only then says SERVING.

        Raises:
            NothingToServeError: there is no model that could answer.
        """
        self._take_signals()
        await self.health.set_serving(False)
        if self._summed is not None:
            await self._summed.start()
        self._web.start()
        await self._grpc.start()
        if self._admin is not None:
            await self._admin.start()
        await self.models.refresh()
        self._check_models()
        _settle_memory()
        await self.health.set_serving(True)
        for task in self._rounds:
            task.start()
        facts = {
            "address": f"{self.settings.host}:{self.port}",
            "http_address": f"{self.settings.host}:{self.http_port}",
            "default_model": self.models.default_name,
        }
        if self.admin_port is not None:
            facts["admin_address"] = f"{self.settings.admin_host}:{self.admin_port}"
        log.info(self._serving_message, extra={"facts": facts})

    async def _expose(self) -> bytes:
        if self._summed is None:
            return self.metrics.exposition()
        return await self._summed.exposition()

    async def run_until_stopped(self) -> None:
        """Waits for a signal, or for an engine to be lost, and takes leave in good order."""
        await self.leave.wait()
        await self.stop()

    async def stop(self) -> None:
        """Says NOT_SERVING, waits, refuses what is new, finishes what was accepted, ends."""
        log.info("draining", extra={"facts": {"calls": self.door.calls_in_flight}})
        await self.health.drain()
        if self._patient and self.failed is None:
            await asyncio.sleep(self.settings.drain_delay)
        self.door.refuse(functools.partial(DrainingError, "the server is shutting down"))
        await self.door.wait_idle(self.settings.grace)
        for task in self._rounds:
            await task.stop()
        await self._grpc.stop(_LAST_ANSWERS_SECONDS)
        if self._admin is not None:
            await self._admin.stop(_LAST_ANSWERS_SECONDS)
        self.models.close()
        await self._web.stop()
        if self._summed is not None:
            await self._summed.stop()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.shutdown)
        log.info("stopped")

    async def abandon(self) -> None:
        """Ends at once: it never came to serve."""
        await self._grpc.stop(None)
        if self._admin is not None:
            await self._admin.stop(None)
        self.models.close()
        await self._web.stop()
        if self._summed is not None:
            await self._summed.stop()

    def _repository(self, worker: WorkerTask | None) -> Repository:
        settings = self.settings
        return Repository(
            settings.repository,
            functools.partial(load, options=settings.load_options(), observer=self),
            default_model=settings.default_model,
            max_versions=settings.max_versions,
            unwanted=worker.unloaded if worker else (),
            fetch=_fetch_of(settings),
        )

    def _web_server(self, tokens: Tokens, *, shared: bool) -> WebServer:
        settings = self.settings
        app = application(
            *(settings, self.service, self.models, self.health, self.metrics, tokens),
            *(self._expose, self._tracing),
        )
        context = None
        if settings.tls is not None and settings.http_tls:
            context = ssl_context(settings.tls, "http/1.1")
        return WebServer(app, settings.host, settings.http_port, context, reuse_port=shared)

    def _admin_server(self, tokens: Tokens, worker: WorkerTask | None) -> FrontEnd | None:
        settings = self.settings
        if settings.admin_port is None:
            return None
        servicer, health = AdminServicer(self.models, self.door, self.leave.set), self.health
        if worker is not None:  # the supervisor asks, and counts: it has the address
            quiet = settings.model_copy(update={"log_calls": "none"})
            server = make_admin_server(quiet, servicer, health.servicer, Metrics(), Tokens(None))
            server.bind_socket(worker.admin_socket)
            return server
        server = make_admin_server(settings, servicer, health.servicer, self.metrics, tokens)
        self.admin_port = server.bind(settings.admin_host, settings.admin_port)
        return server

    def ran(self, model: str, graph: str, provider: str, report: BatchReport) -> None:
        """Told of each run of an engine."""
        self.metrics.ran(model, graph, provider, report)

    def lost(self, model: str, graph: str, error: BaseException) -> None:
        """Told when an engine is gone: the process ends, so that it is started anew."""
        facts = {"model": model, "graph": graph, "error": str(error)}
        log.critical("engine lost", extra={"facts": facts})
        self.failed = error
        self._loop.call_soon_threadsafe(self.leave.set)  # an engine's thread may be the one to tell

    def _check_models(self) -> None:
        entries = self.models.entries()
        if any(entry.state is State.READY for entry in entries):
            return
        root = self.settings.repository
        if not entries:
            raise NothingToServeError(
                f"no model in {root}: export one with latens-export RUN --repository {root}",
                refused=False,
            )
        reasons = "\n".join(f"  {entry.name}/{entry.version}: {entry.reason}" for entry in entries)
        raise NothingToServeError(f"every model in {root} was refused:\n{reasons}", refused=True)

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number)
        loop.add_signal_handler(signal.SIGHUP, self._watcher.look_now)

    def _signalled(self, number: int) -> None:
        if self.leave.is_set():
            os._exit(128 + number)  # asked twice: at once, whatever is under way
        # Ctrl-C is a person who waits; SIGTERM is a platform whose routes lag behind.
        self._patient = number == signal.SIGTERM
        self.leave.set()


def _settle_memory() -> None:
    """Keeps the collector off what was loaded, and off calls, which leave no cycles behind.

    Measured with 64 callers of single images: collections took a tenth of the CPU time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])


def _fetch_of(settings: Settings) -> Callable[[], None]:
    if settings.source:
        return Mirror(settings.source, settings.repository).sync
    return lambda: None
