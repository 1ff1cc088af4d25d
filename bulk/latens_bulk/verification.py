"""Checks an output: every part is there, unchanged, and has the rows that the manifest says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latens_bulk.errors import BadDataError, BulkError
from latens_bulk.outputs.folder import MANIFEST, OutputFolder, ShardRecord, sha256_of
from latens_bulk.outputs.formats import FORMATS


@dataclass(frozen=True, slots=True)
class Verified:
    """What a sound output holds."""

    shards: int
    rows: int
    skipped: int


def verify(root: Path) -> Verified:
    """Checks digests and row counts of all parts.

    Raises:
        NotFoundError: there is no output.
        BadDataError: it is incomplete, or a part is missing, changed or left over.
    """
    output = OutputFolder(root)
    description = output.description()
    manifest = output.manifest()
    if manifest is None:
        expected = description["input"]["shards"]
        missing = [index for index in range(expected) if output.record(index) is None]
        raise BadDataError(
            f"{root}: incomplete: {len(missing)} of {expected} shards are missing, "
            f"no {MANIFEST}; run the same latens-bulk encode again"
        )
    if manifest["description"] != description:
        raise BadDataError(f"{root}: {MANIFEST} and the description disagree")
    records = [ShardRecord(**record) for record in manifest["shards"]]
    faults = [fault for record in records if (fault := _fault(root, record, description["format"]))]
    named = {record.part for record in records}
    faults += [
        f"{path.name}: not in the manifest"
        for path in sorted(root.glob("part-*"))
        if path.name not in named
    ]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise BadDataError(f"{root}: {faults[0]}{more}")
    rows = sum(record.rows for record in records)
    if rows != manifest["rows"]:
        raise BadDataError(f"{root}: {MANIFEST} says {manifest['rows']} rows, its shards {rows}")
    return Verified(len(records), rows, sum(len(record.skipped) for record in records))


def _fault(root: Path, record: ShardRecord, format_name: str) -> str | None:
    path = root / record.part
    if not path.exists():
        return f"{record.part}: missing"
    if sha256_of(path) != record.sha256:
        return f"{record.part}: changed since it was written"
    try:
        rows = FORMATS[format_name].row_count(path)
    except BulkError as error:
        return str(error)
    if rows != record.rows or rows + len(record.skipped) != record.stop - record.start:
        return f"{record.part}: {rows} rows, the manifest says {record.rows}"
    return None
