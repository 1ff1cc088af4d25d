"""The calls that take a batch, one class per RPC: its arguments, its requests, its result."""

from latens.operations.decode import Decode
from latens.operations.encode import Encode, EncodeCodes
from latens.operations.endpoints import Kind
from latens.operations.inpaint import Chain, Inpaint
from latens.operations.interpolate import Interpolate, Mode, Walk
from latens.operations.operation import Operation, Shifts
from latens.operations.reconstruct import Reconstruct
from latens.operations.sample import Sample
from latens.operations.score import Score
from latens.operations.traverse import Axis, Scan, Traverse

__all__ = [
    "Axis",
    "Chain",
    "Decode",
    "Encode",
    "EncodeCodes",
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
