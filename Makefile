# Every target installs what it needs first: `make demo` and `make test` work on a fresh machine.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.dev-installed
DOCS_STAMP := $(VENV)/.docs-installed
# Processes that share the tests.
WORKERS ?= 2
# What stands on how the bluesky stack behaves: its devices, its RunEngine, its documents and its servers. What decides,
# draws or keeps books in our own code is the same with any version.
STACK_TESTS := tests/epics tests/sim_devices \
	$(patsubst %,tests/data/test_%.py,access files forms live runwriter schemas server tiled_app what_documents_hold zoo \
		zoo_over_epics) \
	$(patsubst %,tests/plans/test_%.py,adaptive_maps features fly_lines interruptions late_descriptions late_devices names_of_positions \
		odd_devices pseudo_positioners sigint staging stopped_moves streams_of_others what_a_run_leaves) \
	$(patsubst %,tests/queueserver/test_%.py,items queue) tests/testing/test_check_device_and_plan.py

# One thread each for BLAS, OpenMP and numba: with more, decisions take 30 times longer on a busy 2-core machine.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export NUMBA_NUM_THREADS := 1
# Without bytecode, each of the hundreds of processes that the tests start compiles every module, and pytest every test.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test test-unit test-lowest test-newest lint bench docs figures tutorial clean

install: $(STAMP)

# For users: without the tools that tests and lint need.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $(STAMP)

# For developers. It is all that users have and more, so one installation serves both.
$(DEV_STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(STAMP) $(DEV_STAMP)

demo: $(STAMP)
	$(BIN)/ebl-autonomy demo --output demo_report

# A worker that has nothing left to do takes tests from the other: modules differ by minutes.
test: $(DEV_STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-unit: $(DEV_STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not integration'

# With the lowest, and with the newest, versions of the bluesky stack that pyproject.toml allows.
test-lowest test-newest: test-%: .venv-%/.installed
	.venv-$*/bin/python -m pytest -n $(WORKERS) --dist worksteal $(STACK_TESTS)

.venv-lowest/.installed: STACK := -c constraints-lowest.txt
.venv-newest/.installed: STACK :=

# Everything but the stack, whose packages constraints-lowest.txt lists, has the versions of constraints.txt.
.venv-%/.installed: pyproject.toml constraints.txt constraints-lowest.txt
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	awk -F== 'NR == FNR {stack[$$1]} !($$1 in stack)' constraints-lowest.txt constraints.txt > .venv-$*/others.txt
	.venv-$*/bin/python -m pip install --quiet -c .venv-$*/others.txt $(STACK) -e '.[dev]'
	touch $@

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV_STAMP)
	$(BIN)/python -m benchmarks

$(DOCS_STAMP): $(DEV_STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $(DOCS_STAMP)

figures: $(DEV_STAMP)
	$(BIN)/python docs/figures
	$(BIN)/python docs/figures/alignment.py
	$(BIN)/python docs/figures/mapping.py

# Runs the notebook of the tutorial in a clean kernel and stores its outputs.
tutorial: $(DOCS_STAMP)
	$(BIN)/python docs/run_tutorial.py

docs: $(DOCS_STAMP)
	$(BIN)/sphinx-build -W --keep-going -q -b html -d docs/_build/doctrees docs docs/_build/html
	@echo docs/_build/html/index.html

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest build dist demo_report docs/_build docs/reference
