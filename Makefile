# Everything a developer does here is one of these targets; `make help` lists them.
# Each works alone in a fresh clone: what it needs is set up first, and skipped when nothing changed.

.DEFAULT_GOAL := help
SHELL := /bin/bash

BIN := .venv/bin
STAMP := .venv/.market-spine-setup
AUDIT := .tools/audit/.made
# Left empty, the newest suitable Python is looked for; `make setup PYTHON=/path/to/python` takes that one.
PYTHON ?=
# Passed on to pytest and the benchmarks: make test ARGS="-k calendar"
ARGS ?=
# Processes that run tests at once.
WORKERS ?= 3
# `make lock UPGRADE=1` takes the newest versions; without it, pins stay where they can.
UPGRADE ?=
# A profile of compose.yaml: make compose-up PROFILE=monitoring
PROFILE ?=

.PHONY: help setup demo up test test-long check format bench bench-api chaos manifests k8s-smoke k8s-up k8s-down lock audit sbom compose-env compose-up compose-down clean

help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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
	@$(BIN)/python -m benchmarks.figure_soak

chaos: $(STAMP) ## kill runs and servers at random moments and look at what is left
	@$(BIN)/python -m benchmarks.chaos $(ARGS)

# Needs helm (.ci/tools) and the unpacked official chart (DAGSTER_CHART); IMAGE=registry/name puts that image everywhere.
manifests: $(STAMP) ## both Helm releases as plain manifests, a file an object: build/manifests/<environment>/
	@IMAGE="$(IMAGE)" $(BIN)/python deploy/manifests.py

# Needs Linux, root, Go, helm and the official chart; builds a control plane the first time (minutes).
k8s-smoke: $(STAMP) ## both releases and real runs on a real Kubernetes control plane, without a container engine
	@$(BIN)/python deploy/kubernetes-smoke/smoke.py

k8s-up: ## a cluster on this machine (kind or k3d) with both releases in it
	@deploy/k8s-up

k8s-down: ## remove that cluster with all its data
	@deploy/k8s-down

# Each lock is for every platform and Python (--universal); no index host, path or time of day goes into the files.
# Of Market Spine's own pins only pyproject.toml decides; uv itself comes with the dev group.
# The image's lock and the audit's follow from the first: constraints, so that no pin of theirs differs.
lock: ## resolve pyproject.toml again into the three lock files (UPGRADE=1: take newer versions)
	@uv="$$(command -v $(BIN)/uv || command -v uv)" || { echo "lock: uv is not installed; run make setup first" >&2; exit 1; }; \
	compile() { \
	  "$$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --no-annotate $(if $(UPGRADE),--upgrade) --output-file "$$@" && echo "lock: $$(grep -c '==' "$$1") packages in $$1"; \
	}; \
	compile requirements.lock pyproject.toml --all-extras --group dev && \
	compile requirements-runtime.lock pyproject.toml --extra celery --extra s3 --extra traces --constraint requirements.lock && \
	compile requirements-audit.lock --group audit --constraint requirements.lock

$(AUDIT): requirements-audit.lock | $(STAMP)
	@$(BIN)/python -m venv --clear .tools/audit
	@.tools/audit/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r requirements-audit.lock
	@touch $(AUDIT)

audit: $(STAMP) $(AUDIT) ## known vulnerabilities of the locked packages; asks a public database, package by package
	@for lock in requirements-runtime.lock requirements.lock; do \
	  .tools/audit/bin/pip-audit --require-hashes --disable-pip --progress-spinner off --requirement $$lock $(ARGS) || exit 1; \
	done

sbom: $(STAMP) $(AUDIT) ## the image's Python packages as a CycloneDX bill of materials: build/sbom.cdx.json
	@mkdir -p build
	@PYTHONWARNINGS=ignore .tools/audit/bin/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml \
	  --output-file build/sbom.cdx.json requirements-runtime.lock
	@echo "sbom: build/sbom.cdx.json"

compose-env:
	@deploy/compose/environment

# The second command only waits: it starts nothing that the first has not.
compose-up: compose-env ## the whole platform in containers, built and healthy (PROFILE=monitoring: Prometheus and Grafana too)
	@docker compose $(if $(PROFILE),--profile $(PROFILE)) build
	@docker compose $(if $(PROFILE),--profile $(PROFILE)) up --detach
	@docker compose $(if $(PROFILE),--profile $(PROFILE)) up --detach --no-deps --wait webserver daemon api \
	  $(if $(filter monitoring,$(PROFILE)),prometheus grafana)

compose-down: ## stop and remove its containers; the data stay (docker compose down --volumes removes them)
	@docker compose --profile monitoring down

clean: ## stop the embedded server, remove its data and everything else that can be made again
	@if [ -x $(BIN)/spine ]; then $(BIN)/spine db remove --yes; fi
	rm -rf .venv .spine .pytest_cache .mypy_cache .ruff_cache .hypothesis build market_spine.egg-info
