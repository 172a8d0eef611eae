# Every target sets up .venv from requirements.lock first, if that has not been done.
#   PYTHON=/path/to/python3.12   interpreter for .venv (default: the first of python3.11, 3.12, 3.13, python3 that works)
#   TORCH=cpu                    small CPU build of torch from PyTorch's own index (default: the locked build)

SHELL := /bin/sh
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
TORCH ?= $(or $(shell cat $(VENV)/.torch 2>/dev/null),locked)
STAMP := $(VENV)/.installed-$(TORCH)
ARGS ?=
RUNS ?= outputs

CHECKED := run.py xfeedback hydra_plugins tests scripts benchmarks
TEST_ENV := WANDB_MODE=offline OMP_NUM_THREADS=1
PYTEST := $(TEST_ENV) $(BIN)/python -m pytest

.PHONY: FORCE help setup run table ledger test test-slow test-gpu slurm-test bench docs lint format lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## install the locked environment into .venv

# a named interpreter is always checked: .venv may have been made with another one
$(STAMP): requirements.lock pyproject.toml scripts/setup.sh $(if $(PYTHON),FORCE)
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" sh scripts/setup.sh
	@touch $@

run: $(STAMP) ## compare seven methods on digits with decoys, 3 seeds (ARGS="..." adds overrides)
	$(BIN)/python run.py -m experiment=decoy_digits $(ARGS)

table: $(STAMP) ## tables and report of finished runs: make table RUNS="folder ..."
	$(BIN)/python -m xfeedback.report $(RUNS)

ledger: $(STAMP) ## the papers' numbers with ours beside: make ledger RUNS="folder ..."
	$(BIN)/python -m xfeedback.report.ledger $(RUNS)

test: lint ## lint, types and all tests that take seconds
	$(PYTEST) -n 2 --dist worksteal -m "not slow and not gpu and not slurm" $(ARGS)

test-slow: $(STAMP) ## tests that take over a minute
	$(PYTEST) -m "slow and not gpu" $(ARGS)

test-gpu: $(STAMP) ## tests that need a CUDA device
	$(PYTEST) -m gpu $(ARGS)

slurm-test: $(STAMP) ## a sweep on a real Slurm; skipped with a reason where none answers
	$(PYTEST) -m slurm tests/slurm -rs $(ARGS)

bench: $(STAMP) ## time everything and write docs/performance.md (ARGS="steps runner" for parts, ARGS=--quick to try)
	$(BIN)/python benchmarks/all.py $(ARGS)

docs: $(STAMP) ## build the documentation as a site into build/site; fetches nothing
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: $(STAMP) ## ruff and pyright, changing nothing
	$(BIN)/ruff check $(wildcard $(CHECKED))
	$(BIN)/ruff format --check $(wildcard $(CHECKED))
	$(BIN)/pyright

format: $(STAMP) ## let ruff fix and format the code
	$(BIN)/ruff check --fix $(wildcard $(CHECKED))
	$(BIN)/ruff format $(wildcard $(CHECKED))

lock: $(STAMP) ## renew requirements.lock from pyproject.toml (ARGS=--upgrade for newer versions)
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --no-annotate --generate-hashes -p 3.11 \
		-o requirements.lock --custom-compile-command "make lock" --quiet $(ARGS)

clean: ## remove caches and build folders; .venv and outputs stay
	rm -rf build .pytest_cache .ruff_cache xfeedback.egg-info
	find $(wildcard $(CHECKED)) -name __pycache__ -type d -prune -exec rm -rf {} +
