# Everything a developer does here is one of these targets; `make help` lists them.
# Each works alone in a fresh clone: what it needs is set up first, and skipped when nothing changed.

.DEFAULT_GOAL := help
SHELL := /bin/bash

BIN := .venv/bin
STAMP := .venv/.market-spine-setup
# Left empty, the newest suitable Python is looked for; `make setup PYTHON=/path/to/python` takes that one.
PYTHON ?=
# Passed on to pytest and the benchmarks: make test ARGS="-k calendar"
ARGS ?=
# Processes that run tests at once.
WORKERS ?= 3
# `make lock UPGRADE=1` takes the newest versions; without it, pins stay where they can.
UPGRADE ?=

.PHONY: help setup demo up test test-long check format bench bench-api chaos lock clean

help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the pinned dependencies (skipped when nothing changed)

$(STAMP): requirements.lock pyproject.toml
	@.ci/setup $(PYTHON)

demo: $(STAMP) ## the bundled sessions through real Dagster runs on an embedded PostgreSQL, the metrics printed
	@$(BIN)/spine demo

up: $(STAMP) ## UI, daemon and API on the embedded PostgreSQL; Ctrl-C stops everything
	@exec $(BIN)/spine up

# A module's tests stay together: many share one daemon and webserver, which take longer to start than a test.
test: $(STAMP) ## all tests but the longest (ARGS="-k word" for some of them)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder -m "not long" $(ARGS)

test-long: $(STAMP) ## the tests that take minutes: a year's backfill, ten thousand runs
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m long $(ARGS)

check: $(STAMP) ## format, lint, types, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@if [ -f docs/check.py ]; then echo "$(BIN)/python docs/check.py"; $(BIN)/python docs/check.py; fi

format: $(STAMP) ## write the code the way `check` wants it
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: $(STAMP) ## measure against the goals and write docs/benchmarks.md
	@$(BIN)/python -m benchmarks $(ARGS)

bench-api: $(STAMP) ## measure the REST API against bare psycopg and COPY
	@$(BIN)/python -m benchmarks.figure_api $(ARGS)

chaos: $(STAMP) ## kill runs and servers at random moments and look at what is left
	@$(BIN)/python -m benchmarks.chaos $(ARGS)

# One lock for every platform and Python (--universal); no index host, path or time of day goes into the file.
# Of Market Spine's own pins only pyproject.toml decides; uv itself comes with the dev group.
lock: ## resolve pyproject.toml again into requirements.lock (UPGRADE=1: take newer versions)
	@uv="$$(command -v $(BIN)/uv || command -v uv)" || { echo "lock: uv is not installed; run make setup first" >&2; exit 1; }; \
	"$$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate $(if $(UPGRADE),--upgrade) --output-file requirements.lock pyproject.toml --all-extras --group dev && \
	echo "lock: $$(grep -c '==' requirements.lock) packages"

clean: ## stop the embedded server, remove its data and everything else that can be made again
	@if [ -x $(BIN)/spine ]; then $(BIN)/spine db remove --yes; fi
	rm -rf .venv .spine .pytest_cache .mypy_cache .ruff_cache .hypothesis build market_spine.egg-info
