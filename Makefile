# make demo    the whole main job offline, from nothing: sets up, then runs `tfrcnn demo`
# make test    sets up, then lint, types, the wheel and the tests; make test-all: the slow tests too
# make test-soak    the tests that take longest, for example before a release
# make test-lane TF=2.15    the tests on another TensorFlow: docs/compatibility.md
# make mutants MODULE=boxes    changes the module in every place and counts what its tests notice: docs/testing.md
# make notebooks    executes the course's notebooks where they are and stores what they show
# make slides    makes the slides of the course's lectures in build/slides, from the notebooks
# make docs    builds the documentation site into build/site; warnings are errors
#
# VENV=DIR             where the virtual environment is (default .venv)
# TFRCNN_TENSORFLOW=X  tensorflow, tensorflow-cpu or tensorflow[and-cuda]; see setup.py
# ARGS="..."           more arguments for `tfrcnn demo` or pytest
# LANE_TESTS="..."     what `make test-lane` runs (default $(LANE_SUITE), see below)
# LANE_PYTHON=X        the Python of a lane (default python3.11)
# NOTEBOOKS="..."      those to execute, in notebooks/ (default all)

VENV ?= .venv
TF_CPP_MIN_LOG_LEVEL ?= 2
WORKERS ?= 2
SLOW ?=
ARGS ?=
NOTEBOOKS ?=
TF ?= 2.15
LANE_PYTHON ?= python3.11
# All but what is the same on every TensorFlow: texts, the tree and the package.
LANE_SUITE := tests $(addprefix --ignore=tests/,notebooks test_architecture.py test_contributing.py test_docs.py \
	test_docs_names.py test_package.py test_plain_english.py)
LANE_TESTS ?= $(LANE_SUITE)
# Where there is no NVIDIA GPU, a third of the download serves as well.
TFRCNN_TENSORFLOW ?= $(shell [ "$$(uname -sm)" = "Linux x86_64" ] && ! command -v nvidia-smi > /dev/null \
	&& echo tensorflow-cpu || echo tensorflow)
export TF_CPP_MIN_LOG_LEVEL TFRCNN_TENSORFLOW

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# A worker that died, of memory say, ends the run: with another in its place pytest-xdist waits for ever.
XDIST := -n $(WORKERS) --dist loadfile --max-worker-restart 0 --durations=10
PYTEST := $(BIN)/pytest $(XDIST)
LANE := build/lanes/$(TF)

.PHONY: demo notebooks slides docs mutants test test-all test-lane test-soak test-wheel lint types format install clean

demo: install
	$(BIN)/tfrcnn demo $(ARGS)

notebooks: install
	$(BIN)/python notebooks/execute.py $(NOTEBOOKS)
	$(BIN)/python notebooks/captions.py

slides: install
	$(BIN)/python notebooks/slides.py --out build/slides

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open build/site/index.html"

# The closing line of pytest is the last that is printed.
test: lint types test-wheel
	$(PYTEST) -m "not soak$(if $(SLOW),, and not slow)" --ignore tests/test_package.py $(ARGS)

test-all:
	$(MAKE) test SLOW=1

test-soak: install
	$(PYTEST) -m soak $(ARGS)

test-lane: $(LANE)/.installed
	$(LANE)/bin/python -m pytest $(XDIST) -m "not slow and not soak" $(LANE_TESTS) $(ARGS)
	$(LANE)/bin/python -m pytest tests/training/test_lane.py

$(LANE)/.installed: setup.py packaging/lanes/tests.txt packaging/lanes/$(TF).txt
	[ -x $(LANE)/bin/python ] || $(LANE_PYTHON) -m venv $(LANE)
	TFRCNN_TENSORFLOW=tensorflow-cpu $(LANE)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint packaging/lanes/$(TF).txt --requirement packaging/lanes/tests.txt --editable .
	@touch $@

mutants: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'cosmic-ray>=8.4'
	nice $(BIN)/python tests/mutation/mutants.py $(MODULE) $(ARGS)

# The package as users get it: sdist -> wheel -> installed -> tested from another folder.
test-wheel: install
	$(BIN)/pytest tests/test_package.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# tfrcnn.export lies beside tfrcnn in this tree, and below it where it is installed: mypy reads it as installed.
types: install
	@rm -rf build/types && mkdir -p build/types
	@cp -r tfrcnn setup.py pyproject.toml build/types && cp -r export build/types/tfrcnn/export
	cd build/types && $(abspath $(BIN))/mypy --cache-dir $(CURDIR)/.mypy_cache

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(INSTALLED)

$(INSTALLED): setup.py
	@[ -x $(BIN)/python ] || for python in python3.11 python3 python3.12 python3.13 python; do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || continue; \
		echo "Making $(VENV) with $$($$python --version)"; \
		exec $$python -m venv $(VENV); \
	done
	@[ -x $(BIN)/python ] || { echo "error: tfrcnn needs Python 3.11 or newer, found none on PATH" >&2; exit 2; }
	@echo "Installing with $$TFRCNN_TENSORFLOW (choose another with TFRCNN_TENSORFLOW=..., see setup.py)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find tfrcnn export tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
