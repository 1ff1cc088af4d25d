"""The calls that take a batch, one class each: its arguments, its requests, its result."""

from latens.operations.judging import Chain, Inpaint, Score
from latens.operations.mapping import Decode, Encode, Reconstruct
from latens.operations.operation import Kind, Operation, Shifts
from latens.operations.scanning import Axis, Scan, Traverse
from latens.operations.walking import Interpolate, Mode, Sample, Walk

__all__ = [
    "Axis",
    "Chain",
    "Decode",
    "Encode",
    "Inpaint",
    "Interpolate",
    "Kind",
    "Mode",
    "Operation",
    "Reconstruct",
    "Sample",
    "Scan",
    "Score",
    "Shifts",
    "Traverse",
    "Walk",
]
