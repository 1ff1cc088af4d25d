"""The trainer's float32 matrix products are float32 throughout, with every library."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from latens_training.devices import Placement, describe_environment
from latens_training.optimization import onednn_matmul as matrix_products
from latens_training.optimization.onednn_matmul import by_onednn, onednn_matmul

CPU = torch.device("cpu")
# The article's layers at its batch, its last batch and a batch of one: [n, inputs] to outputs.
LAYERS = [(128, 784, 400), (128, 400, 20), (128, 20, 400), (96, 400, 784), (1, 784, 400)]


def setting() -> str:
    return str(torch.backends.mkldnn.matmul.fp32_precision)  # type: ignore[attr-defined]


@pytest.fixture
def onednn_is_wider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a processor where oneDNN is faster, whatever this one is."""
    monkeypatch.setattr(matrix_products, "_is_amd_with_avx512", lambda: True)
    yield
    assert setting() == "none"


@pytest.mark.parametrize("layer", LAYERS)
def test_products_of_a_layer_have_float32s_error(layer: tuple[int, int, int]) -> None:
    count, fan_in, fan_out = layer
    generator = torch.Generator().manual_seed(3)
    inputs, weight, gradient = (
        torch.randn(shape, generator=generator)
        for shape in [(count, fan_in), (fan_out, fan_in), (count, fan_out)]
    )
    factors = [(inputs, weight.t()), (gradient, weight), (gradient.t(), inputs)]
    with onednn_matmul(CPU):
        products = [left @ right for left, right in factors]
    for product, (left, right) in zip(products, factors, strict=True):
        # A sum of k products, each within a rounding; bfloat16 would be off by 2**-9 of each.
        allowed = 2**-21 * (left.double().abs() @ right.double().abs())
        assert ((product.double() - left.double() @ right.double()).abs() <= allowed).all()


@pytest.mark.usefixtures("onednn_is_wider")
def test_on_a_processor_that_would_round_torch_chooses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(matrix_products, "_onednn_rounds_nothing", lambda: False)
    assert not by_onednn(CPU)
    with onednn_matmul(CPU):
        assert setting() == "none"


@pytest.mark.usefixtures("onednn_is_wider")
def test_the_choice_ends_with_the_training_even_if_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(matrix_products, "_onednn_rounds_nothing", lambda: True)

    def fail() -> None:
        with onednn_matmul(CPU):
            assert setting() == "bf16"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_the_probe_sees_factors_that_were_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.Tensor.__matmul__

    def rounded(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return real(left.bfloat16().float(), right.bfloat16().float())

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert not matrix_products._onednn_rounds_nothing.__wrapped__()


def test_the_matrix_product_library_is_recorded() -> None:
    recorded = describe_environment(Placement(CPU))["float32_products"]
    assert recorded == ("onednn" if by_onednn(CPU) else "torch's choice")
