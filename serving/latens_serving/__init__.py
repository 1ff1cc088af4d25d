"""Serves the latent spaces of variational autoencoders, and embeds them in other programs.

`Encoder` and `Decoder` run a bundle in this process, without a server. They are loaded when they
are first named, so that importing the package is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latens_serving.models.embedding import Decoder, Encoder

__all__ = ["Decoder", "Encoder"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from latens_serving.models import embedding

        return getattr(embedding, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
