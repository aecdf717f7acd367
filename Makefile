# Everything a fresh machine needs: `make demo` shows the whole journey, `make test` runs
# every check. Both make their own environment in .venv and ask for the few system packages
# they use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := pyproject.toml constraints.txt setup.mk

export MODELVAULT_REQUIRE_ALL ?= $(if $(CI),1,)

.PHONY: demo test test-vllm check bench wheel clean

demo: $(VENV)/.runtime
	$(BIN)/python -m tests.demo

test: check
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST)

# Real vLLM on this CPU; its environment takes 3.4 GB.
test-vllm: $(VENV)/.complete $(VENV)/.vllm
	MODELVAULT_REQUIRE_ALL=1 $(BIN)/python -m pytest tests/served $(PYTEST)

check: $(VENV)/.complete
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.complete
	$(BIN)/python -m benchmarks

wheel: $(VENV)/.runtime
	rm -rf build
	$(PIP) wheel --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info

include setup.mk
