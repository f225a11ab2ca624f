# The README's commands. `make setup` builds .venv and is called by the others.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_PROCESSES ?= 3

.PHONY: setup demo test test-glance lint bench soak docs lock clean system-packages

setup: $(STAMP)

$(STAMP): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "hitless needs python 3.11 or newer; say which with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "python's venv module is missing; on Debian: apt-get install python3-venv"; exit 2; }
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/dev.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	$(BIN)/hitless demo

# What the tests need beyond Python; as root it is installed, otherwise said.
system-packages:
	@sh requirements/system.sh

# Tests mostly wait for processes to start and end, so three at a time fill two cores; a file's tests stay together.
test: setup system-packages
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: setup system-packages
	$(BIN)/python -m pytest -m soak $(PYTEST_ARGS)

# Two real releases from the package index, on python 3.11; GLANCE_VENVS=FOLDER keeps their venvs.
test-glance: setup system-packages
	$(BIN)/python -m pytest -m glance tests/glance $(PYTEST_ARGS)

bench: setup
	BENCH=1 sh requirements/system.sh
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/bench.txt
	$(BIN)/python -m benchmarks

docs: setup
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

lock: setup
	$(BIN)/python requirements/lock.py

clean:
	rm -rf $(VENV) docs/_build .mypy_cache .ruff_cache .pytest_cache
