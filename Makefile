# Everything lives in .venv here; nothing is installed elsewhere.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
WHAT   ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-jax-models test-jax test-torch test-tensorflow check soak bench docs clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

# An environment is made whole or not at all: the stamp is the last thing written.
$(VENV)/pip.stamp:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@touch $@

$(VENV)/demo.stamp: $(VENV)/pip.stamp pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[keras,jax,plot]"
	@touch $@

$(VENV)/test.stamp: $(VENV)/demo.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --group test
	@touch $@

$(VENV)/check.stamp: $(VENV)/test.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --group check
	@touch $@

$(VENV)/bench.stamp: $(VENV)/test.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --group bench
	@touch $@

demo: $(VENV)/demo.stamp  ## the main job: real digits, from download to trained model
	$(BIN)/befit demo

# Two at a time, each whole test in one process and always in the same order.
test: $(VENV)/test.stamp  ## the test-suite, once per Keras backend
	$(MAKE) --jobs=2 test-jax-models test-jax test-tensorflow test-torch

MODELS := tests/loading tests/replicate

test-jax-models:
	KERAS_BACKEND=jax $(BIN)/pytest $(MODELS)

test-jax:
	KERAS_BACKEND=jax $(BIN)/pytest $(MODELS:%=--ignore=%)

test-torch test-tensorflow:
	KERAS_BACKEND=$(@:test-%=%) $(BIN)/pytest -m "backends and not soak"

check: $(VENV)/check.stamp  ## style, types, architecture, doctests, README and documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports
	KERAS_BACKEND=jax $(BIN)/pytest tests/house --doctest-modules src/befit README.md docs --ignore=src/befit/cli/demo
	$(MAKE) docs

docs: $(VENV)/check.stamp  ## the documentation, in docs/_build
	KERAS_BACKEND=jax $(BIN)/sphinx-build --fail-on-warning --quiet docs docs/_build

soak: $(VENV)/test.stamp  ## the long campaigns: kills, fuzzing, corrupted files
	KERAS_BACKEND=jax $(BIN)/pytest -m soak --timeout=0

bench: $(VENV)/bench.stamp  ## benchmarks against peers and the physical limit; WHAT=hdf5 for one
	$(BIN)/python -m benchmarks $(WHAT)

clean:  ## removes the environment and everything built
	rm -rf $(VENV) build dist docs/_build demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
