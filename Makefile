# The two commands are `make demo` and `make test`; each sets itself up on a fresh machine.
# They need Python 3.11 or newer with pip and venv, and the package index; nothing else.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
# The exact versions that the tests were last run with, of runtimes of half a gigabyte each; CONSTRAINTS=
# takes whatever pyproject.toml allows.
CONSTRAINTS ?= .ci/constraints.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
# What the tests install. TensorFlow itself is an alternative, and large: CI adds the extra `tensorflow`.
EXTRAS ?= all,test,bench
# Tests run in as many processes as there are cores.
JOBS ?= auto

.PHONY: demo test check bench chart diagnoses soak format clean

demo: $(VENV)/.demo
	@$(BIN)/python examples/demo.py

test: $(VENV)/.test check
	$(BIN)/python -m pytest -n $(JOBS) $(PYTEST)

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Compares with a reference in the same run and prints ratios; takes a few minutes.
bench: $(VENV)/.test
	$(BIN)/python benchmarks/run.py $(BENCH)

# Draws the chart of native against guest against pure wasm; the last needs Node and npm.
chart: $(VENV)/.test
	$(BIN)/python benchmarks/chart.py $(CHART)

# How often `wasinn diagnose` names the right cause: a line for each mistake, and the figure.
diagnoses: $(VENV)/.test
	$(BIN)/python benchmarks/diagnoses.py $(DIAGNOSES)

# What takes too long for `make test`: random calls for ten minutes, thousands of mutated model files of
# each encoding, a server under mixed load for ten minutes, and many more examples.
soak: $(VENV)/.test
	WASINN_FUZZ_SECONDS=$${WASINN_FUZZ_SECONDS:-600} WASINN_MUTATIONS=$${WASINN_MUTATIONS:-5000} \
		WASINN_LOAD_SECONDS=$${WASINN_LOAD_SECONDS:-600} HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -n $(JOBS) $(PYTEST)

format: $(VENV)/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "wasinn needs Python 3.11 or newer; set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "installing wasinn and its backends into $(VENV) ..."
	@$(PIP) -e ".[all]"
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	@echo "installing wasinn and what its tests need into $(VENV) ..."
	@$(PIP) -e ".[$(EXTRAS)]"
	@touch $@

clean:
	rm -rf $(VENV) build dist benchmarks/.models benchmarks/.wasm .pytest_cache .mypy_cache .ruff_cache .hypothesis
