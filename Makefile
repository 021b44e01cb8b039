# Every target makes the environment it needs. PYTHON may name another interpreter, VENV another place.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Versions to hold the environment to, for pip; the oldest that are supported stand in tests/oldest.txt.
CONSTRAINTS ?=
# More arguments for pytest.
ARGS ?=
# Sweeps take long: the matrix of programs, several replicas, and a training that is killed again and again.
SWEEPS ?= tests/matrix tests/distribution tests/survival/test_killed.py
# Which tests are run at both ends of the versions: what is slow and the same everywhere is left out, and with the newest
# Python, whose TensorFlow is the one at hand, what only depends on that.
OLDEST ?= -m "not slow"
NEWEST ?= -m "not slow" --ignore tests/recording
PYTEST = $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

.PHONY: help demo test test-sweeps test-all test-oldest test-newest lint format bench bench-log faults rule-pages matrix picture clean

help:            ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(VENV)/.demo   ## train on real data: healthy, then three mistakes; writes runs/demo/report.html
	$(BIN)/python examples/demo.py

test: $(VENV)/.test   ## run the tests, with the examples and the notebooks, but without the sweeps
	$(PYTEST) $(addprefix --ignore ,$(SWEEPS)) $(ARGS)

test-sweeps: $(VENV)/.test   ## run the sweeps: the matrix of programs, several replicas, kills
	$(PYTEST) $(SWEEPS) $(ARGS)

test-all: test test-sweeps test-oldest test-newest   ## all of it, and the tests at both ends of the supported versions

test-oldest:     ## run the tests and those of several replicas with the oldest Python, Keras and TensorFlow
	python=$$(.ci/find-python 3.10) && for it in "test" "test-sweeps SWEEPS=tests/distribution"; do \
	$(MAKE) $$it PYTHON=$$python VENV=.venv-oldest CONSTRAINTS=tests/oldest.txt ARGS='$(OLDEST)' || exit 1; done

test-newest:     ## run the tests with the newest Python, Keras and TensorFlow
	python=$$(.ci/find-python 3.13) && $(MAKE) test PYTHON=$$python VENV=.venv-newest ARGS='$(NEWEST)'

lint: $(VENV)/.lint   ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.lint   ## bring the sources into style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.test   ## measure the price of watching, for over an hour: prints tables, writes runs/bench/overhead.json
	$(BIN)/python -m benchmarks.overhead

bench-log: $(VENV)/.test   ## measure what a log of 10 million records costs; writes runs/bench/log_size.json
	$(BIN)/python -m benchmarks.log_size

faults: $(VENV)/.test   ## train programs that train badly and well, score what is said of them; writes runs/faults/score.md
	$(BIN)/python -m benchmarks.faults $(ARGS)

rule-pages: $(VENV)/.test   ## draw the pictures of docs/rules anew, and quote what is found, from a run for each rule
	$(BIN)/python -m benchmarks.faults.pages $(ARGS)

matrix: $(VENV)/.test   ## write docs/matrix.md, the table of what is tested, anew
	PYTHONPATH=tests $(BIN)/python -m matrix.table

picture: demo   ## draw the picture of the README anew
	cp runs/demo/overview.png docs/overview.png

clean:   ## remove the environment and everything that was made
	rm -rf $(VENV) .venv-oldest .venv-newest build dist *.egg-info runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

# An environment with an extra of setup.cfg; venv needs a Debian package that may be missing, virtualenv does not.
$(VENV)/.%: setup.cfg pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "gradwatch needs Python 3.10 or newer: make PYTHON=...")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || ($(PYTHON) -m pip install --user virtualenv && $(PYTHON) -m virtualenv $(VENV))
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(addprefix --constraint ,$(CONSTRAINTS)) --editable '.[$*]'
	touch $@
