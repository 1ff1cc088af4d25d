"""The server's settings: each field is a flag, an environment variable and its help text."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from latens_serving.engine.onnx import Device, EngineSettings
from latens_serving.models.loading import LoadOptions
from latens_serving.models.tiles import TileLimits

ENV_PREFIX = "LATENS_SERVE_"

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1024)]
FrontEndName = Annotated[
    Literal["grpcio", "http2"],
    # The former name of the front end is accepted until version 1.0.
    BeforeValidator(lambda name: "http2" if name == "fast" else name),
]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of the PEM files. With `client_ca`, clients need a certificate that it signed."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Settings(BaseSettings):
    """Serves the models of a repository over gRPC; metrics and probes on the HTTP port."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        cli_prog_name="latens-serve",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )

    repository: Path = Path("models")
    """The folder of models, with bundles in <repository>/<model>/<version>/."""
    default_model: str = ""
    """The model for requests without a model name. By default the first by name when the server
    starts; it does not change while the repository contains it."""
    max_versions: Count = 4
    """Number of versions to hold per model: the newest ones that can be served."""
    load_seconds: Seconds = 300.0
    """Seconds after which loading a version is abandoned and the version refused; 0 for no
    limit."""

    watch_seconds: Seconds = 10.0
    """Seconds between checks of the repository for new and removed versions; 0 for never. SIGHUP
    starts a check immediately."""

    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 for all addresses."""
    port: Port = 50051
    """The gRPC port; 0 for any free one."""
    http_port: Port = 8080
    """The HTTP port (explorer, RPCs as JSON, /metrics, /healthz, /readyz); 0 for any free one."""
    http_max_message_bytes: Bytes = 8 << 20
    """Largest message over HTTP in bytes, request or answer."""
    http_body_bytes: Bytes = 64 << 20
    """Most bytes of concurrent HTTP requests and answers; calls beyond it are refused."""
    http_hosts: tuple[str, ...] = ()
    """Host names that the HTTP port accepts, besides localhost and IP addresses; "*" for any,
    "*.example.org" for subdomains. By default none at a loopback address, any at other ones."""
    cors_origins: tuple[str, ...] = ()
    """Other sites whose pages may make calls over HTTP (https://example.org); by default none."""
    explorer: bool = True
    """Whether the HTTP port serves the explorer page."""

    frontend: FrontEndName = "http2"
    """The gRPC implementation: http2 is a front end over libnghttp2; grpcio is gRPC's own library,
    which answers the same calls for several times the CPU time. `fast` is the old name of http2."""

    admin_host: str = "127.0.0.1"
    """The address of the admin service (load, unload, reload, drain)."""
    admin_port: Port | None = None
    """The port of the admin service; 0 for any free one; by default it is off. Its commands reach
    every worker."""

    tls_certificate: Path | None = None
    """PEM file of the certificate chain for the gRPC ports; read again when it changes."""
    tls_key: Path | None = None
    """PEM file of the certificate's private key."""
    http_tls: bool = False
    """Use TLS on the HTTP port too, with the same certificate and authority; without it, the HTTP
    port of a server with TLS answers only metrics and probes."""
    tls_client_ca: Path | None = None
    """PEM file of the authority that must have signed the certificates of clients (mutual TLS)."""
    tokens: Path | None = None
    """File of bearer tokens, one per line: <infer|admin|infer,admin> <token|sha256:digest>; read
    again when it changes. Without it, calls need no token. Health and probes never need one."""
    reflection: bool = True
    """Serve gRPC reflection. It needs a token if calls need one."""

    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that share the address, each with its own models. More than 1 is useful on CPUs,
    for large batches. The metrics are the sum over the workers."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """The device that runs the graphs: cuda never falls back to the CPU; auto does, and reports
    it."""
    device_id: Annotated[int, Field(ge=0)] = 0
    """Index of the GPU."""
    threads: Count = 1
    """Threads of each engine on the CPU."""
    gpu_memory_limit: Annotated[int, Field(ge=0)] = 0
    """Most bytes that an engine may hold on the GPU; 0 for no limit."""
    tf32: bool = False
    """Allow matrix products on the GPU to round their inputs to 10 bits of mantissa."""
    cuda_graphs: bool = False
    """Capture each batch size as a CUDA graph on the GPU and replay it, for fewer launches."""

    max_rows: Count = 16384
    """Most rows per call."""
    max_row_passes: Count = 1_000_000
    """Most rows times iterations per Inpaint call, and rows times samples per Score call."""
    max_message_bytes: Bytes = 64 << 20
    """Largest message in bytes, request or response."""
    max_batch_rows: Count = 8192
    """Most rows per run of a graph; fewer on the CPU if a run would take over 50 ms."""
    queue_rows: Count = 65536
    """Most rows per graph that wait or run; calls beyond it are refused."""
    tile_memory: Annotated[int, Field(ge=0)] = 0
    """Most bytes that the activations of one pass of a model of free sizes may take; 0 for no
    limit. Larger images are computed in tiles where the network is local, with the same values;
    else they are refused."""
    tile_approximate: bool = False
    """Compute images beyond --tile-memory in blended tiles where the network is not local: their
    values differ from those of one pass."""
    queue_bytes: Bytes = 256 << 20
    """Most bytes per graph that wait or run, with those of the answers."""
    inline_seconds: Seconds = 0.001
    """Shorter runs are made in the event loop, longer ones in the engine's thread."""
    max_calls: Count = 4096
    """Most concurrent calls of all kinds, in addition to the limits of the queues."""
    connection_age: Annotated[float, Field(gt=0, le=86400)] = 1800.0
    """Seconds after which a client is asked to reconnect; its calls are finished first. Then load
    balancers can choose a new server."""
    max_deadline: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    """Longest deadline in seconds; also the deadline of a call without one."""

    canary_seconds: Seconds = 30.0
    """Seconds between runs of a probe row through idle models, to detect a failed device; 0 for
    never."""
    stuck_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120.0
    """Seconds after which a run of an engine counts as stuck and the process ends; 20 times the
    expected duration of a run, if that is longer."""
    drain_delay: Seconds = 2.0
    """Seconds after SIGTERM between reporting NOT_SERVING and refusing calls."""
    grace: Seconds = 30.0
    """Seconds for accepted calls to finish after new ones are refused."""

    drift_seconds: Seconds = 1.0
    """Seconds between measurements of KL and reconstruction error on a few rows of the encoded
    images; 0 for never."""

    tracing: bool = False
    """Record OpenTelemetry spans of calls, sent over OTLP to OTEL_EXPORTER_OTLP_ENDPOINT."""

    log_format: Literal["auto", "json", "text"] = "auto"
    """Format of log lines; auto is text on a terminal and JSON otherwise."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level to log."""
    log_calls: Literal["all", "failures", "none"] = "failures"
    """Which calls are logged."""

    @model_validator(mode="after")
    def _access_settings_fit(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("--tls-certificate and --tls-key go together")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("--tls-client-ca needs --tls-certificate and --tls-key")
        if self.http_tls and self.tls_certificate is None:
            raise ValueError("--http-tls needs --tls-certificate and --tls-key")
        return self

    @property
    def tls(self) -> TlsFiles | None:
        """The files of the certificate; None without TLS."""
        if self.tls_certificate is None or self.tls_key is None:
            return None
        return TlsFiles(self.tls_certificate, self.tls_key, self.tls_client_ca)

    def load_options(self) -> LoadOptions:
        """The settings for loading a model."""
        return LoadOptions(
            engine=EngineSettings(
                device=Device(self.device),
                device_id=self.device_id,
                threads=self.threads,
                gpu_memory_limit=self.gpu_memory_limit,
                tf32=self.tf32,
                cuda_graphs=self.cuda_graphs,
            ),
            max_rows=self.max_rows,
            max_row_passes=self.max_row_passes,
            max_message_bytes=self.max_message_bytes,
            max_batch_rows=self.max_batch_rows,
            queue_rows=self.queue_rows,
            queue_bytes=self.queue_bytes,
            inline_seconds=self.inline_seconds,
            stuck_seconds=self.stuck_seconds,
            tiles=TileLimits(self.tile_memory, approximate=self.tile_approximate),
        )


def unknown_variables() -> list[str]:
    """Variables with our prefix that match no setting, and so are probably misspelt."""
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    return sorted(
        name
        for name in os.environ
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known
    )
