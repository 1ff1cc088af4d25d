"""Where fonts lie: fontconfig's list, or a folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from latens_training.errors import DataError, NotFoundError

_SUFFIXES = {".ttf", ".otf", ".ttc", ".otc"}
_TIMEOUT_S = 120


def font_files(folder: Path | None = None) -> list[Path]:
    """The font files under `folder`, or those that fontconfig knows of; sorted.

    Raises:
        NotFoundError: the folder does not exist, or there is no fontconfig to ask.
        DataError: no fonts were found.
    """
    found = _listed_by_fontconfig() if folder is None else _under(folder)
    files = sorted({path for path in found if path.suffix.lower() in _SUFFIXES})
    if not files:
        where = "fontconfig's list" if folder is None else str(folder)
        raise DataError(f"{where}: no fonts ({', '.join(sorted(_SUFFIXES))})")
    return files


def _under(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise NotFoundError(f"folder: {folder} is not a folder")
    return [path for path in folder.rglob("*") if path.is_file()]


def _listed_by_fontconfig() -> list[Path]:
    program = shutil.which("fc-list")
    if program is None:
        raise NotFoundError("fc-list: fontconfig is not installed; name a folder with --folder")
    try:
        listing = subprocess.run(  # noqa: S603 - a fixed program and no input of the user's
            [program, "--format=%{file}\\n"],
            capture_output=True,
            check=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.SubprocessError as error:
        raise DataError(f"{program}: {error}") from error
    return [Path(line) for line in listing.stdout.splitlines() if line]
