# The commands of this repository; `make help` explains them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# What a user may set: the environment's folder (inside the checkout), the Python that makes it, an index that carries
# another build of torch (docs/install.md), the branch a change is compared with, and the cores to work on.
VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3 python; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
TORCH_INDEX ?=
BASE ?= origin/main
THREADS ?= $(shell nproc 2>/dev/null || echo 2)

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

# The stages in dvc.yaml call `python`: the environment's.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# One pool of threads, as wide as the machine: numpy's beside torch's would be two of them.
export OMP_NUM_THREADS ?= $(THREADS)
export MKL_NUM_THREADS ?= $(THREADS)
export OPENBLAS_NUM_THREADS ?= 1
# Telemetry of every dependency is off: here, and through a .pth file for whatever else is started from the environment.
TELEMETRY_OFF := BENTOML_DO_NOT_TRACK=True DO_NOT_TRACK=1 GX_ANALYTICS_ENABLED=false ITERATIVE_DO_NOT_TRACK=1
$(foreach switch,$(TELEMETRY_OFF),$(eval export $(switch)))

.PHONY: help setup data repro test lint gate bench proof serve

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 14

setup: $(READY)  ## the environment .venv with the command `synthgate`; quick when it is up to date

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make setup: expected Python 3.11 as python3.11, python3 or python, found none; install it, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "make setup: installing about 230 packages into $(VENV), some minutes the first time"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# torch first, and alone: so that an index with CPU builds is asked for torch before anything else pulls another one
	$(PIP) install -q -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	@$(BIN)/python -c 'import sys, sysconfig, pathlib; pathlib.Path(sysconfig.get_path("purelib"), "telemetry_off.pth").write_text("import os; os.environ.update(%r)\n" % dict(s.split("=") for s in sys.argv[1:]))' $(TELEMETRY_OFF)
	@touch $@

data: setup  ## the pinned cohort, where it is missing (offline: the phantom's bytes are in the repository)
	@$(BIN)/dvc status -q data.dvc || $(BIN)/dvc pull $$(sed -n 's/^ *remote: /-r /p' data.dvc) data.dvc

repro: data  ## the whole road: patients, generator, batch, gate, study, release; then what was decided
	$(BIN)/dvc repro
	@$(BIN)/synthgate summary

lint: setup  ## ruff, formatting, types, import layers, and nothing unlisted in the phantom remote
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m synthgate.cohort.guard

test: lint  ## lint and every test
	$(BIN)/python -m pytest

gate: setup  ## what a merge request must pass: metrics against BASE, every verdict, no refused batch in a candidate
	@$(BIN)/python -m synthgate.cohort.guard >&2
	@printf '## Metrics against %s\n\n' '$(BASE)'
	@$(BIN)/dvc metrics diff --md $(BASE)
	@printf '\n## Verdicts\n\n'
	@$(BIN)/synthgate verdict --markdown --check

bench: setup  ## measurements of this machine, into reports/bench/; installs the packages it compares with
	$(PIP) install -q -c constraints.txt -e '.[bench]'
	@missed=; for script in agreement metrics startup flow; do \
	  echo "$$script"; $(BIN)/python "bench/$$script.py" || missed+=" $$script"; done; \
	test -z "$$missed" || { echo "make bench: missed what they claim, or failed:$$missed" >&2; exit 1; }

proof: data  ## how often the gate is wrong, on 1000 fresh phantom patients; an hour or more, after `make repro`
	$(BIN)/python -m bench.prove
	$(BIN)/python -m bench.copies

serve: setup  ## the segmentation endpoint of the released model, on this machine only
	$(BIN)/synthgate serve
