# The two commands are `make up` and `make test`; a bare `make` lists the rest.
.DEFAULT_GOAL := help
.PHONY: help setup up test bench lint proto proto-check
BIN := .venv/bin

help:  ## Show this list
	@sed -nE "s/^([a-z-]+):.*## /\1\t/p" $(MAKEFILE_LIST) | expand -t 16

setup:  ## Install what is missing: Debian packages, uv, and the locked packages in .venv
	@PYTHON="$(PYTHON)" scripts/setup.sh

up: setup  ## Run the whole mesh on this machine until Ctrl-C
	@exec $(BIN)/scoreboard up

test: setup lint  ## Check style, types, imports and the contract, then run all tests on real servers
	$(BIN)/python -m pytest

bench: setup  ## Measure what an update, one of a batch and a read cost, in CPU of all processes
	$(BIN)/python -m bench

lint: setup proto-check  ## Check style, types, imports and the contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

proto: setup  ## Generate the stubs and tables that derive from proto/
	$(BIN)/python scripts/proto.py

proto-check: setup  ## Fail when they are stale, or when buf finds fault with proto/
	$(BIN)/python scripts/proto.py --lint
	$(BIN)/python scripts/proto.py --check
