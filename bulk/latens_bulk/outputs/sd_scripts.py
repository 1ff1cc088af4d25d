"""Latents as sd-scripts reads them: an npz file per image, beside a part that lists them.

A file has `latents`, `original_size` (width, height), `crop_ltrb` and, with `--mirror`,
`latents_flipped`. Trainers of several resolutions expect the names with the size of the latent
appended, as in `latents_64x64`: that is the format `sd-scripts-sized`. Newer versions look for
names such as `photo_0640x0480_sdxl.npz` first. Latents are the first draw, or the mean where there
are no draws.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens_bulk.errors import BadDataError
from latens_bulk.outputs.rows import MIRRORED, Floats, ShardRows

SUFFIX = ".sha256"
FAMILIES = {"sd-scripts-sd": "sd", "sd-scripts-sdxl": "sdxl", "sd-scripts-flux": "flux"}
"""By format, what newer versions append to a file's name, after the picture's width and height."""
_LONG_NAME = re.compile(rf"_\d{{4,}}x\d{{4,}}_({'|'.join(FAMILIES.values())})$")
_SIZED = ("sd-scripts-sized", "sd-scripts-flux")
"""Formats whose names of arrays have the size of the latent."""


def write(path: Path, rows: ShardRows, description: dict[str, Any]) -> None:
    """Writes the npz files into the output, and the part: a line `SHA256  NAME` for each."""
    root = path.parents[1]
    head = "draws" if "draws" in rows.latents else "mean"
    if rows.latents[head].ndim < 4:
        raise BadDataError(
            "sd-scripts reads latents of channels, height and width; these have none"
        )
    lines, seen = [], set()
    for row, key in enumerate(rows.keys):
        name = _file_name(key, rows.sizes[row], description["format"])
        if name in seen:
            raise BadDataError(f"{key}: another image of this folder would be {name}, too")
        seen.add(name)
        content = _npz(_arrays(rows, row, head, description))
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.unfinished")
        unfinished.write_bytes(content)
        unfinished.replace(target)
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    path.write_text("".join(lines))


def row_count(path: Path) -> int:
    """Checks every file that a part lists, and counts them.

    Raises:
        BadDataError: a file is missing or changed.
    """
    lines = path.read_text().splitlines()
    for line in lines:
        digest, _, name = line.partition("  ")
        file = path.parent / name
        if not file.exists():
            raise BadDataError(f"{name}: missing")
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise BadDataError(f"{name}: changed")
    return len(lines)


def read(path: Path, names: list[str]) -> tuple[list[str], dict[str, Floats]]:
    """The names of the files without their suffix, and their latents."""
    del names  # the mean is all that these files hold
    files = _files(path)
    latents = []
    for file in files:
        with np.load(path.parent / file) as arrays:
            latents.append(arrays[next(key for key in arrays if _is_latents(key))])
    return column(path, "key"), {"mean": np.stack(latents)}


def column(path: Path, name: str) -> list[Any]:
    """The keys; these files hold nothing that was kept.

    Raises:
        BadDataError: another column.
    """
    if name != "key":
        raise BadDataError(f"{path.parent}: sd-scripts files have no column {name!r}")
    return [_LONG_NAME.sub("", posixpath.splitext(file)[0]) for file in _files(path)]


def _files(path: Path) -> list[str]:
    return [line.partition("  ")[2] for line in path.read_text().splitlines()]


def _is_latents(name: str) -> bool:
    return name.startswith("latents") and not name.startswith("latents_flipped")


def crop_of(size: NDArray[np.int64], target: tuple[int, int], fit: str) -> list[int]:
    """What a fitted image shows of the scaled original: left, top, right, bottom."""
    height, width = (int(length) for length in size)
    if fit != "crop":
        return [0, 0, target[1], target[0]]
    scale = max(target[0] / height, target[1] / width)
    left, top = (round(width * scale) - target[1]) // 2, (round(height * scale) - target[0]) // 2
    return [left, top, left + target[1], top + target[0]]


def _arrays(
    rows: ShardRows, row: int, head: str, description: dict[str, Any]
) -> dict[str, NDArray[Any]]:
    def latent(name: str) -> NDArray[Any]:
        values: NDArray[Any] = rows.latents[name][row]
        first: NDArray[Any] = values[0] if head == "draws" else values
        return first

    size, rules = rows.sizes[row], description["preprocessing"]
    height, width = rules["image_shape"][1:]
    arrays = {
        "latents": latent(head),
        "original_size": size[::-1],
        "crop_ltrb": np.array(crop_of(size, (height, width), rules["fit"])),
    }
    if head + MIRRORED in rows.latents:
        arrays["latents_flipped"] = latent(head + MIRRORED)
    if description["format"] not in _SIZED:
        return arrays
    rows_and_columns = "x".join(map(str, arrays["latents"].shape[-2:]))
    return {f"{name}_{rows_and_columns}": array for name, array in arrays.items()}


def _npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _file_name(key: str, size: NDArray[np.int64], output_format: str) -> str:
    """The file of an image, whose height and width are `size`."""
    name = posixpath.normpath(posixpath.splitext(key)[0].replace(":", "-"))
    if output_format in FAMILIES:
        height, width = (int(length) for length in size)
        name += f"_{width:04d}x{height:04d}_{FAMILIES[output_format]}"
    name += ".npz"
    if name.startswith(("/", "..")) or name.split("/")[0] in ("shards", "claims", "unfinished"):
        raise BadDataError(f"{key}: not a name that a file of the output may have")
    return name
