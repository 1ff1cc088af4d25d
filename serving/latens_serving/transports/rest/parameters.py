"""The query parameters of a request: typed, each at most once, and none unknown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from starlette.requests import Request

from latens_serving.errors import InvalidInputError

Parse: TypeAlias = Callable[[str], Any]
Fit: TypeAlias = Literal["pad", "crop", "resize"]
_MOST_SEED: Final = (1 << 64) - 1
_MOST_DIGITS: Final = 20


def read(
    request: Request, known: Mapping[str, Parse], *, besides: Collection[str] = ()
) -> dict[str, Any]:
    """The values of the parameters that were given, by name.

    Args:
        request: the request.
        known: how each parameter is read; what it raises as ValueError says what was expected.
        besides: names of parameters that the caller of this function reads itself.

    Raises:
        InvalidInputError: a parameter is unknown, comes twice, or has a wrong value.
    """
    found: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name in besides:
            continue
        if name not in known:
            expected = ", ".join(known) or "none"
            raise InvalidInputError.at(name[:40], f"no such parameter; expected {expected}")
        if name in found:
            raise InvalidInputError.at(name, "given twice")
        try:
            found[name] = known[name](text)
        except ValueError as error:
            raise InvalidInputError.at(name, f"expected {error}, got {text[:40]!r}") from None
    return found


def word(text: str) -> str:
    """Any text."""
    return text


def whole(least: int, most: int) -> Parse:
    """A whole number within bounds."""

    def parse(text: str) -> int:
        is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
        if not (is_number and least <= int(text) <= most):
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return parse


seed: Final = whole(0, _MOST_SEED)


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if abs(value) < float("inf"):
        return value
    raise ValueError("a finite number")


def flag(text: str) -> bool:
    """`true` or `false`, as 1 and 0 too."""
    known = {"true": True, "1": True, "": True, "false": False, "0": False}
    if text.lower() not in known:
        raise ValueError("true or false")
    return known[text.lower()]


def classes(text: str) -> tuple[int, ...]:
    """Whole numbers, joined by commas."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < _MOST_DIGITS for part in parts):
        raise ValueError("whole numbers, for example 3 or 3,1,4")
    return tuple(map(int, parts))


def fit(text: str) -> Fit:
    """How a picture gets the model's size."""
    if text not in get_args(Fit):
        raise ValueError(", ".join(get_args(Fit)))
    return cast("Fit", text)


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT as height and width."""
    width, cross, height = text.partition("x")
    is_number = text.isascii() and width.isdigit() and height.isdigit()
    if not (cross and is_number and len(text) <= _MOST_DIGITS):
        raise ValueError("WIDTHxHEIGHT, for example 512x384")
    return int(height), int(width)
