"""The command `data fonts`: makes an image set from the fonts of this machine."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from latens_training.cli.settings import CommandSettings
from latens_training.errors import UsageError

if TYPE_CHECKING:
    from latens_training.data.fonts.collection import Collection


class FontsSettings(CommandSettings):
    """Draws characters with every font found, as an image set for --dataset.

    Fonts that lack a character, and faces that draw the same as another face, are left out. The
    labels are weight (100 thin to 900 black), italic (0 or 1) and width (1 narrow to 9 wide). The
    families of the test set are not trained on.
    """

    chars: Annotated[
        str, Field(min_length=1, max_length=256, description="characters that each face draws")
    ] = "A"
    size: Annotated[int, Field(ge=8, le=256, description="side of an image, pixels")] = 28
    folder: Annotated[
        Path | None, Field(description="folder to search for fonts; default: fontconfig's list")
    ] = None
    out: Annotated[Path, Field(description="the .npz file to write")] = Path("data/fonts.npz")
    overwrite: Annotated[bool, Field(description="replace the file, if there is one")] = False
    json_lines: Annotated[bool, Field(description="print the summary as JSON")] = False


def run(settings: FontsSettings) -> int:
    """Collects and saves as the settings say; returns the exit code.

    Raises:
        TrainingError: there are no such fonts, or the file cannot be written.
    """
    _check(settings)
    from tqdm import tqdm

    from latens_training.data.fonts.catalogue import font_files
    from latens_training.runs.directory import make_directory

    try:
        from latens_training.data.fonts.collection import collect, save
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("fontTools"):
            raise
        message = "fonts: fontTools is not installed; pip install 'latens-training[fonts]'"
        raise UsageError(message) from error

    # fontTools logs every oddity of a font; unusable fonts are counted below.
    logging.getLogger("fontTools").setLevel(logging.CRITICAL)
    files = font_files(settings.folder)
    with tqdm(total=len(files), desc="fonts", unit="file", disable=None) as bar:
        collection = collect(files, settings.chars, settings.size, bar.update)
    make_directory(settings.out.parent)
    save(collection, settings.out)
    _report(collection, settings)
    return 0


def _check(settings: FontsSettings) -> None:
    if len(set(settings.chars)) != len(settings.chars):
        raise UsageError("chars: a character is given twice")
    if not all(character.isprintable() and character != " " for character in settings.chars):
        raise UsageError("chars: each must be a character that has ink")
    if settings.out.suffix != ".npz":
        raise UsageError(f"out: {settings.out} does not end in .npz")
    if settings.out.exists() and not settings.overwrite:
        raise UsageError(f"out: {settings.out} exists; --overwrite replaces it")


def _report(collection: Collection, settings: FontsSettings) -> None:
    facts = {
        "out": str(settings.out),
        "faces": len(collection.faces),
        "families": len(collection.families),
        "images": len(collection.faces) * len(collection.characters),
        "italic": sum(face.italic for face in collection.faces),
        "lacking": collection.lacking,
        "duplicates": collection.duplicates,
        "unreadable": len(collection.unreadable),
    }
    if settings.json_lines:
        print(json.dumps(facts))
        return
    for reason in collection.unreadable:
        print(f"left out: {reason}", file=sys.stderr)
    print(
        f"{settings.out}: {facts['images']:,} images of {facts['faces']:,} faces in "
        f"{facts['families']:,} families, {facts['italic']:,} of them italic; left out "
        f"{facts['lacking']:,} files that lack a character, {facts['duplicates']:,} duplicates, "
        f"{facts['unreadable']:,} unreadable"
    )
