"""The command `latens-mirror`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from latens_serving import logs
from latens_serving.mirror.mirror import Mirror, MirrorError

log = logging.getLogger(__name__)

ENV_PREFIX = "LATENS_MIRROR_"

_OK, _FAILURE, _USAGE = 0, 1, 2


class MirrorSettings(BaseSettings):
    """Copies a remote repository of models into a local folder, and keeps the folder up to date.

    Run it beside servers that read the folder: `latens-serve --repository FOLDER` looks for new
    versions by itself. A version appears in the folder only when it is complete, and is removed
    after it was removed at the source. While the source cannot be read, nothing is removed. The
    source is any URL that fsspec reads: file:// and http:// without further packages, s3:// with
    s3fs, gs:// with gcsfs.

    Each flag is also an environment variable: --max-versions is LATENS_MIRROR_MAX_VERSIONS. Flags
    win.

    Exit codes: 0 stopped on request, or --once and the source was read; 1 failure; 2 usage.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        cli_prog_name="latens-mirror",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )

    source: str
    """The remote repository, for example s3://bucket/models."""
    repository: Path = Path("models")
    """The local folder."""
    max_versions: Annotated[int, Field(ge=1)] = 4
    """Number of versions to copy per model, the newest ones. Older ones that were copied before
    stay until they are removed at the source."""
    watch_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    """Seconds between checks of the source."""
    once: bool = False
    """Copy once and exit, for use before a server starts. Nothing is removed."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """Format of log lines; auto is text on a terminal and JSON otherwise."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level to log."""


def main() -> None:
    """Runs the command and exits."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    if unknown := _unknown_variables():
        return _complain(f"unknown environment variables: {', '.join(unknown)}", _USAGE)
    try:
        settings = CliApp.run(MirrorSettings, cli_args=arguments)
    except ValidationError as error:
        return _complain(_first_fault(error), _USAGE)
    logs.configure(settings.log_format, settings.log_level)
    try:
        mirror = Mirror(settings.source, settings.repository, settings.max_versions)
        if settings.once:
            mirror.sync()
        else:
            _follow(mirror, settings)
    except (MirrorError, OSError) as error:
        return _complain(str(error), _FAILURE)
    return _OK


def _follow(mirror: Mirror, settings: MirrorSettings) -> None:
    """Copies at an interval until a signal arrives; a signal during a copy ends the copy."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    facts = {"source": settings.source, "repository": str(settings.repository)}
    log.info("mirroring", extra={"facts": facts})
    pause = threading.Event()
    while True:
        try:
            mirror.sync()
        except OSError as error:  # what was copied before stays
            reason = {"reason": str(error)}
            log.error("source not read", extra={"facts": facts | reason})  # noqa: TRY400
        pause.wait(settings.watch_seconds)


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    log.info("stopped")
    raise SystemExit(_OK)


def _unknown_variables() -> list[str]:
    known = {f"{ENV_PREFIX}{name}".upper() for name in MirrorSettings.model_fields}
    return sorted(
        name
        for name in os.environ
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known
    )


def _first_fault(error: ValidationError) -> str:
    fault: Any = error.errors()[0]
    flag = "--" + "-".join(str(part).replace("_", "-") for part in fault["loc"])
    return f"{flag}: {fault['msg']}"


def _complain(message: str, code: int) -> int:
    print(f"latens-mirror: {message}", file=sys.stderr)
    return code
