"""Client of Latens, the latent space server.

    with latens.Client("127.0.0.1:50051") as client:
        images = client.sample(16, seed=7).images
        posterior = client.encode(images)

`Client` for threads, `AsyncClient` for asyncio, `errors` for what can go wrong, `pictures` to read
picture files.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latens.async_client import AsyncClient
    from latens.channel import Tls
    from latens.client import Client
    from latens.errors import LatensError
    from latens.health import Health
    from latens.models import LatentDim, Limits, Model
    from latens.results import (
        Codes,
        Decoding,
        Encoding,
        Inpainting,
        Models,
        Paths,
        Reconstruction,
        Samples,
        Scores,
        Traversal,
    )

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "Codes",
    "Decoding",
    "Encoding",
    "Health",
    "Inpainting",
    "LatensError",
    "LatentDim",
    "Limits",
    "Model",
    "Models",
    "Paths",
    "Reconstruction",
    "Samples",
    "Scores",
    "Tls",
    "Traversal",
]

# Imported at first use, so that `latens.pictures` and the codecs can be had without gRPC.
_MODULES = {
    "AsyncClient": "async_client",
    "Client": "client",
    "Health": "health",
    "LatensError": "errors",
    "LatentDim": "models",
    "Limits": "models",
    "Model": "models",
    "Tls": "channel",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = importlib.import_module(f"latens.{_MODULES.get(name, 'results')}")
        value = globals()[name] = getattr(module, name)
        return value
    if name in ("errors", "results", "models"):
        return importlib.import_module(f"latens.{name}")
    raise AttributeError(f"module 'latens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
