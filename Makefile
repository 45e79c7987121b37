# Every target says what it does in one comment, shown by `make help`.

PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed
EMULATORS := .emulators/.installed
PEEK := .peek/.installed
TPU := .tpu/.installed
NEWEST := .newest/.installed
DATAFLOW := .dataflow/.installed
FAKE_GCS_SERVER := github.com/fsouza/fake-gcs-server@v1.55.1
MEMBERS := shared dataprep training
# The lock is complete, hence --no-deps; pip's own resolver stumbles over hashed requirements with extras.
PIP_INSTALL := python -m pip install --quiet --disable-pip-version-check --no-deps
INSTALL := $(BIN)/$(PIP_INSTALL)
LOCK := $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --only-binary :all: --generate-hashes \
	--no-emit-index-url --no-strip-extras --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help setup emulators peek tpu dataflow newest peers demo test test-newest lint types imports check lock bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 13

setup: $(STAMP) ## create .venv with both commands in .venv/bin (nothing to do when nothing changed)

$(STAMP): requirements/dev.txt $(MEMBERS:%=%/pyproject.toml)
	@command -v $(PYTHON) >/dev/null || { echo "make setup: $(PYTHON) not found; install Python 3.11, or name one: make PYTHON=/path/to/python3.11 setup" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(INSTALL) --require-hashes --only-binary :all: -r requirements/dev.txt
	$(INSTALL) --no-build-isolation --no-index $(MEMBERS:%=-e ./%)
	$(BIN)/python -m pip check
	@# Where Python may not keep what it compiles, each command would compile our modules anew.
	$(BIN)/python -m compileall -q $(MEMBERS)
	@touch $@

emulators: $(EMULATORS) ## create .emulators with the servers that tests run against

$(EMULATORS): requirements/emulators.txt
	$(PYTHON) -m venv .emulators
	.emulators/bin/$(PIP_INSTALL) --require-hashes --only-binary :all: -r requirements/emulators.txt
	CGO_ENABLED=0 GOTOOLCHAIN=local GOBIN=$(CURDIR)/.emulators/bin .emulators/bin/go install $(FAKE_GCS_SERVER)
	@touch $@

peers: .peers/.installed ## create .peers with PySpark and TensorFlow Transform, for benchmarks/peers.py (Spark needs Java)

.peers/.installed: requirements/peers.txt
	$(PYTHON) -m venv .peers
	.peers/bin/$(PIP_INSTALL) --require-hashes -r requirements/peers.txt
	@touch $@

peek: $(PEEK) ## create .peek with tensorflow-io and the TensorFlow it is built for, for `penstock-train peek`

$(PEEK): requirements/peek.txt shared/pyproject.toml training/pyproject.toml
	$(PYTHON) -m venv .peek
	.peek/bin/$(PIP_INSTALL) --require-hashes --only-binary :all: -r requirements/peek.txt
	.peek/bin/$(PIP_INSTALL) --no-build-isolation --no-index -e ./shared -e ./training
	@touch $@

tpu: $(TPU) ## create .tpu with the TPU compiler, for `penstock-train tpu-check` (a gigabyte; no TPU is needed)

$(TPU): requirements/tpu.txt
	$(PYTHON) -m venv .tpu
	.tpu/bin/$(PIP_INSTALL) --require-hashes --only-binary :all: -r requirements/tpu.txt
	@touch $@

dataflow: $(DATAFLOW) ## create .dataflow with the client of Dataflow, for `penstock-data build` on it

$(DATAFLOW): requirements/dataflow.txt shared/pyproject.toml dataprep/pyproject.toml
	$(PYTHON) -m venv .dataflow
	.dataflow/bin/$(PIP_INSTALL) --require-hashes -r requirements/dataflow.txt
	.dataflow/bin/$(PIP_INSTALL) --no-build-isolation --no-index -e ./shared -e ./dataprep
	@touch $@

newest: $(NEWEST) ## create .newest with the newest TensorFlow, for `make test-newest`

$(NEWEST): requirements/newest.txt shared/pyproject.toml training/pyproject.toml
	$(PYTHON) -m venv .newest
	.newest/bin/$(PIP_INSTALL) --require-hashes --only-binary :all: -r requirements/newest.txt
	.newest/bin/$(PIP_INSTALL) --no-build-isolation --no-index -e ./shared -e ./training
	.newest/bin/python -m pip check
	@touch $@

demo: setup ## generate a log, build and verify a dataset, train, evaluate, export, recommend; all in ./demo
	@examples/demo.sh

test: setup emulators peek tpu dataflow ## run the whole test suite
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# Preparation is not installed there, since it asks for an older numpy; tests only write datasets with it.
test-newest: newest tpu ## run the tests of the contract and of training beside the newest TensorFlow
	PYTHONPATH=$(CURDIR)/dataprep .newest/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile tests/shared tests/training

lint: setup ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## check type hints
	$(BIN)/mypy

imports: setup ## check that no package imports what it must not
	$(BIN)/lint-imports

check: lint types imports test ## run everything CI runs

lock: setup ## recompile requirements/*.txt from requirements/*.in to the newest versions that fit
	cd requirements && ../$(LOCK) dev.in -o dev.txt
	cd requirements && for name in shared dataprep training benchmarks; do ../$(LOCK) -c dev.txt $$name.in -o $$name.txt || exit 1; done
	cd requirements && for name in emulators newest peek tpu; do ../$(LOCK) $$name.in -o $$name.txt || exit 1; done
	cd requirements && ../$(subst --only-binary :all:,,$(LOCK)) peers.in -o peers.txt
	cd requirements && ../$(LOCK) -c dev.txt --no-binary google-apitools dataflow.in -o dataflow.txt

bench: setup ## measure preparation against a hand-written script (10M rows; minutes)
	$(BIN)/python benchmarks/prepare.py

clean: ## delete everything made here but the environments
	rm -rf demo build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find shared dataprep training tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
