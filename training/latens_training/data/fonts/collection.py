"""A set of images from fonts, with weight, italic and width as labels, split by family."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latens_training.data.fonts.faces import Face, UnreadableFontError, faces_with
from latens_training.data.fonts.glyphs import draw
from latens_training.errors import DataError
from latens_training.runs.directory import write_whole

_TEST_SHARE = 10


@dataclass(frozen=True)
class Collection:
    """Faces, and what each draws.

    Attributes:
        images: uint8 [faces, characters, size, size].
        lacking: files without a face that has every character.
        duplicates: faces left out, for they draw what one before them draws.
        unreadable: files and faces that could not be read, with the reason.
    """

    characters: str
    faces: Sequence[Face]
    images: NDArray[np.uint8]
    lacking: int
    duplicates: int
    unreadable: Sequence[str]

    @property
    def families(self) -> set[str]:
        return {face.family for face in self.faces}


def collect(
    files: Sequence[Path], characters: str, size: int, step: Callable[[], object] = lambda: None
) -> Collection:
    """Draws the characters with every face of the files, each drawing once.

    Args:
        files: font files, in the order in which duplicates are resolved.
        characters: what each face draws.
        size: the side of a tile, pixels.
        step: called after each file.

    Raises:
        DataError: no face has all the characters.
    """
    found: dict[bytes, tuple[Face, NDArray[np.uint8]]] = {}
    lacking, duplicates, unreadable = 0, 0, []
    for path in files:
        try:
            drawn = _drawn(path, characters, size)
        except (UnreadableFontError, OSError) as error:
            drawn = None
            unreadable.append(str(error))
        if drawn is not None:
            lacking += not drawn
            for face, images in drawn:
                duplicates += found.setdefault(images.tobytes(), (face, images))[0] is not face
        step()
    if not found:
        raise DataError(f"chars: none of {len(files)} font files has all of {characters!r}")
    faces, tiles = zip(*found.values(), strict=True)
    return Collection(characters, faces, np.stack(tiles), lacking, duplicates, unreadable)


def save(collection: Collection, path: Path) -> None:
    """Writes the set as an .npz file that `--dataset` takes.

    Labels are the characters' places in the list; `attribute_weight`, `attribute_italic` and
    `attribute_width` are the classes of `latens_training.data.fonts.faces`; `names` are for people.

    Raises:
        TrainingError: it cannot be written.
    """
    testing = _is_for_testing([face.family for face in collection.faces])
    arrays = {"characters": np.array(list(collection.characters))}
    for prefix, chosen in (("train_", ~testing), ("test_", testing)):
        arrays |= {prefix + name: array for name, array in _columns(collection, chosen).items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # the stubs see allow_pickle
    write_whole(path, buffer.getvalue())


def _drawn(path: Path, characters: str, size: int) -> list[tuple[Face, NDArray[np.uint8]]]:
    faces = faces_with(path, characters)
    drawn = [(face, draw(face, characters, size)) for face in faces]
    return [(face, images) for face, images in drawn if images is not None]


def _columns(collection: Collection, chosen: NDArray[np.bool_]) -> dict[str, NDArray[np.generic]]:
    """The arrays of a split, one row a face and character."""
    count = len(collection.characters)
    faces = [face for face, taken in zip(collection.faces, chosen, strict=True) if taken]
    size = collection.images.shape[-1]
    columns: dict[str, NDArray[np.generic]] = {
        "names": np.array([face.name for face in faces]),
        "attribute_weight": np.array([face.weight for face in faces], np.int64),
        "attribute_italic": np.array([face.italic for face in faces], np.int64),
        "attribute_width": np.array([face.width for face in faces], np.int64),
    }
    columns = {name: column.repeat(count) for name, column in columns.items()}
    columns["images"] = collection.images[chosen].reshape(-1, 1, size, size)
    columns["labels"] = np.tile(np.arange(count, dtype=np.int64), len(faces))
    return columns


def _is_for_testing(families: Sequence[str]) -> NDArray[np.bool_]:
    """One family in ten, chosen by its name: so no cut of a test family is trained on.

    Where there are fewer than two families the faces themselves are split.
    """
    names = families if len(set(families)) > 1 else [f"{f} {i}" for i, f in enumerate(families)]
    digests = [hashlib.sha256(name.encode()).digest() for name in names]
    wanted = max(1, len(set(digests)) // _TEST_SHARE)
    smallest = set(sorted(set(digests))[:wanted])
    return np.array([digest in smallest for digest in digests])
