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
from latens_training.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from latens_export.bundling import Bundle
    from latens_training.checkpoint import Checkpoint
    from latens_training.data.types import Dataset

INTERRUPTED = 130
TERMINATED = 143


def main(arguments: list[str] | None = None) -> int:
    """Runs `latens-export`; returns its exit code."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run(_settings(arguments))
    except (ExportError, TrainingError) as error:
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
    path, bundle = _export(settings)
    summary = _summary(path, settings, bundle)
    print(json.dumps(summary, indent=2) if settings.json_output else _text(summary))
    return 0


def _export(settings: ExportSettings) -> tuple[Path, Bundle]:
    from latens_export.bundling import BundleOptions, make_bundle
    from latens_export.publish import publish, staging
    from latens_training import checkpoint

    _step(f"reading {settings.run}")
    trained = checkpoint.load(settings.run)
    dataset = _dataset(trained, settings)
    options = BundleOptions(
        settings.precision,
        settings.accepted_tolerance,
        settings.atlas_images,
        settings.byte_graphs,
    )
    with staging(settings.repository) as staged:
        bundle = make_bundle(trained, dataset, options, _step)
        name = settings.model_name
        path = publish(staged, name, bundle.files, lambda version: bundle.manifest(name, version))
    return path, bundle


def _dataset(trained: Checkpoint, settings: ExportSettings) -> Dataset:
    """The run's images as its model was evaluated on them: binary, if it learned from binary."""
    from latens_training.run_data import dataset_of

    return dataset_of(trained, _step, data_dir=settings.data_dir)


def _summary(path: Path, settings: ExportSettings, bundle: Bundle) -> dict[str, Any]:
    return {
        "bundle": str(path),
        "model": settings.model_name,
        "version": int(path.name),
        "architecture": bundle.contract.architecture,
        "latent_shape": list(bundle.contract.latent_shape),
        "precision": bundle.contract.precision,
        "tolerance": bundle.contract.tolerance,
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
