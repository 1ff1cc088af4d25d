"""Where the bytes of pictures are: a folder, WebDataset tar files, or Parquet files."""

from __future__ import annotations

import os
import tarfile
from bisect import bisect_right
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from latens import pictures
from latens_training.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_GROUPS_IN_MEMORY = 8
_IMAGE_COLUMNS = ("image", "images", "bytes", "jpg", "png")
_LABEL_COLUMNS = ("label", "labels", "cls")


class PictureStore(Protocol):
    """Rows of encoded pictures, with their labels; safe to be read by several threads."""

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """For messages."""
        ...

    def identity(self, row: int) -> str:
        """What changes when the picture does, without reading it."""
        ...

    def content(self, row: int) -> bytes:
        """The picture file."""
        ...

    def labels(self) -> NDArray[np.int64] | None:
        """One per row, if they are known."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]: ...


class FolderStore:
    """The pictures of a folder and its subfolders, which are the classes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths = pictures.files_in(folder)
        if not self._paths:
            raise DataError(f"{folder}: no images ({', '.join(sorted(pictures.SUFFIXES))})")
        flat = any(path.parent == folder for path in self._paths)
        self._classes = [] if flat else [p.relative_to(folder).parts[0] for p in self._paths]
        self.class_names = tuple(sorted(set(self._classes)))

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, row: int) -> str:
        return str(self._paths[row])

    def identity(self, row: int) -> str:
        path = self._paths[row]
        return f"{path.relative_to(self._folder).as_posix()} {path.stat().st_size}"

    def content(self, row: int) -> bytes:
        try:
            return self._paths[row].read_bytes()
        except OSError as error:
            raise DataError(f"{self._paths[row]}: {error.strerror or error}") from error

    def labels(self) -> NDArray[np.int64] | None:
        if not self._classes:
            return None
        return np.array([self.class_names.index(name) for name in self._classes], np.int64)


class _Member(NamedTuple):
    file: int
    name: str
    offset: int
    size: int


class TarStore:
    """WebDataset tar files: members `KEY.jpg` are pictures, `KEY.cls` their labels."""

    class_names: tuple[str, ...] = ()

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [str(path) for path in files]
        self._members: list[_Member] = []
        found: dict[str, int] = {}
        for number, path in enumerate(files):
            self._read(number, path, found)
        if not self._members:
            raise DataError(f"{files[0].parent}: no pictures in its tar files")
        keys = [_key(self._files[member.file], member.name) for member in self._members]
        self._labels = (
            np.array([found[key] for key in keys], np.int64)
            if all(key in found for key in keys)
            else None
        )
        # Reads at offsets of open files need no lock.
        self._open = [os.open(path, os.O_RDONLY) for path in self._files]

    def _read(self, number: int, path: Path, labels: dict[str, int]) -> None:
        try:
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    if pictures.is_picture(Path(member.name)) and member.isfile():
                        self._members.append(
                            _Member(number, member.name, member.offset_data, member.size)
                        )
                    elif member.name.endswith(".cls"):
                        content = archive.extractfile(member)
                        text = content.read().decode() if content else ""
                        labels[_key(str(path), member.name)] = int(text)
        except (tarfile.TarError, OSError, ValueError) as error:
            raise DataError(f"{path}: not a readable tar file: {error}") from error

    def __len__(self) -> int:
        return len(self._members)

    def name(self, row: int) -> str:
        member = self._members[row]
        return f"{self._files[member.file]}: {member.name}"

    def identity(self, row: int) -> str:
        member = self._members[row]
        return f"{Path(self._files[member.file]).name} {member.name} {member.size}"

    def content(self, row: int) -> bytes:
        member = self._members[row]
        return os.pread(self._open[member.file], member.size, member.offset)

    def labels(self) -> NDArray[np.int64] | None:
        return self._labels


class ParquetStore:
    """Parquet files with a column of picture files; `{"bytes": ...}` structs are read too.

    A row group is read whole and kept for a while: small groups suit random access.
    """

    class_names: tuple[str, ...] = ()

    def __init__(self, files: Sequence[Path]) -> None:
        try:
            import pyarrow.parquet as pq
        except ImportError as error:
            raise UsageError(
                "dataset: Parquet needs pyarrow; pip install 'latens-training[parquet]'"
            ) from error
        self._files = [str(path) for path in files]
        self._opened = [pq.ParquetFile(path) for path in self._files]
        self._groups = [
            (file, group)
            for file, opened in enumerate(self._opened)
            for group in range(opened.num_row_groups)
        ]
        rows = [self._opened[f].metadata.row_group(g).num_rows for f, g in self._groups]
        self._starts = np.concatenate([[0], np.cumsum(rows)]).tolist()
        names = self._opened[0].schema_arrow.names
        self._column = next((name for name in _IMAGE_COLUMNS if name in names), None)
        if self._column is None:
            raise DataError(f"{files[0]}: no column of pictures ({', '.join(_IMAGE_COLUMNS)})")
        self._label = next((name for name in _LABEL_COLUMNS if name in names), None)
        self._group = lru_cache(_GROUPS_IN_MEMORY)(self._read_group)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def name(self, row: int) -> str:
        return f"{self._files[self._groups[self._place(row)[0]][0]]} row {row}"

    def identity(self, row: int) -> str:
        place, within = self._place(row)
        file, group = self._groups[place]
        size = self._opened[file].metadata.row_group(group).total_byte_size
        return f"{Path(self._files[file]).name} {group} {within} {size}"

    def content(self, row: int) -> bytes:
        place, within = self._place(row)
        value = self._group(place)[within].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise DataError(f"{self.name(row)}: expected a picture file, got {type(content)}")
        return content

    def labels(self) -> NDArray[np.int64] | None:
        if self._label is None:
            return None
        columns = [opened.read(columns=[self._label])[self._label] for opened in self._opened]
        return np.concatenate([column.to_numpy() for column in columns]).astype(np.int64)

    def _place(self, row: int) -> tuple[int, int]:
        """The row group of a row, and its place within."""
        place = bisect_right(self._starts, row) - 1
        return place, row - self._starts[place]

    def _read_group(self, place: int) -> Any:
        file, group = self._groups[place]
        return self._opened[file].read_row_group(group, columns=[self._column])[self._column]


def store_of(path: Path) -> PictureStore:
    """The store of a folder of pictures, of tar files, or of Parquet files.

    Raises:
        DataError: it has none of them, or cannot be read.
        UsageError: pyarrow is not installed.
    """
    for suffix, kind in ((".tar", TarStore), (".parquet", ParquetStore)):
        files = sorted(path.glob(f"*{suffix}")) if path.is_dir() else [path]
        if files and files[0].suffix == suffix:
            made: PictureStore = kind(files)
            return made
    return FolderStore(path)


def _key(file: str, member: str) -> str:
    folder, _, name = member.rpartition("/")
    return f"{file}/{folder}/{name.partition('.')[0]}"
