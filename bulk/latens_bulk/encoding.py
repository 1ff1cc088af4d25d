"""Encodes a job: reading, encoding and writing run side by side, shard after shard."""

from __future__ import annotations

import contextlib
import io
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens import pictures
from latens_bulk.cache import LatentCache
from latens_bulk.decoding import DecodingPool
from latens_bulk.errors import BadDataError
from latens_bulk.gathering import Gathered
from latens_bulk.inputs.shards import Extent
from latens_bulk.job import Job
from latens_bulk.outputs.claims import Claims
from latens_bulk.outputs.folder import (
    ShardRecord,
    disk_errors,
    part_name,
    sha256_of,
    synced,
)
from latens_bulk.outputs.formats import FORMATS
from latens_bulk.outputs.rows import ShardRows
from latens_bulk.preprocessing import Decoded
from latens_bulk.progress import Progress
from latens_bulk.reading import Busy, Finished, ReadBlock, Reader, ShardEnd

_POLL_SECONDS = 0.5


class Encoding:
    """One run of a job. Afterwards the output is whole, unless other parts are others' to do."""

    def __init__(self, job: Job, cache: LatentCache | None = None) -> None:
        self._job = job
        self._cache = cache
        self._description = job.description()
        counts = [job.shards[index].rows for index in job.indices()]
        known = [count for count in counts if count is not None]
        self.progress = Progress(sum(known) if len(known) == len(counts) else None)
        self._records: dict[int, ShardRecord] = {}
        self._gathered = Gathered()

    def run(self) -> bool:
        """Encodes what is missing; whether the whole output is finished then.

        Raises:
            BulkError: the input, the output, the encoder or the disk failed. Finished shards stay.
        """
        job = self._job
        job.output.begin(self._description)
        job.output.remove_leftovers()
        claims = Claims(job.output.root / "claims")
        pool = DecodingPool(job.preprocessing, job.decoders)
        try:
            with disk_errors(job.output.root), ThreadPoolExecutor(1, "writer") as writer:
                claims.remove_abandoned()
                reader = Reader(job, claims, pool, self._cache)
                left = job.indices()
                while left := self._pass(reader, left, writer, claims):
                    time.sleep(_POLL_SECONDS)  # other processes work on these
        finally:
            claims.close()
            pool.close()
            self.progress.end()
        return self._write_manifest()

    def _pass(
        self, reader: Reader, indices: list[int], writer: ThreadPoolExecutor, claims: Claims
    ) -> list[int]:
        """Does the shards that are free; returns the others."""
        busy: list[int] = []
        writing: list[Future[None]] = []
        with contextlib.closing(reader.events(indices)) as events:
            for event in events:
                match event:
                    case Busy(index):
                        busy.append(index)
                    case Finished(record):
                        self._count_finished(record)
                    case ReadBlock():
                        self._encode(event)
                    case ShardEnd(index, extent):
                        rows, skipped = self._take_gathered()
                        for earlier in writing:
                            earlier.result()
                        writing = [writer.submit(self._write, index, extent, rows, skipped, claims)]
                self.progress.show()
        for last in writing:
            last.result()
        return busy

    def _count_finished(self, record: ShardRecord) -> None:
        if record.index not in self._records:
            self._records[record.index] = record
            self.progress.rows += record.rows + len(record.skipped)

    def _encode(self, read: ReadBlock) -> None:
        """Encodes the rows of a block that the cache does not have, and gathers all of them."""
        decoded: Decoded = read.decoding.result()
        fresh = self._latents(decoded.images)
        valid = np.asarray(np.isfinite(fresh).all(axis=tuple(range(1, fresh.ndim))))
        positions = [read.asked[row] for row in decoded.kept]
        failures = [(read.asked[row], reason) for row, reason in decoded.failures]
        failures += [
            (position, "the encoder gave values that are not finite")
            for position, is_valid in zip(positions, valid, strict=True)
            if not is_valid
        ]
        self._note_failures(read, failures)
        rows = dict(read.hits)
        sizes = {row: self._size(read, row) for row in read.hits}
        for at in np.flatnonzero(valid):
            rows[positions[at]] = fresh[at]
            sizes[positions[at]] = decoded.sizes[at]
        self._store(read, rows)
        self._gathered.add(read.block, rows, sizes)
        self.progress.rows += len(read.block.keys)
        self.progress.encoded += int(valid.sum())
        self.progress.hits += len(read.hits)
        self.progress.skipped += len(failures)
        self.progress.size += read.block.size

    def _latents(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """All heads of all variants, `[n, variants * heads, *latent_shape]`."""
        model, heads = self._job.encoder.identity, []
        if not len(images):
            count = len(self._job.variants) * len(model.heads)
            return np.empty((0, count, *model.latent_shape), np.float32)
        for suffix in self._job.variants:
            found = self._job.encoder(images[..., ::-1] if suffix else images)
            heads += [found[head] for head in model.heads]
        return np.stack(heads, axis=1)

    def _note_failures(self, read: ReadBlock, failures: list[tuple[int, str]]) -> None:
        for position, reason in sorted(failures):
            key = read.block.keys[position]
            if not self._job.skips_errors:
                raise BadDataError(f"{key}: {reason}. (--on-error skip leaves such images out)")
            self._gathered.skipped.append({"key": key, "reason": reason})

    def _size(self, read: ReadBlock, row: int) -> NDArray[np.int64]:
        """Height and width of an image that was not decoded, since the cache has it."""
        images = read.block.images
        if isinstance(images, list) and self._job.format.startswith("sd-scripts"):
            return np.array(pictures.size(io.BytesIO(images[row])), np.int64)
        return np.array(self._job.preprocessing.image_shape[1:], np.int64)

    def _store(self, read: ReadBlock, rows: dict[int, NDArray[np.float32]]) -> None:
        if self._cache is None:
            return
        heads = len(self._job.encoder.identity.heads)
        new = [row for row in rows if row not in read.hits]
        if not new:
            return
        stacked = np.stack([rows[row] for row in new])
        for variant, keys in enumerate(read.keys):
            part = stacked[:, variant * heads : (variant + 1) * heads]
            self._cache.put([keys[row] for row in new], np.ascontiguousarray(part))

    def _take_gathered(self) -> tuple[ShardRows, list[dict[str, str]]]:
        """What was gathered of a shard that has ended: its rows, and the images left out."""
        gathered, self._gathered = self._gathered, Gathered()
        return gathered.rows(self._job), gathered.skipped

    def _write(
        self,
        index: int,
        extent: Extent,
        rows: ShardRows,
        skipped: list[dict[str, str]],
        claims: Claims,
    ) -> None:
        job = self._job
        name = part_name(index, extent, job.encoder.identity.encoder_sha256, job.suffix)
        written = job.output.unfinished(name)
        FORMATS[job.format].write(written, rows, self._description)
        synced(written)
        record = ShardRecord(
            index=index,
            input=job.shards[index].name,
            input_digest=extent.digest,
            start=extent.start,
            stop=extent.stop,
            part=name,
            rows=len(rows.keys),
            size=written.stat().st_size,
            sha256=sha256_of(written),
            provider=job.encoder.provider,
            skipped=skipped,
        )
        job.output.finish(record, written)
        claims.release(index)
        self._records[index] = record

    def _write_manifest(self) -> bool:
        """Writes the manifest if every shard of the output is finished; whether it is."""
        records = []
        for index in range(len(self._job.shards)):
            record = self._records.get(index) or self._job.output.record(index)
            if record is None:
                return False
            records.append(record)
        self._job.output.write_manifest(records)
        FORMATS[self._job.format].write_index(
            self._job.output.root, [record.part for record in records]
        )
        return True
