"""The server's settings: each field is a flag, an environment variable and its help text."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from latens_serving.engine.onnx import Device, EngineSettings
from latens_serving.models.loading import LoadOptions

ENV_PREFIX = "LATENS_SERVE_"

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1024)]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the PEM files are. With `client_ca`, clients must show a certificate it signed."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Settings(BaseSettings):
    """Serves the models of a repository by gRPC; metrics and probes on the HTTP port."""

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
    """The folder of models: <repository>/<model>/<version>/bundle.json and the files beside it."""
    source: str = ""
    """A remote repository to mirror into the local one, by an fsspec URL such as
    s3://bucket/models; looked at whenever the local one is."""
    default_model: str = ""
    """The model that a request without a name means; by default the first by name."""
    max_versions: Count = 4
    """How many versions of each model to hold, the newest ones."""

    watch_seconds: Seconds = 10.0
    """Seconds between looks at the repository for versions that came or went; 0 for never.
    SIGHUP looks at once."""

    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 for all."""
    port: Port = 50051
    """The gRPC port; 0 for any free one."""
    http_port: Port = 8080
    """The HTTP port (explorer, RPCs as JSON, /metrics, /healthz, /readyz); 0 for any free one."""
    http_max_message_bytes: Bytes = 8 << 20
    """The largest message over HTTP, in bytes, in either direction."""
    http_body_bytes: Bytes = 64 << 20
    """The most bytes of HTTP requests and answers under way; larger calls are refused beyond it."""
    http_hosts: tuple[str, ...] = ()
    """Host names under which the HTTP port answers, beside localhost and IP addresses; "*" for any,
    "*.example.org" for subdomains. By default, none at a loopback address and any at another."""
    cors_origins: tuple[str, ...] = ()
    """Other sites whose pages may call over HTTP (https://example.org); by default none."""
    explorer: bool = True
    """Whether the HTTP port serves the explorer page."""

    frontend: Literal["grpcio", "fast"] = "grpcio"
    """What speaks gRPC: grpcio is gRPC's own; fast is this server's, answers the same calls for a
    fraction of the CPU time, and needs the extra `fast`."""

    admin_host: str = "127.0.0.1"
    """The address of the admin service (load, unload, reload, drain)."""
    admin_port: Port | None = None
    """The admin service's port, 0 for any free one; by default there is none. What is asked there
    reaches every worker."""

    tls_certificate: Path | None = None
    """PEM file of the gRPC ports' certificate chain; read again when it changes."""
    tls_key: Path | None = None
    """PEM file of its key."""
    http_tls: bool = False
    """Serve the HTTP port by TLS too, with the same certificate and authority; without it, a server
    with TLS answers metrics and probes alone there."""
    tls_client_ca: Path | None = None
    """PEM file of the authority whose certificates clients must show (mutual TLS)."""
    tokens: Path | None = None
    """File of bearer tokens, a line each: <infer|admin|infer,admin> <token|sha256:digest>; read
    again when it changes. Without it everyone may call. Health and probes never ask for one."""
    reflection: bool = True
    """Whether clients may ask for the descriptors; they need a token if others do."""

    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that share the address, each with its own models; more than 1 pays on the CPU, for
    large batches. The metrics are their sum."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the graphs run: cuda never falls back to the CPU, auto says so when it does."""
    device_id: Annotated[int, Field(ge=0)] = 0
    """Which GPU."""
    threads: Count = 1
    """Threads of one engine on the CPU."""
    gpu_memory_limit: Annotated[int, Field(ge=0)] = 0
    """Bytes that one engine may hold on the GPU; 0 for no limit."""
    tf32: bool = False
    """Let GPU matrix products round their inputs to 10 bits of mantissa."""
    cuda_graphs: bool = False
    """Capture each batch size as a CUDA graph on the GPU and replay it: fewer launches."""

    max_rows: Count = 16384
    """The most rows of one call."""
    max_row_passes: Count = 1_000_000
    """The most rows times iterations of an Inpaint call, or times samples of a Score call."""
    max_message_bytes: Bytes = 64 << 20
    """The most bytes of one message, either way."""
    max_batch_rows: Count = 8192
    """The most rows of one run; on the CPU fewer, where a run would take over 50 ms."""
    queue_rows: Count = 65536
    """The most rows of one graph that wait or run; beyond them calls are refused."""
    queue_bytes: Bytes = 256 << 20
    """The most bytes of the same."""
    inline_seconds: Seconds = 0.001
    """Runs that take less stay in the event loop; longer ones go to the engine's thread."""
    max_calls: Count = 4096
    """The most calls at a time, of every kind; a backstop above the queues' limits."""
    connection_age: Annotated[float, Field(gt=0, le=86400)] = 1800.0
    """Seconds after which a gRPC connection is asked to go, its calls finished, so that load
    balancers see it again and reach new servers."""
    max_deadline: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    """Seconds that a call may take; also the deadline of a call that has none."""

    canary_seconds: Seconds = 30.0
    """Seconds between rows sent through models that no one calls, to find a dead device; 0 for
    none."""
    stuck_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120.0
    """A run of an engine that takes longer is given up, and the process with it."""
    drain_delay: Seconds = 2.0
    """Seconds between saying NOT_SERVING and refusing calls, once SIGTERM has come."""
    grace: Seconds = 30.0
    """Seconds that calls under way have to end in, once new ones are refused."""

    drift_seconds: Seconds = 1.0
    """Seconds between measurements of KL and reconstruction error on a few rows of what is
    encoded; 0 for none."""

    tracing: bool = False
    """Make OpenTelemetry spans of calls, sent by OTLP to where OTEL_EXPORTER_OTLP_ENDPOINT says."""

    log_format: Literal["auto", "json", "text"] = "auto"
    """How log lines look; auto is text on a terminal and JSON elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe line to log."""
    log_calls: Literal["all", "failures", "none"] = "failures"
    """Which calls get a log line of their own."""

    @model_validator(mode="after")
    def _doors_fit(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("--tls-certificate and --tls-key go together")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("--tls-client-ca needs --tls-certificate and --tls-key")
        if self.http_tls and self.tls_certificate is None:
            raise ValueError("--http-tls needs --tls-certificate and --tls-key")
        return self

    @property
    def tls(self) -> TlsFiles | None:
        """Where the certificates are; None for plain text."""
        if self.tls_certificate is None or self.tls_key is None:
            return None
        return TlsFiles(self.tls_certificate, self.tls_key, self.tls_client_ca)

    def load_options(self) -> LoadOptions:
        """What loading a model needs of this."""
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
        )


def unknown_variables() -> list[str]:
    """Variables with our prefix that are no setting: most likely misspelt."""
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    return sorted(
        name
        for name in os.environ
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known
    )
