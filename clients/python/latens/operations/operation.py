"""The interface of the calls that take a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from latens import arguments
from latens.calls import Plan
from latens.chunks import BatchReply, BatchSpec, CallBudget, ModelRef, send
from latens.errors import invalid
from latens.models import Model
from latens.results import Result
from latens.v1 import latens_pb2 as pb

ResultT = TypeVar("ResultT", bound=Result)
Shifts = Mapping[str, float]
"""Attributes of the model by name, each with the strength to add it with."""


class Operation(Generic[ResultT]):
    """A batch to be sent in as many calls as the model's limits need."""

    def spec(self, model: Model) -> BatchSpec:
        """The size of the batch for a model, and its calls."""
        raise NotImplementedError

    def result(self, reply: BatchReply) -> ResultT:
        """The method's result, from the joined answers."""
        raise NotImplementedError

    def plan(self, model: Model, ref: ModelRef, budget: CallBudget) -> Plan[ResultT]:
        """Sends the batch; operations whose single item may exceed a call override this."""
        reply = yield from send(self.spec(model), ref, budget)
        return self.result(reply)


def shifts_of(attributes: Shifts | None) -> list[pb.AttributeShift]:
    """Attribute strengths as messages.

    Raises:
        InvalidInputError: a name is no text, or a strength no number.
    """
    if attributes is not None and not isinstance(attributes, Mapping):
        raise invalid("attributes", "expected names with strengths, as {'bold': 1.5}")
    return [
        pb.AttributeShift(
            name=arguments.text("attributes", name),
            strength=arguments.number(f"attributes[{name!r}]", strength),
        )
        for name, strength in (attributes or {}).items()
    ]
