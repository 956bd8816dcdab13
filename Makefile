# What a newcomer and CI type. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCK := requirements/airflow-3.3.lock

# else every process of a test would compile Airflow again
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-once test unit integration check docs bench bench-quick clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## .venv with Airflow, the provider and everything its sandbox and tests need

$(READY): setup.cfg pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: Python 3.11 or newer is needed; PYTHON=python3.12 make ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint $(LOCK) --editable '.[dev]'
	@touch $@

demo: $(READY) ## the whole way, live; stays up and says what to open and try
	$(BIN)/python -m airflow_provider_atlan_meta.sandbox.demo

demo-once: $(READY) ## the same, checked: exit 0 only if nothing was lost or doubled
	$(BIN)/python -m airflow_provider_atlan_meta.sandbox.demo --once

test: check unit integration ## everything, unit to integration on real servers

unit: $(READY) ## seconds, no server
	$(BIN)/python -m pytest -m 'not integration and not search' --ignore tests/integration -q -n 2 --dist loadfile

integration: $(READY) ## on real servers, two sandboxes side by side; long searches too
	$(BIN)/python -m pytest -m 'integration or search' -q -n $(if $(ATLAN_META_SANDBOX_HOME),0,2) --dist loadfile

check: $(READY) ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY) ## the generated pages: settings, metrics, command line
	$(BIN)/python docs/generate.py

bench: $(READY) ## every benchmark with its peers (long)
	$(BIN)/python -m benchmarks

bench-quick: $(READY) ## the short ones, at most 5 minutes
	$(BIN)/python -m benchmarks --quick

clean: ## stops the sandbox, removes it and what was built; keeps .venv
	@if [ -x $(BIN)/atlan-meta ]; then $(BIN)/atlan-meta sandbox down --purge; fi
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
