"""`latens-export`: a training run in, the next version of a servable model out."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from latens_export.errors import ExportError, UsageError
from latens_export.settings import ExportSettings, unknown_variables

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from latens_export.bundling import Bundle, WrittenBundle

INTERRUPTED = 130
TERMINATED = 143


def main(arguments: list[str] | None = None) -> int:
    """Runs `latens-export`; returns its exit code."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run(_settings(arguments))
    except ExportError as error:
        print(f"latens-export: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("latens-export: interrupted, nothing was exported", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)


def _settings(arguments: list[str] | None) -> ExportSettings:
    if unknown := unknown_variables():
        raise UsageError(f"unknown environment variable {unknown[0]}; see --help")
    try:
        return CliApp.run(ExportSettings, cli_args=sys.argv[1:] if arguments is None else arguments)
    except SettingsError as error:
        text = str(error).removeprefix("error parsing CLI: ")
        raise UsageError(f"{text}; see --help") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise UsageError(f"{where}{first['msg'].removeprefix('Value error, ')}") from error


def _run(settings: ExportSettings) -> int:
    if settings.print_config:
        print(settings.model_dump_json(indent=2, by_alias=True, exclude={"print_config"}))
        return 0
    written = _export(settings)
    summary = _summary(written.path, settings, written.bundle)
    print(json.dumps(summary, indent=2) if settings.json_output else _text(summary))
    return 0


def _export(settings: ExportSettings) -> WrittenBundle:
    from latens_export.bundling import BundleOptions
    from latens_export.sources.run import export_run

    return export_run(
        settings.run,
        settings.repository,
        settings.model_name,
        precision=settings.precision,
        tolerance=settings.accepted_tolerance,
        data_dir=settings.data_dir,
        fit_prior=settings.fit_prior,
        options=BundleOptions(settings.atlas_images, settings.byte_graphs, None),
        step=_step,
    )


def _summary(path: Path, settings: ExportSettings, bundle: Bundle) -> dict[str, Any]:
    return {
        "bundle": str(path),
        "model": settings.model_name,
        "version": int(path.name),
        "architecture": bundle.spec.architecture,
        "latent_shape": list(bundle.spec.usual_latent_shape),
        "precision": bundle.spec.precision,
        "tolerance": bundle.spec.tolerance,
        "parity": {
            "batch_sizes": list(bundle.parity.batch_sizes),
            "largest_difference": bundle.parity.differences,
        },
        "bytes": {name: len(content) for name, content in bundle.files.items()},
    }


def _text(summary: dict[str, Any]) -> str:
    sizes = ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in summary["bytes"].items())
    parity = summary["parity"]
    found = ", ".join(f"{name} {value:.1e}" for name, value in parity["largest_difference"].items())
    batches = ", ".join(map(str, parity["batch_sizes"]))
    return (
        f"{summary['bundle']}: {summary['model']} version {summary['version']}\n"
        f"  {summary['architecture']}, latent {summary['latent_shape']}, {summary['precision']}\n"
        f"  {sizes}\n"
        f"  largest difference from torch: {found}\n"
        f"  (batches of {batches} test images; tolerance {summary['tolerance']:g})"
    )


def _step(text: str) -> None:
    print(f"latens-export: {text}", file=sys.stderr, flush=True)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(TERMINATED)
