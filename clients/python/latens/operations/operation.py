"""What the calls that take a batch have in their nature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Literal, TypeVar

from latens.chunks import Address, Gathered, Pace, Work, send
from latens.exchange import Plan
from latens.models import Model
from latens.v1 import latens_pb2 as pb

ResultT = TypeVar("ResultT")
Kind = Literal["latents", "images"]
"""What an array holds, where its shape does not tell."""
Shifts = Mapping[str, float]
"""Attributes of the model by name, each with the strength to add it with."""


class Operation(Generic[ResultT]):
    """A batch to be sent in as many calls as the model's limits need."""

    def work(self, model: Model) -> Work:
        """The batch, measured against a model."""
        raise NotImplementedError

    def result(self, done: Gathered) -> ResultT:
        """What the caller gets from the joined answers."""
        raise NotImplementedError

    def plan(self, model: Model, address: Address, pace: Pace) -> Plan[ResultT]:
        """Sends the batch: whole items in calls of one kind, unless an operation knows better."""
        done = yield from send(self.work(model), address, pace)
        return self.result(done)


def shifts_of(attributes: Shifts | None) -> list[pb.AttributeShift]:
    return [
        pb.AttributeShift(name=name, strength=strength)
        for name, strength in (attributes or {}).items()
    ]
