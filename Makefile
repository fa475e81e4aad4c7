# Everything here works on a fresh clone with nothing but Python 3.11 and make: the first target
# that needs it creates .venv and installs the versions pinned in constraints.txt.
#
#   make demo PYTHON=/path/to/python3.11      another interpreter (read when .venv is created)
#   make test PYTEST_ARGS="-x -k quadratic"   other arguments to pytest
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
#                                             PyTorch without CUDA, which is gigabytes smaller

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
# -qq: errors only; pip warns of package indexes that are configured and empty.
PIP    := $(BIN)/python -m pip install --disable-pip-version-check -qq
# xdist: one process per core, each on one thread of PyTorch (tests/conftest.py).
PYTEST_ARGS ?= -n auto --maxprocesses 8
PIP_ARGS    ?=

.PHONY: help demo test lint format truth bench docs clean

help:  ## what the targets do
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

demo: $(VENV)/.core  ## the main job on the model that comes with germ (about 5 minutes, 2 cores)
	$(BIN)/germ demo

test: $(VENV)/.dev  ## all tests but the slow ones
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.dev  ## ruff (rules and format) and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pyright

format: $(VENV)/.dev  ## let ruff repair and format what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

truth: $(VENV)/.bench  ## estimators against known answers: the slow tests and two tables (over an hour)
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS) tests
	$(BIN)/python -m benchmarks.agreement
	$(BIN)/python -m benchmarks.truth --resume
	$(BIN)/python -m benchmarks.truth.reach --resume
	$(BIN)/python -m benchmarks.profile_truth
	$(BIN)/python -m benchmarks.published_run

bench: $(VENV)/.bench  ## the measured lessons, and the cost beside a bare loop and the peer
	$(BIN)/python -m benchmarks.lessons
	$(BIN)/python -m benchmarks.overhead

docs: $(VENV)/.docs  ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:  ## remove .venv, caches and whatever was built
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say which set of dependencies .venv has; they are made anew when the pins change.
$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "make: germ needs Python >= 3.11; no python3.11 or python3 was found on PATH. Install one, or say which: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "make: germ needs Python >= 3.11; $(PYTHON) is $$("$(PYTHON)" --version 2>/dev/null || echo no Python). Install a newer one, or say which: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' || { echo "make: $(PYTHON) comes without venv. On Debian and Ubuntu: apt-get install python3.11-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "make: installing into $(VENV): core (about 1.4 GB); this takes a minute or two" >&2
	$(PIP) $(PIP_ARGS) -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "make: installing into $(VENV): dev and hf (about 2.1 GB with the core); this takes a minute or two" >&2
	$(PIP) $(PIP_ARGS) -c constraints.txt -e ".[dev,hf]"
	@touch $@ $(VENV)/.core

# The peer that benchmarks/overhead.py measures beside germ.
$(VENV)/.bench: $(VENV)/.dev
	$(PIP) $(PIP_ARGS) -c constraints.txt devinterp
	@touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "make: installing into $(VENV): docs; this takes a minute or two" >&2
	$(PIP) $(PIP_ARGS) -c constraints.txt -e ".[docs]"
	@touch $@
