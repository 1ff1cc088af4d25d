"""`latens-export`: a trained model in, the next version of a servable model out."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ValidationError
from pydantic_settings import CliApp, CliSettingsSource, SettingsError

from latens_export.errors import ExportError, UsageError
from latens_export.settings import (
    SOURCES,
    CommonSettings,
    ExportSettings,
    ExternalSettings,
    unknown_variables,
)

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from latens_export.bundling import Bundle
    from latens_serving.bundle.axes import Axis

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


def _settings(arguments: list[str] | None) -> CommonSettings:
    if unknown := unknown_variables():
        raise UsageError(f"unknown environment variable {unknown[0]}; see --help")
    given = sys.argv[1:] if arguments is None else arguments
    # The first word names the source; without one it is a training run.
    source = given[0] if given and given[0] in SOURCES else None
    settings = SOURCES[source] if source else ExportSettings
    program = f"latens-export {source}" if source else "latens-export"
    parser: CliSettingsSource[Any] = CliSettingsSource(settings, cli_prog_name=program)
    try:
        return CliApp.run(
            settings, cli_args=given[1:] if source else given, cli_settings_source=parser
        )
    except SettingsError as error:
        text = str(error).removeprefix("error parsing CLI: ")
        raise UsageError(f"{text}; see --help") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise UsageError(f"{where}{first['msg'].removeprefix('Value error, ')}") from error


def _run(settings: CommonSettings) -> int:
    if settings.print_config:
        print(settings.model_dump_json(indent=2, by_alias=True, exclude={"print_config"}))
        return 0
    from latens_export.sources.chosen import card_text_of, export

    if isinstance(settings, ExternalSettings) and settings.print_card:
        print(card_text_of(settings), end="")
        return 0
    written = export(settings, _step)
    summary = _summary(written.path, settings, written.bundle)
    print(json.dumps(summary, indent=2) if settings.json_output else _text(summary))
    return 0


def _summary(path: Path, settings: CommonSettings, bundle: Bundle) -> dict[str, Any]:
    return {
        "bundle": str(path),
        "model": settings.model_name,
        "version": int(path.name),
        "architecture": bundle.spec.architecture,
        "data_shape": [_axis_text(axis) for axis in bundle.spec.data_axes],
        "latent_shape": list(bundle.spec.usual_latent_shape),
        "precision": bundle.spec.precision,
        "tolerance": bundle.spec.tolerance,
        "parity": {
            "batch_sizes": list(bundle.parity.batch_sizes),
            "data_shapes": [list(shape) for shape in bundle.parity.data_shapes],
            "largest_difference": bundle.parity.differences,
        },
        "bytes": {name: len(content) for name, content in bundle.files.items()},
    }


def _axis_text(axis: Axis) -> int | str:
    return axis.size or f"{axis.name}: {axis.sizes_allowed}"


def _text(summary: dict[str, Any]) -> str:
    sizes = ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in summary["bytes"].items())
    parity = summary["parity"]
    found = ", ".join(f"{name} {value:.1e}" for name, value in parity["largest_difference"].items())
    data = ", ".join(map(str, summary["data_shape"]))
    latent = ", ".join(map(str, summary["latent_shape"]))
    batches = ", ".join(map(str, parity["batch_sizes"]))
    shapes = ", ".join("x".join(map(str, shape)) for shape in parity["data_shapes"])
    return (
        f"{summary['bundle']}: {summary['model']} version {summary['version']}\n"
        f"  {summary['architecture'] or 'data'} [{data}], latent [{latent}], "
        f"{summary['precision']}\n"
        f"  {sizes}\n"
        f"  largest difference from torch: {found}\n"
        f"  (batches of {batches} at {shapes}; tolerance {summary['tolerance']:g})"
    )


def _step(text: str) -> None:
    print(f"latens-export: {text}", file=sys.stderr, flush=True)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(TERMINATED)
