# The verbs of the house; CI calls the same ones. Needs make, git and any Python >= 3.11, found by itself or given:
#   make test PYTHON=python3.12        make test ARGS="-k gradient --lf"
# The virtual environment is made when a verb needs it, and again when pyproject.toml has changed.

PYTHON ?=
SEEDS ?= 0 1 2 3 4
WORKERS ?= auto
FUZZ_FROM ?= 0
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8
CANDIDATES := $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python)
TORCH := $(shell sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' pyproject.toml | head -n 1)

# Oracles (PyTorch) are large: they are installed where CI=true or ORACLES=1.
ifneq ($(filter true,$(CI))$(filter 1,$(ORACLES)),)
TESTS := $(VENV)/oracles.stamp
else
TESTS := $(VENV)/tests.stamp
endif

# Peers of the benchmarks are larger still: they are installed where PEERS=1.
ifeq ($(PEERS),1)
BENCH := $(VENV)/peers.stamp
else
BENCH := $(VENV)/command.stamp
endif
BENCHMARKS ?= eager steps threads random_networks epochs start predict watch memory

.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:
.PHONY: help demo test lint format docs bench campaign browser emulator wheel clean

help: ## show these verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/command.stamp ## train on handwritten digits with five seeds; print scores, models and reports
	@set -e; for seed in $(SEEDS); do \
	  $(BIN)/chainrule train digits --seed $$seed --out runs/digits-$$seed --overwrite; \
	done; \
	echo; echo "Models and reports:"; \
	for seed in $(SEEDS); do ls runs/digits-$$seed/model.safetensors runs/digits-$$seed/report.html; done

test: $(TESTS) ## run the tests (ORACLES=1: also against PyTorch)
	$(PYTEST) $(ARGS)

lint: $(VENV)/tests.stamp ## check format, rules, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/tests.stamp ## format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

docs: $(VENV)/tests.stamp ## write the generated pages of docs/ again from the code
	$(BIN)/python docs/generate_ops.py
	$(BIN)/python docs/generate_commands.py
	$(BIN)/python docs/generate_names.py
	$(BIN)/python docs/generate_compiler.py

bench: $(BENCH) ## run every benchmark, beside the peers that are installed (PEERS=1 installs them)
	@set -e; for name in $(BENCHMARKS); do echo; echo "== benchmarks/$$name.py"; $(BIN)/python "benchmarks/$$name.py" $(ARGS); done

campaign: $(VENV)/oracles.stamp ## run the tests with twenty times as many random examples (FUZZ_FROM=20: other ones)
	FUZZ_FROM=$(FUZZ_FROM) $(PYTEST) --hypothesis-profile=campaign $(ARGS)

browser: ## install Chromium, which opens the report in a test (Debian, as root)
	@if command -v chromium >/dev/null; then chromium --version; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else \
	  echo "make browser: no chromium on the PATH, and only root on Debian can install it here." >&2; \
	  echo "Install Chromium so that the command 'chromium' is found; without it 'make test' skips what needs it." >&2; \
	  exit 1; \
	fi

emulator: ## install an emulator of 64-bit ARM and a C compiler for it (Debian, as root)
	@if command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64 >/dev/null; then \
	  qemu-aarch64 --version | head -n 1; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross >/dev/null; \
	else \
	  echo "make emulator: no qemu-aarch64 and aarch64-linux-gnu-gcc on the PATH, and only root on Debian can install them here." >&2; \
	  echo "Install both so that these commands are found; without them 'make test' skips what needs them." >&2; \
	  exit 1; \
	fi

wheel: $(VENV)/python.stamp ## build dist/chainrule-*.whl
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean: ## remove the virtual environment, what was built, and caches (not runs/)
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says: this much is installed. The first Python that is new enough and can make a virtual environment is taken.
$(VENV)/python.stamp:
	@fits='import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))'; \
	for python in $(CANDIDATES); do \
	  if "$$python" -c "$$fits" 2>/dev/null; then found=$$python; break; fi; \
	  seen="$$seen $$python ($$("$$python" --version 2>&1 | tail -n 1))"; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "make: no Python >= 3.11 that has the modules venv and ensurepip. Tried:$$seen." >&2; \
	  echo "Install one (on Debian python3-venv too), or name it: make <verb> PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	rm -rf $(VENV) && "$$found" -m venv $(VENV) && $(BIN)/python --version
	@touch $@

$(VENV)/command.stamp: $(VENV)/python.stamp pyproject.toml
	$(PIP) --editable '.[command]'
	@touch $@

$(VENV)/tests.stamp: $(VENV)/python.stamp pyproject.toml
	$(PIP) --editable '.[command,tests]'
	@touch $@

# PyTorch comes first and alone, so that an index or folder of CPU wheels given to pip decides which build it is.
$(VENV)/oracles.stamp: $(VENV)/python.stamp pyproject.toml
	$(PIP) $(TORCH)
	$(PIP) --editable '.[command,tests,oracles]'
	@touch $@

$(VENV)/peers.stamp: $(VENV)/python.stamp pyproject.toml
	$(PIP) $(TORCH)
	$(PIP) --editable '.[command,peers]'
	@touch $@
