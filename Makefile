# Each target does its own set-up in .venv; nothing outside this folder is changed (but see scripts/debian on Debian packages).
VENV   := .venv
OLDEST := .venv-lowest
BIN    := $(VENV)/bin
PIP    := python -m pip --disable-pip-version-check --quiet
TORCH  := torch==2.13.0
DEMO   := demo

.PHONY: demo test quick lowest lint format types docs bench check lock clean help

help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.run  ## Install clipsieve, then do the whole job on the demo data set, from scan to export
	@sh scripts/demo $(BIN)/clipsieve $(DEMO)

test: $(VENV)/.test  ## Install what the tests need and run all of them
	$(BIN)/python -m pytest -m ""

quick: $(VENV)/.test  ## Run the default tests only (no torch, no browser, no whole installs)
	$(BIN)/python -m pytest -q

lowest: $(OLDEST)/.done  ## Run the default tests with the oldest versions that pyproject.toml allows (on Python 3.11 or 3.12)
	$(OLDEST)/bin/python -m pytest -q -W ignore::DeprecationWarning

lint: $(VENV)/.test  ## Check style, the import rule, scripts and deploy/
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/shellcheck deploy/slurm.sh
	$(BIN)/shellcheck -x -P SCRIPTDIR -s sh scripts/debian scripts/demo scripts/lock scripts/make-venv scripts/need .ci/run
	$(BIN)/yamllint --strict deploy/rayjob.yaml

format: $(VENV)/.test  ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

types: $(VENV)/.test  ## Check the types
	$(BIN)/mypy

docs: $(VENV)/.docs  ## Build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.test  ## Run every benchmark and print its table
	$(BIN)/python -m benchmarks

check: lint types test lowest docs bench  ## All of the above

lock:  ## Choose the newest versions anew and write requirements/*.txt
	sh scripts/lock

clean:  ## Remove what the targets made
	rm -rf $(VENV) $(OLDEST) $(DEMO) docs/_build

$(VENV)/bin/python:
	sh scripts/make-venv $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/$(PIP) install --no-compile --require-hashes -r requirements/run.txt
	$(BIN)/$(PIP) install --no-compile --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.run
	sh scripts/need chromium chromium
	sh scripts/need pg_ctlcluster postgresql
	$(BIN)/$(PIP) install --no-compile --require-hashes -r requirements/test.txt
	$(BIN)/$(PIP) install --no-compile $(TORCH)
	@touch $@

$(VENV)/.docs: requirements/docs.txt $(VENV)/.run
	$(BIN)/$(PIP) install --no-compile --require-hashes -r requirements/docs.txt
	@touch $@

$(OLDEST)/.done: requirements/lowest.txt pyproject.toml
	sh scripts/make-venv $(OLDEST)
	sh scripts/need pg_ctlcluster postgresql
	$(OLDEST)/bin/$(PIP) install --no-compile --no-deps --require-hashes -r requirements/lowest.txt
	$(OLDEST)/bin/$(PIP) install --no-compile --no-build-isolation --no-deps --editable .
	@touch $@
