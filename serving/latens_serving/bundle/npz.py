"""Reads .npz archives whose content may be hostile: sizes are checked before memory is taken."""

from __future__ import annotations

import io
import lzma
import math
import tokenize
import zipfile
import zlib
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from latens_serving.bundle.schema import BundleError

_MOST_MEMBERS = 64
_LONGEST_NAME = 100
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,  # an encrypted member
    NotImplementedError,  # an unknown compression
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


class Header(NamedTuple):
    """What an array's header says of it."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class NpzArchive:
    """An open archive. The headers are read at once, the arrays when they are asked for."""

    def __init__(self, what: str, content: bytes, largest: int) -> None:
        """Reads the headers.

        Args:
            what: the archive's name in errors.
            content: the bytes of the archive.
            largest: the most bytes that all members may have when unpacked.

        Raises:
            BundleError: it is no archive, it is too large, or a header does not fit its member.
        """
        self._what = what
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(content))
            self.headers = self._read_headers(largest)
        except _UNREADABLE as error:
            raise self._unreadable(error) from error

    def read(self, name: str) -> NDArray[Any]:
        """Unpacks an array.

        Raises:
            BundleError: it is damaged.
        """
        try:
            with self._archive.open(f"{name}.npy") as member:
                array: NDArray[Any] = npy.read_array(member, allow_pickle=False)
        except _UNREADABLE as error:
            raise self._unreadable(error) from error
        return array

    def _read_headers(self, largest: int) -> dict[str, Header]:
        members = self._archive.infolist()
        if len(members) > _MOST_MEMBERS:
            raise BundleError(f"{self._what}: {len(members)} members, at most {_MOST_MEMBERS}")
        unpacked = sum(member.file_size for member in members)
        if unpacked > largest:
            raise BundleError(f"{self._what}: {unpacked} bytes unpacked, at most {largest}")
        headers: dict[str, Header] = {}
        for member in members:
            name = member.filename.removesuffix(".npy")[:_LONGEST_NAME]
            if name in headers:
                raise BundleError(f"{self._what}: {name!r} is there twice")
            headers[name] = self._read_header(name, member)
        return headers

    def _read_header(self, name: str, member: zipfile.ZipInfo) -> Header:
        with self._archive.open(member) as file:
            header = _header_of(file)
            start = file.tell()
        if header.dtype.hasobject:
            raise BundleError(f"{self._what}: not a readable archive: {name} holds objects")
        size = math.prod(header.shape) * header.dtype.itemsize
        if start + size != member.file_size:
            raise BundleError(
                f"{self._what}: {name}: the header says {size} bytes, "
                f"the archive holds {member.file_size - start}"
            )
        return header

    def _unreadable(self, error: Exception) -> BundleError:
        return BundleError(f"{self._what}: not a readable archive: {error}")


def _header_of(file: IO[bytes]) -> Header:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    return Header(dtype, tuple(shape))
