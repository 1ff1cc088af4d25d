"""Reads shards ahead of the engine: claims them, reads blocks, hands pictures to be decoded."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens_bulk.cache import LatentCache
from latens_bulk.decoding import DecodingPool
from latens_bulk.errors import BadDataError
from latens_bulk.inputs.shards import Block, Extent
from latens_bulk.job import Job
from latens_bulk.outputs.claims import Claims
from latens_bulk.outputs.folder import ShardRecord

_BLOCKS_AHEAD = 8


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """A block of which the rows that are not in the cache are being decoded."""

    index: int
    block: Block
    asked: list[int]
    """The positions of the rows that must be encoded."""
    decoding: Future[Any]
    """Gives `Decoded` of the rows asked for."""
    keys: list[list[bytes]] = field(default_factory=list)
    """Cache keys of all rows, for each variant; empty without a cache."""
    hits: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    """By position: what the cache has, `[variants * heads, *latent_shape]`."""


@dataclass(frozen=True, slots=True)
class ShardEnd:
    """All blocks of a shard have been read."""

    index: int
    extent: Extent


@dataclass(frozen=True, slots=True)
class Finished:
    """A shard that was finished before."""

    record: ShardRecord


@dataclass(frozen=True, slots=True)
class Busy:
    """A shard that another process works on."""

    index: int


Event = ReadBlock | ShardEnd | Finished | Busy


class Reader:
    """Reads shards in a thread of its own, a few blocks ahead."""

    def __init__(
        self, job: Job, claims: Claims, pool: DecodingPool, cache: LatentCache | None
    ) -> None:
        self._job = job
        self._claims = claims
        self._pool = pool
        self._cache = cache
        self._events: queue.Queue[Event | BaseException | None] = queue.Queue(_BLOCKS_AHEAD)
        self._stopped = threading.Event()

    def events(self, indices: list[int]) -> Generator[Event, None, None]:
        """Reads shards; what fails in the thread is raised here."""
        thread = threading.Thread(target=self._run, args=(indices,), name="reader", daemon=True)
        thread.start()
        try:
            while (event := self._events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            self._stopped.set()
            while thread.is_alive():
                self._drain()
                thread.join(0.05)
            self._stopped.clear()
            self._drain()

    def _drain(self) -> None:
        try:
            while True:
                self._events.get_nowait()
        except queue.Empty:
            pass

    def _run(self, indices: list[int]) -> None:
        try:
            for index in indices:
                for event in self._shard(index):
                    self._events.put(event)
                    if self._stopped.is_set():
                        return
            self._events.put(None)
        except BaseException as error:
            self._events.put(error)

    def _shard(self, index: int) -> Iterator[Event]:
        shard = self._job.shards[index]
        extent = shard.measure()
        if (record := self._finished(index, extent)) is not None:
            yield Finished(record)
            return
        if not self._claims.take(index):
            yield Busy(index)
            return
        if (record := self._finished(index, extent)) is not None:  # meanwhile, by another process
            self._claims.release(index)
            yield Finished(record)
            return
        for block in shard.blocks(self._job.encoder.block_rows):
            yield self._read(index, block)
        yield ShardEnd(index, extent)

    def _finished(self, index: int, extent: Extent) -> ShardRecord | None:
        record = self._job.output.record(index)
        if record is None:
            return None
        if (record.input_digest, record.start, record.stop) != tuple(extent):
            raise BadDataError(
                f"{self._job.shards[index].name} has changed since it was encoded into "
                f"{self._job.output.root / record.part}. Choose another OUTPUT"
            )
        return record

    def _read(self, index: int, block: Block) -> ReadBlock:
        everything = list(range(len(block.keys)))
        if self._cache is None:
            return ReadBlock(index, block, everything, self._pool.submit(block.images))
        variants = self._job.variants
        keys = [self._cache.keys(block.images, mirrored=bool(suffix)) for suffix in variants]
        known = self._cache.get([key for of_variant in keys for key in of_variant])
        hits = {
            row: np.concatenate([known[of_variant[row]] for of_variant in keys])
            for row in everything
            if all(of_variant[row] in known for of_variant in keys)
        }
        asked = [row for row in everything if row not in hits]
        images = block.images
        missing = images[asked] if isinstance(images, np.ndarray) else [images[i] for i in asked]
        return ReadBlock(index, block, asked, self._pool.submit(missing), keys, hits)
