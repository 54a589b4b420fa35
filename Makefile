# The two commands are `make up` and `make test`; a bare `make` lists the rest.
.DEFAULT_GOAL := help
.PHONY: help setup up test test-ops soak mutation bench profile lint docs monitoring proto proto-check
.PHONY: web web-check test-web test-clients image test-image cluster test-k8s
BIN := .venv/bin
DEV := yes  # with the packages of tests and checks, which a mesh does not need

help:  ## Show this list
	@sed -nE "s/^([a-z0-9-]+):.*## /\1\t/p" $(MAKEFILE_LIST) | expand -t 16

setup:  ## Install what is missing: Debian packages, uv, and the locked packages in .venv
	@PYTHON="$(PYTHON)" WITH="$(WITH)" DEV="$(DEV)" scripts/setup.sh

up: DEV =
up: setup  ## Run the whole mesh on this machine until Ctrl-C
	@exec $(BIN)/scoreboard up

image: setup  ## Build the image and its bill of materials without Docker (needs root, buildah, mmdebstrap; BASE_IMAGE=)
	@scripts/image.sh

test-image: image  ## Run the image confined, as k8s/overlays/dev says, in a network of its own (needs bubblewrap, iproute2)
	IMAGE_TEST=1 unshare --net sh -c 'ip link set lo up && exec $(BIN)/python -m pytest tests/image'

cluster: setup  ## Make the files of k8s/ that derive from envoy/, web/ and each overlay's settings.env
	$(BIN)/python -m scripts.cluster

test-k8s: setup  ## Check k8s/ and compose.yaml with tools of their own: checkov, the custom resources' types, Compose
	@scripts/test-k8s.sh

test: WITH = chromium monitoring
test: setup lint  ## Check style, types, imports and the contract, then run all tests on real servers
	$(BIN)/python -m pytest -n 2  # much of a test is waiting: two at a time

test-ops: WITH = log-pipeline monitoring
test-ops: setup  ## Run the tests that take longer or need more servers: each alert fires, and log lines reach an index
	$(BIN)/python -m pytest tests/ops

soak: setup  ## Prove every promise at its full size (SEED=, ROWS=1,9-12); goes on where it was stopped
	$(BIN)/python -m tests.soak $(if $(SEED),--seed $(SEED)) $(if $(ROWS),--rows $(ROWS))

bench: setup  ## Measure what everything costs and how fast it is (CASE=unary: one case; CASE=memory HOURS=1: longer)
	$(if $(HOURS),HOURS=$(HOURS)) $(BIN)/python -m bench $(CASE)

profile: setup  ## Show where a case of the bench spends its time: a flame graph a service (CASE=unary)
	$(BIN)/python -m bench.profile $(CASE)

mutation: setup  ## Break the guards of the promises one at a time, and show that some test fails for each
	$(BIN)/python -m tests.mutation

lint: setup proto-check  ## Check style, types, imports and the contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup  ## Build the documentation as a site in site/, and fail on a dead link within it
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs site

monitoring: setup  ## Make the dashboards, the rules of promises and the page of metrics that derive from tables
	$(BIN)/python -m monitoring

proto: setup  ## Generate the stubs and tables that derive from proto/
	$(BIN)/python -m scripts.proto

proto-check: setup  ## Fail when they are stale, or when buf finds fault with proto/
	$(BIN)/python -m scripts.proto --lint
	$(BIN)/python -m scripts.proto --check

web: setup  ## Generate and build what is made from web/ and committed (needs Node 20.19 with npm, as the next two)
	$(BIN)/python web/build.py

web-check: setup  ## Fail when it is stale, or when web/ has faults of style or types
	$(BIN)/python web/build.py --check
	npm --prefix web run --silent check

test-web: web-check  ## Run the tests of web/ that need npm: its rules, the client in that Node, the page with axe
	npm --prefix web run --silent test
	npm --prefix web/client run --silent package
	WEB_NODE="$$(command -v node)" $(BIN)/python -m pytest tests/e2e/test_ts_client_in_node.py tests/web/test_live_board.py

test-clients: setup  ## Build the clients in Go, Java and Rust where their toolchains are, and run them at a mesh
	$(BIN)/python -m pytest tests/native_clients.py
