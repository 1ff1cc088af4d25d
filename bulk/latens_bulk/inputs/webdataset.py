"""WebDataset shards: tar files whose members `KEY.EXT` with one KEY are one row."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from latens import pictures
from latens_bulk.errors import BadDataError
from latens_bulk.inputs.files import InputFile
from latens_bulk.inputs.shards import Block, Extent, Selection

_BLOCK = tarfile.BLOCKSIZE
_PICTURES = tuple(sorted(suffix.removeprefix(".") for suffix in pictures.SUFFIXES))


@dataclass(frozen=True)
class TarShard:
    """One tar file. Members beside the picture can be kept, as text."""

    file: InputFile
    selection: Selection

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def rows(self) -> None:
        return None

    def measure(self) -> Extent:
        self._check_end()
        return Extent(self.file.digest, 0, sum(1 for _ in self._samples(read=False)))

    def blocks(self, rows: int) -> Iterator[Block]:
        waiting: list[_Sample] = []
        for sample in self._samples(read=True):
            waiting.append(sample)
            if len(waiting) == rows:
                yield self._block(waiting)
                waiting = []
        if waiting:
            yield self._block(waiting)

    def _block(self, samples: list[_Sample]) -> Block:
        columns = {
            name: [sample.texts.get(name) for sample in samples] for name in self.selection.keep
        }
        return Block([sample.key for sample in samples], [s.image or b"" for s in samples], columns)

    def _check_end(self) -> None:
        """A whole tar file ends with zeros; one cut between two members would read as whole."""
        with self.file.open() as opened:
            size = opened.seek(0, 2)
            opened.seek(max(0, size - _BLOCK))
            if opened.read(_BLOCK) != bytes(_BLOCK):
                raise BadDataError(f"{self.name}: the tar file is cut short")

    def _samples(self, *, read: bool) -> Iterator[_Sample]:
        try:
            with self.file.open() as opened, tarfile.open(fileobj=opened, mode="r:") as archive:
                yield from self._grouped(archive, read=read)
        except tarfile.TarError as error:
            raise BadDataError(f"{self.name}: not a readable tar file: {error}") from error

    def _grouped(self, archive: tarfile.TarFile, *, read: bool) -> Iterator[_Sample]:
        current: _Sample | None = None
        for member in archive:
            key, extension = _split(member.name)
            if not member.isfile() or not key:
                continue
            if current is None or current.key != key:
                if current is not None and current.has_image:
                    yield current
                current = _Sample(key)
            self._add(current, archive, member, extension, read=read)
        if current is not None and current.has_image:
            yield current

    def _add(
        self,
        sample: _Sample,
        archive: tarfile.TarFile,
        member: tarfile.TarInfo,
        extension: str,
        *,
        read: bool,
    ) -> None:
        wanted = self.selection.image
        is_image = extension == wanted if wanted else extension.split(".")[-1] in _PICTURES
        if is_image and not sample.has_image:
            sample.has_image = True
            sample.image = _content(archive, member) if read else None
        elif extension in self.selection.keep and read:
            sample.texts[extension] = _content(archive, member).decode(errors="replace")


@dataclass
class _Sample:
    key: str
    has_image: bool = False
    image: bytes | None = None
    texts: dict[str, str] = field(default_factory=dict)


def tar_shards(files: Sequence[InputFile], shard_rows: int, selection: Selection) -> list[TarShard]:
    del shard_rows  # a tar file is read from its beginning: it is one shard
    return [TarShard(file, selection) for file in files]


def _split(name: str) -> tuple[str, str]:
    """The key and the extension: the file's name is split at its first dot."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return (f"{folder}{slash}{stem}" if stem else ""), extension.lower()


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file is not None else b""
