"""What a font file says of itself: its faces, and of each the weight, slant and width.

Weight and width classes are those of the OpenType specification's OS/2 table (usWeightClass
1 to 1000, regular 400; usWidthClass 1 to 9, normal 5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fontTools.ttLib import TTCollection, TTFont, TTLibError

REGULAR = 400
BOLD = 700
NORMAL_WIDTH = 5

# Percent of the normal width, by width class (OS/2, usWidthClass).
_WIDTH_PERCENT = (50.0, 62.5, 75.0, 87.5, 100.0, 112.5, 125.0, 150.0, 200.0)
_ITALIC_BIT, _BOLD_BIT, _OBLIQUE_BIT = 1 << 0, 1 << 5, 1 << 9
_MAC_BOLD, _MAC_ITALIC = 1 << 0, 1 << 1
_PANOSE_SYMBOL = 5
_SLANTED_WORDS = ("italic", "oblique", "slanted")
_LEGACY_WEIGHTS = 9
_VARIABLE_AXES = ("wght", "ital", "slnt", "wdth")


@dataclass(frozen=True)
class Face:
    """One face of a font file; of a variable font, one of its named instances."""

    path: Path
    index: int
    family: str
    style: str
    weight: int
    italic: bool
    width: int
    coordinates: tuple[float, ...] = ()
    """Of a variable font's instance: a value for each of the font's axes, in their order."""

    @property
    def name(self) -> str:
        return f"{self.family} {self.style}".strip()


class UnreadableFontError(Exception):
    """A file that is not a font, or is damaged; the message says why."""


def faces_with(path: Path, characters: str) -> list[Face]:
    """The faces of a font file that have a glyph for each of the characters.

    Raises:
        UnreadableFontError: it cannot be read.
    """
    try:
        return [
            face
            for index, font in enumerate(_fonts(path))
            if _has(font, characters)
            for face in _faces(path, index, font)
        ]
    # fontTools meets damage with whatever its parsers happen to raise.
    except (TTLibError, OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise UnreadableFontError(f"{path}: {error}") from error
    except AssertionError as error:
        raise UnreadableFontError(f"{path}: damaged") from error


def _fonts(path: Path) -> Iterator[TTFont]:
    # Opened here, for fontTools leaves a file open that turns out to be no font.
    with path.open("rb") as file:
        if path.suffix.lower() in {".ttc", ".otc"}:
            yield from TTCollection(file, lazy=True).fonts
        else:
            yield TTFont(file, lazy=True)


def _has(font: TTFont, characters: str) -> bool:
    """Whether the characters are mapped, in a font of letters and not of pictures."""
    if "OS/2" in font and font["OS/2"].panose.bFamilyType == _PANOSE_SYMBOL:
        return False
    mapped = font.getBestCmap() or {}
    return all(ord(character) in mapped for character in characters)


def _faces(path: Path, index: int, font: TTFont) -> list[Face]:
    face = _default_face(path, index, font)
    return _instances(font, face) if "fvar" in font else [face]


def _default_face(path: Path, index: int, font: TTFont) -> Face:
    names = font["name"]
    family = names.getDebugName(16) or names.getDebugName(1) or path.stem
    style = names.getDebugName(17) or names.getDebugName(2) or ""
    return Face(path, index, family, style, _weight(font), _italic(font, style), _width(font))


def _weight(font: TTFont) -> int:
    weight = font["OS/2"].usWeightClass if "OS/2" in font else REGULAR
    if 1 <= weight <= _LEGACY_WEIGHTS:  # an early reading of the specification
        weight *= 100
    bold = bool(_selection(font) & _BOLD_BIT or _mac_style(font) & _MAC_BOLD)
    if weight == REGULAR and bold:
        weight = BOLD
    return min(max(int(weight), 1), 1000)


def _italic(font: TTFont, style: str) -> bool:
    if _selection(font) & (_ITALIC_BIT | _OBLIQUE_BIT) or _mac_style(font) & _MAC_ITALIC:
        return True
    angle = font["post"].italicAngle if "post" in font else 0
    return angle != 0 or any(word in style.lower() for word in _SLANTED_WORDS)


def _width(font: TTFont) -> int:
    width = font["OS/2"].usWidthClass if "OS/2" in font else NORMAL_WIDTH
    return int(width) if 1 <= width <= len(_WIDTH_PERCENT) else NORMAL_WIDTH


def _selection(font: TTFont) -> int:
    return int(font["OS/2"].fsSelection) if "OS/2" in font else 0


def _mac_style(font: TTFont) -> int:
    return int(font["head"].macStyle) if "head" in font else 0


def _instances(font: TTFont, face: Face) -> list[Face]:
    """The named instances of a variable font, each with the labels of its place on the axes."""
    axes = [axis.axisTag for axis in font["fvar"].axes]
    found = []
    for instance in font["fvar"].instances:
        place = {tag: float(instance.coordinates[tag]) for tag in axes}
        style = font["name"].getDebugName(instance.subfamilyNameID) or face.style
        slanted = place.get("ital", 0) >= 0.5 or place.get("slnt", 0) != 0
        found.append(
            replace(
                face,
                style=style,
                weight=round(place.get("wght", face.weight)),
                italic=face.italic or slanted,
                width=_width_class(place["wdth"]) if "wdth" in place else face.width,
                coordinates=tuple(place[tag] for tag in axes),
            )
        )
    return found or [face]


def _width_class(percent: float) -> int:
    distances = [abs(percent - known) for known in _WIDTH_PERCENT]
    return distances.index(min(distances)) + 1
