"""Starts and stops a server: listen, load, serve, drain, stop."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING

from latens_serving.calls.admission import Admission
from latens_serving.calls.authorization import Tokens
from latens_serving.engine.batcher import BatchReport
from latens_serving.errors import DrainingError
from latens_serving.models.loading import load
from latens_serving.models.repository import Repository
from latens_serving.monitoring.canary import Canary
from latens_serving.monitoring.drift import DriftWatch
from latens_serving.monitoring.loop_lag import LoopLag
from latens_serving.monitoring.metrics import Metrics
from latens_serving.periodic import Periodic
from latens_serving.service.admin import AdminService
from latens_serving.service.health import Health
from latens_serving.service.service import LatentService
from latens_serving.settings import Settings
from latens_serving.startup import check_models
from latens_serving.transports import tracing
from latens_serving.transports.frontends import FrontEnd
from latens_serving.transports.late_web_server import LateWebServer
from latens_serving.transports.listening import listen
from latens_serving.transports.oip.service import OpenInferenceService
from latens_serving.transports.services import make_admin_server, make_server
from latens_serving.transports.tls import ssl_context
from latens_serving.workers.metrics import WorkerMetrics
from latens_serving.workers.task import WorkerTask

if TYPE_CHECKING:
    from latens_serving.transports.http.listener import WebServer

log = logging.getLogger(__name__)

_LAST_ANSWERS_SECONDS = 1.0
_ALONE_SECONDS = 0.5
_YOUNG_OBJECTS = 5_000


class Server:
    """One server process: its parts, and the order in which they start and stop."""

    def __init__(self, settings: Settings, worker: WorkerTask | None = None) -> None:
        """Binds both ports; a worker shares them with others.

        Raises:
            OSError: a port cannot be bound.
        """
        self.settings = settings
        self.metrics = Metrics()
        self.failed: BaseException | None = None
        self.admin_port: int | None = None
        self._loop = asyncio.get_running_loop()
        self.leave = asyncio.Event()
        """Starts a graceful shutdown when set."""
        self._patient = True
        self.models = self._repository(worker)
        self.metrics.watch(self.models)
        self._watch = Periodic("watch", settings.watch_seconds, self.models.refresh)
        self._periodic = (self._watch, *self._monitoring())
        self.health = Health(self.metrics, self.models)
        self.admission = Admission(self.models)
        self.service = LatentService(self.models, self.admission)
        open_inference = OpenInferenceService(self.models, self.admission)
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
        self._web = LateWebServer(
            listen(settings.host, settings.http_port, reuse_port=worker is not None),
            functools.partial(self._web_server, tokens),
        )
        self.http_port = self._web.port

    async def start(self) -> bool:
        """Listens, loads every model, and then reports SERVING.

        Returns:
            Whether it serves: False if it was asked to stop while loading.

        Raises:
            NothingToServeError: no model is ready.
            UnknownDefaultModelError: the configured default model does not exist.
        """
        self._take_signals()
        await self.health.set_serving(False)
        if self._summed is not None:
            await self._summed.start()
        await self._grpc.start()
        if self._admin is not None:
            await self._admin.start()
        if not await self._load_unless_stopped():
            return False
        await self._web.started()
        check_models(self.models, self.settings.repository)
        _settle_memory()
        await self.health.set_serving(True)
        for task in self._periodic:
            task.start()
        self._announce()
        return True

    async def _load_unless_stopped(self) -> bool:
        """Loads the models; False if the server is asked to stop, even if a load does not end."""
        log.info("loading models", extra={"facts": {"repository": str(self.settings.repository)}})
        loading = asyncio.ensure_future(self.models.refresh())
        leaving = asyncio.ensure_future(self.leave.wait())
        try:
            first = asyncio.FIRST_COMPLETED
            # Small models are loaded before; so the first call waits for no packages of HTTP.
            await asyncio.wait((loading, leaving), timeout=_ALONE_SECONDS, return_when=first)
            self._web.start()
            await asyncio.wait((loading, leaving), return_when=first)
            if self.leave.is_set():
                log.info("stopped while loading")
                return False
            await loading
            return True
        finally:
            for task in (loading, leaving):
                task.cancel()
            await asyncio.gather(loading, leaving, return_exceptions=True)

    def _announce(self) -> None:
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
        """Waits for a signal, or for an engine to be lost, and shuts down gracefully."""
        await self.leave.wait()
        await self.stop()

    async def stop(self) -> None:
        """Reports NOT_SERVING, waits, refuses new calls, finishes the accepted ones, and ends."""
        log.info("draining", extra={"facts": {"calls": self.admission.calls_in_flight}})
        await self.health.drain()
        if self._patient and self.failed is None:
            await asyncio.sleep(self.settings.drain_delay)
        self.admission.refuse(functools.partial(DrainingError, "the server is shutting down"))
        await self.admission.wait_idle(self.settings.grace)
        for task in self._periodic:
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
        """Immediately ends a server that never reported SERVING."""
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
            shared_default=worker.folder / "default-model" if worker else None,
            max_versions=settings.max_versions,
            load_seconds=settings.load_seconds,
            unwanted=worker.unloaded if worker else (),
        )

    def _monitoring(self) -> tuple[Periodic, ...]:
        settings, lag = self.settings, LoopLag(self.metrics.loop_lag)
        canary, drift = Canary(self.models, self.lost), DriftWatch(self.models, self.metrics)
        return (
            Periodic("canary", settings.canary_seconds, canary.check_idle_models),
            Periodic("drift", settings.drift_seconds, drift.measure_samples),
            Periodic("loop lag", lag.interval, lag.measure),
        )

    def _web_server(self, tokens: Tokens, listening: socket.socket) -> WebServer:
        from latens_serving.transports.http.app import application
        from latens_serving.transports.http.listener import WebServer

        settings = self.settings
        app = application(
            *(settings, self.service, self.models, self.health, self.metrics, tokens),
            *(self._expose, self._tracing),
        )
        context = None
        if settings.tls is not None and settings.http_tls:
            context = ssl_context(settings.tls, "http/1.1")
        return WebServer(app, listening, context)

    def _admin_server(self, tokens: Tokens, worker: WorkerTask | None) -> FrontEnd | None:
        settings = self.settings
        if settings.admin_port is None:
            return None
        admin = AdminService(self.models, self.admission, self.leave.set)
        health = self.health.servicer
        if worker is not None:  # the supervisor listens at the address, logs and counts the calls
            quiet = settings.model_copy(update={"log_calls": "none"})
            server = make_admin_server(quiet, admin, health, Metrics(), Tokens(None))
            server.bind_socket(worker.admin_socket)
            return server
        server = make_admin_server(settings, admin, health, self.metrics, tokens)
        self.admin_port = server.bind(settings.admin_host, settings.admin_port)
        return server

    def ran(self, model: str, graph: str, provider: str, report: BatchReport) -> None:
        """Counts a run of an engine; see `ModelObserver`."""
        self.metrics.ran(model, graph, provider, report)

    def recomputed(self, model: str, graph: str, rows: int) -> None:
        """Counts and logs rows that float16 could not hold; see `ModelObserver`."""
        self.metrics.recomputed(model, graph, rows)
        facts = {"model": model, "graph": graph, "rows": rows}
        log.warning("float16 overflowed; computed again in float32", extra={"facts": facts})

    def lost(self, model: str, graph: str, error: BaseException) -> None:
        """Ends the process, so that it is restarted; see `ModelObserver`."""
        facts = {"model": model, "graph": graph, "error": str(error)}
        log.critical("engine lost", extra={"facts": facts})
        self.failed = error
        self._loop.call_soon_threadsafe(self.leave.set)  # may be called from any thread

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number)
        loop.add_signal_handler(signal.SIGHUP, self._watch.run_now)

    def _signalled(self, number: int) -> None:
        if self.leave.is_set():
            os._exit(128 + number)  # the second signal ends the process immediately
        # Ctrl-C comes from a person who waits, SIGTERM from a platform whose load balancers need
        # time.
        self._patient = number == signal.SIGTERM
        self.leave.set()


def _settle_memory() -> None:
    """Exempts loaded objects from garbage collection, and collects less often than by default.

    Measured with 64 callers of single images: collections took a tenth of the CPU time. Calls leave
    no cycles that hold their arrays (`calls.boundary.forget`), so nothing large waits for it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
