"""Float32 matrix products by oneDNN on AMD processors with AVX-512.

torch gives float32 products to MKL, which does not use the AVX-512 of AMD processors. oneDNN, which
torch contains too, uses it: the article's network trains 1.5 times as fast. torch passes float32
products to oneDNN only where bfloat16 is allowed inside them. Without AMX, oneDNN makes no use of
that permission and computes in float32; a probe checks this.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def onednn_matmul(device: torch.device) -> Iterator[None]:
    """Computes float32 products on the device by oneDNN, where that is faster and exact."""
    if not by_onednn(device):
        yield
        return
    with _onednn_allowed():
        yield


def by_onednn(device: torch.device) -> bool:
    """Whether `onednn_matmul` uses oneDNN; bits of the products depend on it."""
    return device.type == "cpu" and _is_amd_with_avx512() and _onednn_rounds_nothing()


@contextmanager
def _onednn_allowed() -> Iterator[None]:
    setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # mypy sees no properties
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = before


@cache
def _is_amd_with_avx512() -> bool:
    # Older versions of torch cannot tell; they train as fast as they did.
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    maker = str(capabilities.get("cpu_name", ""))
    with_amx = bool(capabilities.get("amx_tile", False))
    return maker.startswith("AMD") and bool(capabilities.get("avx512_bw", False)) and not with_amx


@cache
def _onednn_rounds_nothing() -> bool:
    """Whether the products of a linear layer, forward and backward, keep float32's digits.

    Each factor is 1 + 2**-12, which bfloat16 takes for 1, or 1; so every sum is exact in float32.
    """
    inputs, weight, gradient = (torch.ones(size) for size in [(128, 512), (384, 512), (128, 384)])
    inputs += 2**-12
    weight += 2**-12
    exact = 1 + 2**-12
    with _onednn_allowed():
        products = [
            (inputs @ torch.ones_like(weight).t(), 512),
            (gradient @ weight, 384),
            (gradient.t() @ inputs, 128),
        ]
    return all(bool((product == terms * exact).all()) for product, terms in products)
