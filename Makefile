# Everything a fresh machine needs: `make demo` shows the whole journey, `make test` runs
# every check. Both make their own environment in .venv and ask for the few system packages
# they use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := pyproject.toml constraints.txt setup.mk

export MODELVAULT_REQUIRE_ALL ?= $(if $(CI),1,)

.PHONY: demo test test-vllm check bench wheel release clean

demo: $(VENV)/.runtime
	$(BIN)/python -m tests.demo

# With CI or COVERAGE set the lines and branches that ran are counted; that takes longer.
COUNTED := $(if $(CI)$(COVERAGE),-m coverage run,)

# One more than the smallest machine has cores: tests wait for disks and children, too.
WORKERS ?= 3

test: check
	$(if $(COUNTED),$(BIN)/python -m coverage erase)
	$(BIN)/python $(COUNTED) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST)
	$(if $(COUNTED),$(BIN)/python -m coverage combine --quiet)
	$(if $(COUNTED),$(BIN)/python -m coverage report)

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

# Wheel, constraints, SBOM and SHA256SUMS in dist/, a commit with the changelog, and a tag: of the
# version in modelvault/version.py. Nothing is uploaded.
release: test
	$(BIN)/python -m tests.packaging.release

clean:
	rm -rf $(VENV) build dist *.egg-info

include setup.mk
