# Latens: `make run` trains on the embedded MNIST, exports and serves; `make test` runs every test.
# Works with GNU make 3.81 and later. Each variable with `?=` can be set: make run PORT=6000

PYTHON      ?= $(shell scripts/find-python)
VENV        ?= .venv
BIN         := $(VENV)/bin

# The model of `make train` and `make export`.
NAME        ?= mnist-2d
MODEL       ?= vae-mlp
DATASET     ?= mnist
LATENT_SIZE ?= 2
BETA        ?= 1
EPOCHS      ?= 20
SEED        ?= 0
TRAIN_ARGS  ?=
RUNS        ?= runs
REPOSITORY  ?= models

# The server.
HOST        ?= 127.0.0.1
PORT        ?= 50051
HTTP_PORT   ?= 8080
DEVICE      ?= auto
SERVE_ARGS  ?=

PYTEST_ARGS ?= -n 2 --dist loadfile
IMAGE       ?= latens-server
IMAGE_FOR   ?= cuda
IMAGE_ARGS  ?=
BENCH_ARGS  ?=
OBSERVE_ARGS ?=
FRONTEND    ?= http2
CHAOS_CALLS ?= 10000
SOAK_MINUTES ?= 3
FASHION     ?= /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz
PIN_ARGS    ?=

.DEFAULT_GOAL := help
.PHONY: help run test chaos soak bulk-proof lint fix-lint proto verify-proto train export serve image bench observe pins release-proto clean

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- environment ---------------------------------------------------------------------------------

# Our distributions, in the order of their dependencies.
PACKAGES   := clients/python serving training export bulk
PROJECTS   := $(PACKAGES:%=%/pyproject.toml)
EDITABLES  := $(PACKAGES:%=-e ./%)
RUN_READY  := $(VENV)/.ready-to-run
TEST_READY := $(VENV)/.ready-to-test
PIP        := $(BIN)/python -m pip --disable-pip-version-check

$(BIN)/python:
	@scripts/make-venv "$(PYTHON)" $(VENV)

$(RUN_READY): requirements/train.txt $(PROJECTS) | $(BIN)/python
	$(PIP) install -r requirements/train.txt
	$(PIP) install --no-deps --no-build-isolation --quiet $(EDITABLES)
	@touch $@

$(TEST_READY): requirements/dev.txt $(PROJECTS) | $(BIN)/python
	$(PIP) install -r requirements/dev.txt
	$(PIP) install --no-deps --no-build-isolation --quiet $(EDITABLES)
	@touch $(RUN_READY) $@

# --- train, export, serve ----------------------------------------------------------------

run: $(RUN_READY) ## Train on MNIST if needed, export, serve; Ctrl-C stops
	@exec env BIN="$(BIN)" RUNS="$(RUNS)" REPOSITORY="$(REPOSITORY)" EPOCHS="$(EPOCHS)" SEED="$(SEED)" \
	  HOST="$(HOST)" PORT="$(PORT)" HTTP_PORT="$(HTTP_PORT)" DEVICE="$(DEVICE)" scripts/run

train: $(RUN_READY) ## Train one model: NAME= MODEL= DATASET= LATENT_SIZE= BETA= EPOCHS= SEED=
	$(BIN)/latens-train --model $(MODEL) --dataset $(DATASET) --latent-size $(LATENT_SIZE) \
	  --beta $(BETA) --epochs $(EPOCHS) --seed $(SEED) --out $(RUNS)/$(NAME) $(TRAIN_ARGS)

export: $(RUN_READY) ## Export the trained model NAME= into the repository REPOSITORY=
	$(BIN)/latens-export $(RUNS)/$(NAME) --repository $(REPOSITORY) --name $(NAME)

serve: $(RUN_READY) ## Serve the repository: HOST= PORT= HTTP_PORT= DEVICE= SERVE_ARGS=
	$(BIN)/latens-serve --repository $(REPOSITORY) --host $(HOST) --port $(PORT) \
	  --http-port $(HTTP_PORT) --device $(DEVICE) $(SERVE_ARGS)

# --- tests and checks -----------------------------------------------------------------------------------------

# Tests and benchmarks are type-checked, but their signatures need no annotations.
LIGHTER := --allow-untyped-defs --allow-incomplete-defs --allow-untyped-calls --allow-any-generics \
  --allow-untyped-decorators --allow-subclassing-any --no-warn-return-any --no-warn-unreachable \
  --no-warn-unused-ignores --implicit-reexport --ignore-missing-imports \
  --disable-error-code var-annotated --disable-error-code redundant-expr \
  --disable-error-code possibly-undefined

test: $(TEST_READY) ## Run every test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

chaos: $(RUN_READY) $(TEST_READY) ## Ten thousand invalid calls to a real server: CHAOS_CALLS= FRONTEND=
	$(BIN)/python tests/chaos.py --repository $(REPOSITORY) --calls $(CHAOS_CALLS) --frontend $(FRONTEND)
	$(BIN)/python tests/grpc_cases.py --repository $(REPOSITORY)
	$(BIN)/python tests/http_cases.py --repository $(REPOSITORY)
	$(BIN)/python tests/bundle_cases.py --repository $(REPOSITORY)

soak: $(RUN_READY) $(TEST_READY) ## Steady load; memory, files, threads must not grow: SOAK_MINUTES= FRONTEND=
	$(BIN)/python tests/soak.py --repository $(REPOSITORY) --minutes $(SOAK_MINUTES) --frontend $(FRONTEND)

bulk-proof: $(RUN_READY) $(TEST_READY) ## Encode 60,000 images, killed three times; every row compared: FASHION=
	$(BIN)/python tests/bulk/proof.py $(REPOSITORY)/$(NAME)/1
	@if [ -f "$(FASHION)" ]; then $(BIN)/python tests/bulk/proof.py $(REPOSITORY)/$(NAME)/1 --idx "$(FASHION)"; \
	  else echo "no Fashion-MNIST at $(FASHION): Debian has it as dataset-fashion-mnist"; fi

lint: $(TEST_READY) verify-proto ## Check format, style, types, protos and the Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy $(LIGHTER) tests benchmarks
	$(BIN)/hadolint Dockerfile

fix-lint: $(TEST_READY) ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# --- the contract ------------------------------------------------------------------------------------

STUBS       := clients/python
PROTO_FILES  = $(shell cd proto && find . -name '*.proto' | sed 's|^\./||' | sort)
PROTO_READY := $(VENV)-proto/.ready
PROTOC       = $(VENV)-proto/bin/python -W ignore -m grpc_tools.protoc -I proto \
  --python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) $(PROTO_FILES)

$(PROTO_READY): requirements/proto.txt
	@scripts/make-venv "$(shell scripts/find-python 3.11 3.12)" $(VENV)-proto
	$(VENV)-proto/bin/python -m pip install --disable-pip-version-check --quiet -r $<
	@touch $@

proto: $(PROTO_READY) $(TEST_READY) ## Generate the stubs and docs/api.md from proto/
	$(call PROTOC,$(STUBS))
	$(BIN)/python scripts/api_docs.py

verify-proto: $(PROTO_READY) $(TEST_READY) ## Check that the stubs are current and the contract is valid
	@rm -rf build/stubs && mkdir -p build/stubs
	@$(call PROTOC,build/stubs)
	@scripts/compare-stubs build/stubs $(STUBS)
	$(BIN)/python scripts/api_docs.py --check
	$(BIN)/buf lint proto
	@scripts/check-breaking $(BIN)/buf

release-proto: $(TEST_READY) ## Write the contract to dist/ as an archive and as a descriptor set
	$(BIN)/python scripts/release_proto.py dist

# --- the rest ------------------------------------------------------------------------------------------

bench: $(TEST_READY) ## Measure the server on this machine in less than a minute: BENCH_ARGS=--help
	$(BIN)/python benchmarks/serve.py --short $(BENCH_ARGS)

observe: ## Prometheus, and Grafana if installed, against the running server: HTTP_PORT= OBSERVE_ARGS=
	@"$(PYTHON)" scripts/observe.py --server 127.0.0.1:$(HTTP_PORT) $(OBSERVE_ARGS)

image: ## Build the container image: IMAGE= IMAGE_FOR=cuda|cpu IMAGE_ARGS=
	@scripts/build-image "$(IMAGE)" "$(IMAGE_FOR)" $(IMAGE_ARGS)

pins: $(TEST_READY) ## Update requirements/*.txt from the pyproject.toml files (PIN_ARGS=--upgrade: the newest)
	UV=$(BIN)/uv requirements/pin.sh $(PIN_ARGS)

clean: ## Remove environments and caches; trained models and runs stay
	rm -rf $(VENV) $(VENV)-proto build dist .stamps .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
