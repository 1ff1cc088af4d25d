"""What a client does for each of its methods: learn the model's limits, then send the batch."""

from __future__ import annotations

from typing import TypeVar

from latens import exchange, models
from latens.chunks import Address, Pace, Progress
from latens.errors import ModelNotFoundError, ResponseError, TooLargeError
from latens.exchange import Call, Plan, ask
from latens.models import Model
from latens.operations.operation import Operation
from latens.results import Models
from latens.v1 import latens_pb2 as pb

ResultT = TypeVar("ResultT")

_PAGE_SIZE = 100


class Plans:
    """Makes the plans of one client, and remembers what it learnt of the models."""

    def __init__(self, max_message_bytes: int, rows_per_call: int | None) -> None:
        self._max_message_bytes = max_message_bytes
        self._rows_per_call = rows_per_call
        self._known: dict[Address, Model] = {}

    def list_models(self) -> Plan[Models]:
        found: list[Model] = []
        token = ""
        while True:
            request = pb.ListModelsRequest(page_size=_PAGE_SIZE, page_token=token)
            page = (yield from ask(Call(exchange.LIST_MODELS, request))).message
            found += [models.from_message(model) for model in page.models]
            token = page.next_page_token
            if not token:
                return Models(tuple(found), page.default_model)

    def model(self, address: Address) -> Plan[Model]:
        """Asks anew, and remembers."""
        request = pb.GetModelRequest(**address._asdict())
        reply = (yield from ask(Call(exchange.GET_MODEL, request))).message
        model = models.from_message(reply.model)
        if model.limits.max_rows < 1 or model.limits.max_message_bytes < 1:
            raise ResponseError("the server does not say what a call may carry")
        self._known[address] = model
        return model

    def run(
        self, operation: Operation[ResultT], address: Address, progress: Progress | None
    ) -> Plan[ResultT]:
        """Sends a batch within the model's limits.

        Limits remembered may have become others (another version, a server restarted with other
        settings): they are learnt anew once when the server refuses what they allowed.
        """
        remembered = self._known.get(address)
        if remembered is not None:
            try:
                return (yield from self._send(operation, remembered, address, progress))
            except (TooLargeError, ModelNotFoundError):
                self._known.pop(address, None)
        model = yield from self.model(address)
        return (yield from self._send(operation, model, address, progress))

    def _send(
        self,
        operation: Operation[ResultT],
        model: Model,
        address: Address,
        progress: Progress | None,
    ) -> Plan[ResultT]:
        pace = Pace(model.limits, self._max_message_bytes, self._rows_per_call, progress)
        return (yield from operation.plan(model, address, pace))
