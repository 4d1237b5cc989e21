# Every target works from a bare clone with Python 3.11 and make; each makes the virtual environment it needs.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
SEED ?= 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: quickstart overoptimisation test test-real check bench chat-model clean

quickstart: $(VENV)/installed  ## the whole loop on the sandbox: prints the result table and the report's path
	$(BIN)/kleash run recipes/quickstart.toml --set seed=$(SEED) --name quickstart-$(SEED)

overoptimisation: $(VENV)/installed  ## proxy and true reward against KL, C1 to C4; ARGUMENTS="--all --seeds 0,1,2" for more
	$(BIN)/kleash experiment overoptimisation $(ARGUMENTS)

test: $(VENV)/installed-dev  ## every test, with what tests need installed first
	scripts/install_chromium
	scripts/install_bubblewrap
	scripts/install_postgres
	$(BIN)/python scripts/fetch_smollm2
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --durations=15

test-real: $(VENV)/installed-dev  ## what takes longer than CI may: thousands of damaged files and model folders
	KLEASH_FUZZ=3000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 \
		tests/formats/test_fuzz_of_files.py tests/models/test_damaged_folders.py

check: $(VENV)/installed-dev  ## the fast tier: lint, types, unit tests
	scripts/install_bubblewrap
	scripts/install_postgres
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

bench: $(VENV)/installed-dev  ## speed and memory, side by side with a peer where one is installed
	$(BIN)/python benchmarks/run.py

chat-model: $(VENV)/installed-dev  ## a small real chat model's folder, made once in the user's cache: prints where
	$(BIN)/python scripts/fetch_smollm2

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) 2>/dev/null || python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
