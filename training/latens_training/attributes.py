"""Attribute vectors: directions of the latent space that strengthen an attribute of the image.

The vector of an attribute is the mean of the codes that have it minus the mean of those that do
not (as with the smile of Larsen et al. 2016, arXiv:1512.09300, section 4.1). Added to a code, it
makes the image bolder or more slanted, for example.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from latens_training.errors import UsageError
from latens_training.metrics.evaluation import known_labels

if TYPE_CHECKING:
    from latens_training.data.types import Split
    from latens_training.models.autoencoder import Autoencoder

FEWEST = 5
"""Images that each side of a contrast needs for a meaningful mean."""
_MOST_CLASSES = 64
_BLOCK = 1000
_NAME = r"[a-z0-9][a-z0-9._-]{0,62}"
_COMPARISONS: Mapping[str, Callable[[NDArray[np.generic], float], NDArray[np.bool_]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*(<=|>=|==|!=|<|>)\s*(-?[0-9]*\.?[0-9]+)\s*")


@dataclass(frozen=True)
class Condition:
    """A comparison of an attribute with a number, as `weight>=700`."""

    attribute: str
    comparison: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Reads `ATTRIBUTE OPERATOR NUMBER`.

        Raises:
            UsageError: the text has another form.
        """
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise UsageError(f"vector: {text.strip()!r} is not a condition such as weight>=700")
        return cls(match[1], match[2], float(match[3]))

    def holds(self, values: Mapping[str, NDArray[np.generic]]) -> NDArray[np.bool_]:
        """Which images satisfy it, [n].

        Raises:
            UsageError: there is no such attribute.
        """
        if self.attribute not in values:
            known = ", ".join(sorted(values)) or "none at all"
            raise UsageError(f"vector: no attribute {self.attribute}; the data set has {known}")
        return _COMPARISONS[self.comparison](values[self.attribute], self.value)


@dataclass(frozen=True)
class Contrast:
    """A named direction, from the images that satisfy `less` to those that satisfy `more`."""

    name: str
    more: Condition
    less: Condition

    @classmethod
    def parse(cls, text: str) -> Contrast:
        """Reads `NAME=CONDITION:CONDITION`, as `bold=weight>=700:weight==400`.

        Raises:
            UsageError: the text has another form.
        """
        name, equals, conditions = text.partition("=")
        more, colon, less = conditions.partition(":")
        if not equals or not colon or not re.fullmatch(_NAME, name.strip()):
            raise UsageError(
                f"vector: {text!r} is not NAME=MORE:LESS, as in bold=weight>=700:weight==400"
            )
        return cls(name.strip(), Condition.parse(more), Condition.parse(less))


# What the labels of fonts mean: see latens_training.data.fonts.faces.
_OF_FONTS = {
    "weight": ("bold=weight>=700:weight==400", "light=weight<=300:weight==400"),
    "width": ("condensed=width<5:width==5", "expanded=width>5:width==5"),
}


def suggested(
    values: Mapping[str, NDArray[np.generic]], class_names: Sequence[str] = ()
) -> list[Contrast]:
    """The contrasts that the labels of a set suggest.

    For an attribute of two values the higher against the lower, and for one of more values those
    above the median against the rest; for the weight and width of fonts, bold and light against
    regular, condensed and expanded against normal; for class labels, each class against the rest.
    """
    contrasts: list[Contrast] = []
    for name, known in values.items():
        distinct = np.unique(known)
        if name == "label":
            contrasts += _classes(distinct, class_names)
        elif name in _OF_FONTS:
            contrasts += [Contrast.parse(text) for text in _OF_FONTS[name]]
        elif len(distinct) > 1:
            numbers = known.astype(np.float64)
            middle = float(numbers.min() if len(distinct) == 2 else np.median(numbers))
            above, rest = Condition(name, ">", middle), Condition(name, "<=", middle)
            contrasts.append(Contrast(_slug(name), above, rest))
    return contrasts


def attributes_of(split: Split) -> dict[str, NDArray[np.generic]]:
    """The attributes of each image by name, [n]; the class is named `label`."""
    values = {name: known.numpy() for name, known in split.attributes.items()}
    return values if split.labels is None else values | {"label": split.labels.numpy()}


def directions(
    means: NDArray[np.floating],
    values: Mapping[str, NDArray[np.generic]],
    contrasts: list[Contrast],
) -> dict[str, tuple[float, ...]]:
    """The vector of each contrast, [L], in the units of the latents.

    Contrasts with fewer than five images on a side are omitted.

    Args:
        means: the posterior's means [n, L].
        values: the attributes of the images by name, each [n].
        contrasts: the groups of images to compare.

    Raises:
        UsageError: a contrast names an unknown attribute.
    """
    found = {}
    for contrast in contrasts:
        more, less = contrast.more.holds(values), contrast.less.holds(values)
        if min(more.sum(), less.sum()) >= FEWEST:
            codes = means.astype(np.float64)
            found[contrast.name] = tuple((codes[more].mean(0) - codes[less].mean(0)).tolist())
    return found


@torch.inference_mode()
def posterior_means(model: Autoencoder, split: Split) -> NDArray[np.float32]:
    """The posterior's mean of each image of a split, float32 [n, L]."""
    parts = []
    labels = known_labels(model, split.labels)
    for start in range(0, len(split.images), _BLOCK):
        index = torch.arange(start, min(start + _BLOCK, len(split.images)))
        some = None if labels is None else labels[index]
        parts.append(model.encode(split.images[index].float().div_(255), some)[0])
    return np.asarray(torch.cat(parts).flatten(1).numpy())


def _classes(distinct: NDArray[np.generic], class_names: Sequence[str]) -> list[Contrast]:
    """Each class against the rest."""
    classes = [int(value) for value in distinct.tolist() if value >= 0]
    if not 1 < len(distinct) <= _MOST_CLASSES:
        return []
    return [
        Contrast(
            name, Condition("label", "==", float(value)), Condition("label", "!=", float(value))
        )
        for name, value in zip(_names_of(classes, class_names), classes, strict=True)
    ]


def _names_of(classes: Sequence[int], class_names: Sequence[str]) -> list[str]:
    """`label-` and the name of each class, or its number if names are missing or equal."""
    numbered = [f"label-{value}" for value in classes]
    if max(classes, default=0) >= len(class_names):
        return numbered
    named = [_slug(f"label-{class_names[value]}") for value in classes]
    return named if len(set(named)) == len(named) else numbered


def _slug(name: str) -> str:
    """A name that bundles accept, from the name of an array or folder."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:63]
    return slug or "attribute"
