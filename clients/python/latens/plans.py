"""What a client does for each of its methods: ask for the model's limits, then send the batch."""

from __future__ import annotations

from typing import TypeVar

from latens import calls, models
from latens.calls import Call, Plan, ask
from latens.chunks import CallBudget, ModelRef, Progress
from latens.errors import InvalidInputError, ModelNotFoundError, ResponseError
from latens.models import Model
from latens.operations.operation import Operation
from latens.results import Models, Result
from latens.v1 import latens_pb2 as pb

ResultT = TypeVar("ResultT", bound=Result)

_PAGE_SIZE = 100


class Plans:
    """Makes the plans of one client, and remembers the models' descriptions."""

    def __init__(self, max_message_bytes: int, rows_per_call: int | None) -> None:
        self._max_message_bytes = max_message_bytes
        self._rows_per_call = rows_per_call
        self._known: dict[ModelRef, Model] = {}

    def list_models(self) -> Plan[Models]:
        found: list[Model] = []
        token = ""
        while True:
            request = pb.ListModelsRequest(page_size=_PAGE_SIZE, page_token=token)
            page = (yield from ask(Call(calls.LIST_MODELS, request))).message
            found += [models.from_message(model) for model in page.models]
            token = page.next_page_token
            if not token:
                return Models(tuple(found), page.default_model)

    def model(self, ref: ModelRef) -> Plan[Model]:
        """Asks the server for a model's description, and remembers it."""
        request = pb.GetModelRequest(**ref._asdict())
        reply = (yield from ask(Call(calls.GET_MODEL, request))).message
        model = models.from_message(reply.model)
        if model.limits.max_rows < 1 or model.limits.max_message_bytes < 1:
            raise ResponseError("the server does not state the limits of a call")
        self._known[ref] = model
        return model

    def run(
        self, operation: Operation[ResultT], ref: ModelRef, progress: Progress | None
    ) -> Plan[ResultT]:
        """Sends a batch within the model's limits.

        The remembered description may be out of date: a new version has other shapes, or a server
        was restarted with other limits. When a call built by it is refused, the description is
        asked for again, and if it has changed, the batch is sent once more. When another version
        answers, the description is asked for before the next batch.
        """
        remembered = self._known.get(ref)
        if remembered is None:
            model = yield from self.model(ref)
            return (yield from self._send(operation, model, ref, progress))
        try:
            return (yield from self._send(operation, remembered, ref, progress))
        except (InvalidInputError, ModelNotFoundError):
            model = yield from self.model(ref)
            if model == remembered:
                raise
        return (yield from self._send(operation, model, ref, progress))

    def _send(
        self,
        operation: Operation[ResultT],
        model: Model,
        ref: ModelRef,
        progress: Progress | None,
    ) -> Plan[ResultT]:
        budget = CallBudget(model.limits, self._max_message_bytes, self._rows_per_call, progress)
        result = yield from operation.plan(model, ref, budget)
        if result.version != model.version:
            self._known.pop(ref, None)
        return result
