# The serving image: neither torch nor onnx, no shell script, no root.
#
#   make image                 for CUDA; needs only the host's driver
#   make image IMAGE_FOR=cpu   for CPUs only, far smaller
#   make image IMAGE=latens-bulk IMAGE_ARGS='--build-arg BULK=1'   with latens-bulk, for data sets
#
# Models are mounted at /models, or included with --build-arg MODELS=models (a path in this directory).
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ARG DEVICE=cuda
WORKDIR /build
RUN ["python3", "-m", "venv", "/opt/latens"]
COPY requirements/ requirements/
# The build tools of our wheels are pinned too. The variable has another name since pip 25.3.
ENV PIP_CONSTRAINT=/build/requirements/train.txt \
    PIP_BUILD_CONSTRAINT=/build/requirements/train.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN --mount=type=cache,target=/root/.cache/pip \
    PIP_CONSTRAINT='' /opt/latens/bin/pip install -r "requirements/serve-${DEVICE}.txt"
COPY clients/ clients/
COPY serving/ serving/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/latens/bin/pip install --no-deps ./clients/python ./serving
ARG BULK=
COPY bulk/ bulk/
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ -n "${BULK}" ]; then \
      /opt/latens/bin/pip install --no-deps -r requirements/bulk.txt ./bulk; \
    fi \
    && /opt/latens/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE} AS serve
ARG DEVICE=cuda
ARG MODELS=deploy/image/models
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="latens-serving" \
      org.opencontainers.image.description="Serves the latent spaces of variational autoencoders over gRPC." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/latens /opt/latens
COPY ${MODELS}/ /models/
# Settings of the server; with LATENS_SERVE_DEVICE=cuda it never falls back to the CPU.
ENV PATH=/opt/latens/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LATENS_SERVE_DEVICE=${DEVICE} \
    LATENS_SERVE_REPOSITORY=/models \
    LATENS_SERVE_HOST=0.0.0.0
USER 65532:65532
WORKDIR /tmp
EXPOSE 50051 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/opt/latens/bin/latens-healthcheck"]
ENTRYPOINT ["/opt/latens/bin/latens-serve"]
