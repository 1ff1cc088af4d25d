"""The precisions of graphs."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """How a bundle's graphs compute. Inputs and outputs are float32 in each."""

    FLOAT32 = "float32"
    TF32 = "tf32"
    """float32 graphs whose products a GPU rounds to 10 bits of mantissa; on a CPU, float32."""
    FLOAT16 = "float16"
    """Half the bytes. For GPUs: a CPU computes it in float32, no faster than float32 graphs."""
    INT8 = "int8"
    """Large matrix products in integers, the rest in float32. For CPUs, with or without VNNI. A
    decoder whose images would differ too much stays float32."""


DEFAULT_TOLERANCE = {
    Precision.FLOAT32: 1e-4,
    Precision.TF32: 5e-3,
    Precision.FLOAT16: 5e-3,
    Precision.INT8: 5e-2,
}
