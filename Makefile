# Needs Python 3.11 or newer, git and make; everything else is installed into .venv.
SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DEMO_OUT := demo-out
# Installed first and exactly: what others would choose on their own changes from week to week.
TORCH := torch==2.13.0
# Tests outside tests/conformance of which some need packages that `make test` goes without.
READ_BY_OTHERS := tests/test_adapters.py tests/test_export.py
# The first interpreter that is new enough; name another with `make PYTHON=…`.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test lint format parity conformance bench docs clean

help: ## Say what the targets do
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | expand -t 13

demo: $(VENV)/.installed ## Make training shards of the sample chats and look into them
	@echo '$$ ifttool mask samples/chat.jsonl -o $(DEMO_OUT)'
	@$(BIN)/ifttool mask samples/chat.jsonl -o $(DEMO_OUT) --force
	@echo && echo '$$ ls $(DEMO_OUT)/*' && ls $(DEMO_OUT)/*
	@echo && echo '$$ python scripts/look.py $(DEMO_OUT) 3' && $(BIN)/python scripts/look.py $(DEMO_OUT) 3
	@echo '$$ ifttool stats $(DEMO_OUT)' && $(BIN)/ifttool stats $(DEMO_OUT)

test: $(VENV)/.dev ## Run the tests
	$(BIN)/python -m pytest -n auto -m 'not parity' $(PYTEST_ARGS)

lint: $(VENV)/.dev ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

parity: $(VENV)/.parity ## Compare texts, ids and masks with transformers (a large download)
	$(BIN)/python -m pytest -n auto -m parity $(PYTEST_ARGS)

conformance: $(VENV)/.conformance ## Train on shards and read them with the packages of others (a large download)
	IFTTOOL_READERS='$(abspath $(VENV))/readers' \
		$(BIN)/python -m pytest tests/conformance $(READ_BY_OTHERS) $(PYTEST_ARGS)

bench: $(VENV)/.bench ## Measure speed beside transformers and TRL; BENCH_ARGS=--quick for a look (a large download)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)
	$(BIN)/python -m benchmarks.report

docs: $(VENV)/.dev ## Write docs/commands.md anew, and the trainers and outputs in README.md
	$(BIN)/python scripts/generate_docs.py
	$(BIN)/python tests/test_readme.py

clean: ## Remove .venv and what the targets wrote
	rm -rf $(VENV) $(DEMO_OUT) bench-out .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find ifttool -name __pycache__ -exec rm -rf {} +

$(VENV)/.created:
	@test -n '$(PYTHON)' || { echo 'no Python 3.11 or newer found; name one: make PYTHON=/path/to/python3' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	@touch $@

# Pip compiles packages but not editable ones, and where writing byte code is forbidden every process would do it anew.
$(VENV)/.installed: $(VENV)/.created pyproject.toml
	$(PIP) install --quiet --editable .
	$(BIN)/python -m compileall -qq ifttool
	@touch $@

$(VENV)/.dev: $(VENV)/.installed pyproject.toml
	$(PIP) install --quiet --group dev
	@touch $@

$(VENV)/.parity: $(VENV)/.dev pyproject.toml
	$(PIP) install --quiet $(TORCH)
	$(PIP) install --quiet --group parity
	@touch $@

$(VENV)/.conformance: $(VENV)/.dev pyproject.toml
	$(PIP) install --quiet $(TORCH)
	$(PIP) install --quiet --group conformance
	rm -rf $(VENV)/readers
	$(PIP) install --quiet --no-deps --ignore-requires-python --target $(VENV)/readers --group readers
	@touch $@

$(VENV)/.bench: $(VENV)/.installed pyproject.toml
	$(PIP) install --quiet $(TORCH)
	$(PIP) install --quiet --group bench
	@touch $@
