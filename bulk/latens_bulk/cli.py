"""The command `latens-bulk`."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from types import FrameType
from typing import Any, NoReturn

from pydantic import ValidationError
from pydantic_settings import CliApp

from latens.channel import Tls
from latens_bulk.cache import LatentCache
from latens_bulk.encoders import LocalEncoder, RowEncoder, ServedEncoder
from latens_bulk.encoding import Encoding
from latens_bulk.errors import (
    INTERRUPTED,
    OK,
    TERMINATED,
    USAGE,
    BulkError,
    NotFoundError,
)
from latens_bulk.inputs.listing import shards_of
from latens_bulk.inputs.shards import Selection
from latens_bulk.job import Job
from latens_bulk.outputs.folder import OutputFolder
from latens_bulk.preprocessing import Preprocessing
from latens_bulk.settings import EncodeSettings, VerifySettings, first_fault
from latens_bulk.verification import verify

_USAGE = """\
usage: latens-bulk encode INPUT OUTPUT --bundle models/mnist
       latens-bulk verify OUTPUT

Latents of whole data sets: resumable, row-exact, cached.
latens-bulk encode --help lists every setting.
"""


def main() -> None:
    """Runs the command and exits."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    verb, *rest = arguments or [""]
    if verb in ("-h", "--help"):
        sys.stdout.write(_USAGE)
        return OK
    verbs = {"encode": _encode, "verify": _verify}
    if verb not in verbs:
        sys.stderr.write(_USAGE)
        return USAGE
    try:
        return verbs[verb](rest)
    except ValidationError as error:
        return _complain(first_fault(error), USAGE)
    except BulkError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted; the same command goes on", INTERRUPTED)


def _encode(arguments: list[str]) -> int:
    settings: EncodeSettings = CliApp.run(EncodeSettings, cli_args=arguments)
    encoder = _encoder(settings)
    job = _job(settings, encoder)
    cache = _cache(settings, job)
    encoding = Encoding(job, cache)
    try:
        is_whole = encoding.run()
    finally:
        if cache is not None:
            cache.close()
    facts = encoding.progress.facts()
    if settings.json_output:
        seconds = round(encoding.progress.seconds, 2)
        _print_json(
            {"output": str(settings.output), "complete": is_whole, "seconds": seconds} | facts
        )
        return OK
    notes = [
        f"{facts['rows']} rows",
        f"{facts['encoded']} encoded",
        *([f"{facts['cached']} from the cache"] if settings.cache else []),
        *([f"{facts['skipped']} images skipped"] if facts["skipped"] else []),
        f"{facts['rows_per_second']:.0f} rows/s",
    ]
    state = "complete" if is_whole else "other shards are not finished"
    sys.stdout.write(f"{settings.output}: {', '.join(notes)}; {state}\n")
    return OK


def _encoder(settings: EncodeSettings) -> RowEncoder:
    if settings.bundle:
        return LocalEncoder(settings.bundle, settings.device, settings.threads)
    tls = Tls(ca_file=settings.ca_file) if settings.ca_file else None
    token = None
    if settings.token_file is not None:
        try:
            token = settings.token_file.read_text().strip()
        except OSError as error:
            raise NotFoundError(f"{settings.token_file}: {error.strerror}") from error
    return ServedEncoder(settings.address, settings.model, tls, token)


def _job(settings: EncodeSettings, encoder: RowEncoder) -> Job:
    selection = Selection(settings.image_column, settings.key_column, settings.keep)
    kind, shards = shards_of(settings.input, settings.shard_rows, selection)
    return Job(
        kind,
        shards,
        encoder,
        Preprocessing(encoder.identity.image_shape, settings.fit),
        OutputFolder(settings.output),
        selection,
        format=settings.format,
        dtype=settings.dtype,
        mirror=settings.mirror,
        draws=settings.draws,
        seed=settings.seed,
        skips_errors=settings.on_error == "skip",
        decoders=settings.decoders,
        part=settings.shard_part,
    )


def _cache(settings: EncodeSettings, job: Job) -> LatentCache | None:
    if settings.cache is None:
        return None
    model = job.encoder.identity
    facts = {
        "preprocessing": job.preprocessing.record(),
        "encoder_sha256": model.encoder_sha256,
        "precision": model.precision,
        "provider": job.encoder.provider,
    }
    return LatentCache(settings.cache, facts, (len(model.heads), *model.latent_shape))


def _verify(arguments: list[str]) -> int:
    settings: VerifySettings = CliApp.run(VerifySettings, cli_args=arguments)
    found = verify(settings.output)
    if settings.json_output:
        _print_json(asdict(found))
    else:
        skipped = f", {found.skipped} images skipped" if found.skipped else ""
        sys.stdout.write(
            f"{settings.output}: whole: {found.rows} rows in {found.shards} shards{skipped}\n"
        )
    return OK


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"latens-bulk: {message}\n")
    return code


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Ends by an exception, so that claims are released on the way."""
    del number, frame
    sys.exit(TERMINATED)
