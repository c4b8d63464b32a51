# Two commands do everything on a fresh machine: `make demo` and `make test`. Both make .venv first, and are quick the second time.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The demo's graders are stand-ins with declared errors: it never spends money.
DEMO := WHETSTONE_SOURCE=demo WHETSTONE_DATA= WHETSTONE_CASCADE=cross_encoder,simulated_small,simulated_large

.PHONY: demo test dev install lint types bench bench-quality bench-incremental clean

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $$(command -v $(PYTHON) || command -v python3) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

install: $(STAMP)

demo: install  ## generate the demo shop, build the whole graph, print the evaluation
	$(DEMO) $(BIN)/whetstone demo-catalog --if-missing
	$(DEMO) $(BIN)/whetstone build
	$(DEMO) $(BIN)/whetstone report

dev: install  ## the Dagster UI on the same history as the command line
	$(BIN)/whetstone dev

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint sql --processes 2 --disable-progress-bar

types: install
	$(BIN)/mypy

test: lint types  ## lint, types, tests
	$(BIN)/python -m pytest

bench: install  ## speed and memory against named peers
	for bench in $(filter-out tests/bench/bench_quality.py tests/bench/bench_incremental.py,$(wildcard tests/bench/bench_*.py)); do $(BIN)/python $$bench || exit 1; done

bench-quality: install  ## the table of recipes and ablations; hours without a GPU: OPTIONS="--encoder static --rate-factor 100" for minutes
	$(BIN)/python tests/bench/bench_quality.py $(OPTIONS)

bench-incremental: install  ## what a change costs, as a share of a full build; an hour without a GPU: OPTIONS="--encoder static" for minutes
	$(BIN)/python tests/bench/bench_incremental.py $(OPTIONS)

clean:
	rm -rf .whetstone .pytest_cache .mypy_cache .ruff_cache
