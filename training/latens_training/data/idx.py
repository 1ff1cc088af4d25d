"""The IDX format of MNIST's files (http://yann.lecun.com/exdb/mnist): unsigned bytes only."""

from __future__ import annotations

import gzip
import math
import zlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latens_training.data.types import Dataset, Split, with_test_part
from latens_training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

_UNSIGNED_BYTE = 0x08


def load_idx(path: Path) -> Dataset:
    """Reads an IDX file of images [n, h, w] or [n, c, h, w]; every tenth image is in the test set.

    Labels come from the file with `labels-idx1` instead of `images-idx3` in its name, if it exists.

    Raises:
        DataError: it is damaged or has no images, or the labels have another length.
    """
    images = read_idx(path)
    if images.dim() not in (3, 4):
        raise DataError(f"{path}: rank {images.dim()}; images have rank 3 or 4")
    images = images.unsqueeze(1) if images.dim() == 3 else images
    beside = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    labels = read_idx(beside).long() if beside != path and beside.exists() else None
    if labels is not None and labels.shape != images.shape[:1]:
        raise DataError(f"{beside}: {len(labels)} labels for the {len(images)} images of {path}")
    return with_test_part(path.name.partition(".")[0], Split(images, labels))


def read_idx(path: Path) -> Tensor:
    """Reads an IDX file, gzipped or not.

    Returns:
        uint8, of the shape that the file's header states.

    Raises:
        DataError: missing, not IDX, not of unsigned bytes, or of another length than it states.
    """
    return parse_idx(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """The content of a file, unzipped if it is a gzip.

    Raises:
        DataError: missing, unreadable or a damaged gzip.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip ({error})") from error


def parse_idx(content: bytes, path: Path) -> Tensor:
    """The tensor of an IDX file's bytes; `path` is for the messages.

    Raises:
        DataError: as `read_idx`.
    """
    if len(content) < 4 or content[0] or content[1]:
        raise DataError(f"{path}: not an IDX file (magic {content[:4].hex() or 'missing'})")
    kind, rank = content[2], content[3]
    if kind != _UNSIGNED_BYTE or not 1 <= rank <= 4:
        raise DataError(f"{path}: IDX type 0x{kind:02x} of rank {rank}; expected 0x08, rank 1 to 4")
    start = 4 + 4 * rank
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    if len(content) < start or len(content) - start != math.prod(shape):
        raise DataError(
            f"{path}: {max(0, len(content) - start)} bytes of data, "
            f"but its header says {' x '.join(map(str, shape))}"
        )
    values = np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
    return torch.from_numpy(values.copy())
