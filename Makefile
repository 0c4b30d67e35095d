# Every target sets itself up: a bare machine needs Python 3.11 (or newer) and make.
#
#   make demo     the command on a small problem: range test, comparison, report
#   make test     the whole suite, under every Keras backend
#   make test-fast      its core in less than a minute, for whoever is changing something
#   make test-trackers  what TensorBoard, MLflow, Weights & Biases and Trackio are told, read back
#   make mutants        small faults, one at a time: which do the tests not notice?
#   make check    format, lint, types, spelling, known vulnerabilities of what is pinned
#   make format   rewrites the files as `make check` wants them
#   make test-install   README and docs where only the built package is installed; EXTRAS=torch: one set
#   make test-oldest    what matters, with the oldest dependencies that are allowed; downloads some GB
#   make docs     the documentation as a site: build/site/index.html
#   make reproduce NAME=cardio  a published experiment, run again; ARGS=--quick: in some seconds
#   make bench    the measurements behind the tables in the docs
#   make bench-peers    the table of docs/overhead.md, beside other libraries
#   make bench-finders  the tables of docs/finders.md, from the stored trainings

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
DOCS := .venv-docs
OLDEST := .venv-oldest
TRACKERS := .venv-trackers
AXE := build/axe.min.js
# Compiling every package ahead takes longer than installing it. What is imported is compiled on its
# first import instead, and kept, also where the environment says not to.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile

# What can break with an old release, and needs no JAX (which wants NumPy 2).
OLDEST_TESTS := tests/test_files.py tests/schedules/test_arguments.py tests/schedules/test_laws.py \
	tests/finder/test_rules.py tests/finder/test_saving.py tests/finder/test_result.py \
	tests/torch/test_scheduled_lr.py tests/torch/test_resume.py tests/torch/test_range_test.py \
	tests/sklearn/test_estimators.py

# Stamps: a set is installed again only when its list, or the package's own metadata, changes.
DEMO := $(VENV)/.installed-demo
DEV := $(VENV)/.installed-dev
PACKAGE := $(VENV)/.installed-package

.PHONY: test-oldest demo test test-fast test-install test-trackers mutants check format docs reproduce bench bench-peers bench-finders clean

demo: $(DEMO) $(PACKAGE)
	$(BIN)/cyclerate demo

test: $(DEV) $(PACKAGE) $(AXE)
	scripts/test $(BIN)/python

test-fast: $(DEV) $(PACKAGE)
	scripts/test $(BIN)/python fast

test-install: $(DEV)
	$(BIN)/python scripts/test_install.py $(EXTRAS)

test-trackers: $(TRACKERS)/.installed
	$(TRACKERS)/bin/python -m pytest -q tests/test_trackers.py

test-oldest: $(OLDEST)/.installed
	KERAS_BACKEND=torch PYTHONPATH=src:. $(OLDEST)/bin/python -m pytest -q -o filterwarnings=default $(OLDEST_TESTS)

mutants: $(DEV) $(PACKAGE)
	$(BIN)/python scripts/mutants.py

check: $(DEV) $(PACKAGE)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/codespell
	$(BIN)/python scripts/audit.py

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict
	@echo "build/site/index.html"

reproduce: $(DEV) $(PACKAGE)
	$(BIN)/python -m reproductions $(NAME) $(ARGS)

bench: $(DEV) $(PACKAGE)
	@for script in $(filter-out %_peers.py,$(wildcard benchmarks/[a-z]*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

bench-peers: $(PEERS)/.installed
	$(PEERS)/bin/python benchmarks/overhead_peers.py --clock cpu

bench-finders: $(DEV) $(PACKAGE)
	$(BIN)/python -m benchmarks.finders table

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(DEMO): requirements/demo.txt | $(BIN)/python
	@echo "Installing $< into $(VENV) (once; about a minute)"
	@$(INSTALL) --requirement $<
	@touch $@

$(DEV): requirements/dev.txt $(DEMO)
	@echo "Installing $< into $(VENV) (once; about a minute)"
	@$(INSTALL) --requirement $<
	@touch $@

$(PEERS)/.installed: requirements/peers.txt pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	@echo "Installing $< into $(PEERS) (once; some minutes)"
	@$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $< --editable .
	@touch $@

$(DOCS)/.installed: requirements/docs.txt
	$(PYTHON) -m venv $(DOCS)
	@echo "Installing $< into $(DOCS) (once; some seconds)"
	@$(DOCS)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	@touch $@

$(TRACKERS)/.installed: requirements/trackers.txt pyproject.toml
	$(PYTHON) -m venv $(TRACKERS)
	@echo "Installing $< into $(TRACKERS) (once; a minute)"
	@$(TRACKERS)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $< --editable .
	@touch $@

$(OLDEST)/.installed: requirements/oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	@echo "Installing $< into $(OLDEST) (once; many minutes)"
	@$(OLDEST)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	@touch $@

# The tests of accessibility; out of reach, they are left out, and say so.
$(AXE): scripts/axe.py | $(DEV)
	-@$(BIN)/python $<

# The pinned build back end comes with the requirements; nothing is fetched here.
$(PACKAGE): pyproject.toml | $(DEMO)
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
