"""The protocol's service: messages in, messages out, and no transport."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from latens.oip import open_inference_pb2 as oip
from latens_serving.calls.admission import Admission
from latens_serving.calls.context import CallContext
from latens_serving.errors import InvalidInputError, LatensError, UnsupportedError
from latens_serving.models.model import Labels, LoadedModel
from latens_serving.models.repository import Entry, Repository, State
from latens_serving.models.statistics import GraphStatistics
from latens_serving.service import validation
from latens_serving.service.labels import labels_apart
from latens_serving.transports.oip import graphs, requests
from latens_serving.transports.oip.graphs import Graph
from latens_serving.transports.oip.requests import ReadRequest
from latens_serving.transports.oip.responses import Inferred

EXTENSIONS = ("model_configuration", "model_repository", "statistics")

_STATES = {
    State.LOADING: "LOADING",
    State.READY: "READY",
    State.DRAINING: "UNLOADING",
    State.FAILED: "UNAVAILABLE",
}


class OpenInferenceService:
    """`inference.GRPCInferenceService` over the models of a repository."""

    def __init__(self, models: Repository, admission: Admission) -> None:
        self._models = models
        self._admission = admission

    async def server_live(
        self, request: oip.ServerLiveRequest, call: CallContext
    ) -> oip.ServerLiveResponse:
        del request, call
        return oip.ServerLiveResponse(live=True)

    async def server_ready(
        self, request: oip.ServerReadyRequest, call: CallContext
    ) -> oip.ServerReadyResponse:
        del request, call
        ready = any(entry.state is State.READY for entry in self._models.entries())
        return oip.ServerReadyResponse(ready=ready)

    async def model_ready(
        self, request: oip.ModelReadyRequest, call: CallContext
    ) -> oip.ModelReadyResponse:
        del call
        try:
            bundle, _ = graphs.split_name(request.name)
            self._models.pick(bundle, request.version)
        except LatensError:
            return oip.ModelReadyResponse(ready=False)
        return oip.ModelReadyResponse(ready=True)

    async def server_metadata(
        self, request: oip.ServerMetadataRequest, call: CallContext
    ) -> oip.ServerMetadataResponse:
        del request, call
        return oip.ServerMetadataResponse(
            name="latens", version=version("latens-serving"), extensions=EXTENSIONS
        )

    async def model_metadata(
        self, request: oip.ModelMetadataRequest, call: CallContext
    ) -> oip.ModelMetadataResponse:
        model, graph = self._pick(request.name, request.version, call)
        ready = sorted(entry.version for entry in self._ready(model.name))
        versions = [str(number) for number in ready]
        return graphs.metadata(request.name, versions, model.spec, graph)

    async def model_config(
        self, request: oip.ModelConfigRequest, call: CallContext
    ) -> oip.ModelConfigResponse:
        model, graph = self._pick(request.name, request.version, call)
        config = graphs.config(request.name, model.limits.max_rows, model.spec, graph)
        return oip.ModelConfigResponse(config=config)

    async def model_infer(
        self, request: oip.ModelInferRequest, call: CallContext
    ) -> oip.ModelInferResponse:
        answer = await self.infer_rows(ReadRequest(request), None, call)
        return answer.message()

    async def infer_rows(
        self, request: ReadRequest, raw: bytes | memoryview | None, call: CallContext
    ) -> Inferred:
        """ModelInfer without a message around the elements.

        Args:
            request: the request.
            raw: its raw contents where they were taken out of it.
            call: of this request.
        """
        message = request.message
        bundle, graph = graphs.split_name(message.model_name)
        with self._admission.lease(bundle, message.model_version, call) as model:
            statistics = model.statistics[graph.value]
            begun = time.perf_counter_ns()
            understood = request.understand(model.spec, graph)
            given: validation.Given = requests.tensor_of(message, understood, raw)
            check = validation.data_of if graph is Graph.ENCODER else validation.latents_of
            labels: Labels | None = None
            if model.spec.label_count is not None:
                row_shape = graphs.input_of(model.spec, graph).row_shape
                given, labels = labels_apart(given, "inputs[0]", model, row_shape)
            rows = await validation.checked(check, given, "inputs[0]", model)
            call.rows = len(rows)
            statistics.input_ns += time.perf_counter_ns() - begun
            outputs = await _run(model, graph, rows, labels, call)
            wanted = {name: outputs[name] for name in understood.outputs}
            return Inferred(message.model_name, model.version, message.id, wanted, statistics)

    async def model_statistics(
        self, request: oip.ModelStatisticsRequest, call: CallContext
    ) -> oip.ModelStatisticsResponse:
        if request.name:
            self._pick(request.name, request.version, call)  # raises if there is none
        return oip.ModelStatisticsResponse(
            model_stats=[
                _statistics(name, entry, statistics)
                for entry, name, statistics in self._all_statistics()
                if request.name in ("", name) and request.version in ("", str(entry.version))
            ]
        )

    async def repository_index(
        self, request: oip.RepositoryIndexRequest, call: CallContext
    ) -> oip.RepositoryIndexResponse:
        del call
        if request.repository_name:
            raise InvalidInputError.at("repository_name", "expected none: there is one repository")
        return oip.RepositoryIndexResponse(
            models=[
                oip.RepositoryIndexResponse.ModelIndex(
                    name=graphs.model_name(entry.name, graph),
                    version=str(entry.version),
                    state=_STATES[entry.state],
                    reason=entry.reason,
                )
                for entry in self._models.entries()
                if entry.state is State.READY or not request.ready
                for graph in Graph
            ]
        )

    async def repository_model_load(
        self, request: oip.RepositoryModelLoadRequest, call: CallContext
    ) -> oip.RepositoryModelLoadResponse:
        del request, call
        raise UnsupportedError(_ADMIN_ONLY)

    async def repository_model_unload(
        self, request: oip.RepositoryModelUnloadRequest, call: CallContext
    ) -> oip.RepositoryModelUnloadResponse:
        del request, call
        raise UnsupportedError(_ADMIN_ONLY)

    def _pick(self, name: str, wanted: str, call: CallContext) -> tuple[LoadedModel, Graph]:
        bundle, graph = graphs.split_name(name)
        model = self._models.pick(bundle, wanted)
        call.model, call.version = model.name, model.version
        return model, graph

    def _ready(self, bundle: str = "") -> Iterator[Entry]:
        return (
            entry
            for entry in self._models.entries()
            if entry.state is State.READY and bundle in ("", entry.name)
        )

    def _all_statistics(self) -> Iterator[tuple[Entry, str, GraphStatistics]]:
        for entry in self._ready():
            assert entry.model is not None
            for graph in Graph:
                name = graphs.model_name(entry.name, graph)
                yield entry, name, entry.model.statistics[graph.value]


_ADMIN_ONLY = "models are loaded and unloaded at the administration's address"


async def _run(
    model: LoadedModel,
    graph: Graph,
    rows: NDArray[Any],
    labels: Labels | None,
    call: CallContext,
) -> dict[str, NDArray[Any]]:
    """The outputs of a graph by name."""
    spec = model.spec
    if graph is Graph.DECODER:
        return {spec.data_field: await model.decode(rows, call.deadline, labels)}
    posterior = await model.encode(rows, call.deadline, labels)
    outputs = {spec.encoded_fields[0]: posterior.mean}
    if posterior.log_var is not None:
        outputs["log_var"] = posterior.log_var
    return outputs


def _statistics(name: str, entry: Entry, statistics: GraphStatistics) -> oip.ModelStatistics:
    """The sums of a graph. The four parts have one count, as clients of Triton check."""

    def part(nanoseconds: int, count: int = statistics.calls) -> oip.StatisticDuration:
        return oip.StatisticDuration(count=count, ns=nanoseconds)

    parts = (
        statistics.queue_ns,
        statistics.input_ns,
        statistics.infer_ns,
        statistics.output_ns,
    )
    return oip.ModelStatistics(
        name=name,
        version=str(entry.version),
        last_inference=statistics.last_run_ms,
        inference_count=statistics.rows,
        execution_count=statistics.runs,
        inference_stats=oip.InferStatistics(
            success=part(sum(parts)),
            fail=part(statistics.failed_ns, statistics.failed_calls),
            queue=part(statistics.queue_ns),
            compute_input=part(statistics.input_ns),
            compute_infer=part(statistics.infer_ns),
            compute_output=part(statistics.output_ns),
        ),
    )
