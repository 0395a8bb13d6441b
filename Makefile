# make demo      set up, fetch the default pack and solve a real problem with it
# make test      set up for development, with torch, lint, and run the tests
#                (SLOW=1: also those on small and standard)
# make lint      format, rules and types
# make bench     speed and memory of this machine with the pack standard; the last line is JSON
# make fuzz      feed damaged files to the readers for a long time    (MINUTES=10)
# make screenshots  the pictures in docs/images, of a real solve (needs Chromium)
# make setup     only set up, for solving and serving
# make rebuild   build llama.cpp for this machine again

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
LLAMA_CPP_PYTHON := llama-cpp-python==0.3.36
LLAMA_STAMP := $(VENV)/.$(LLAMA_CPP_PYTHON)
JOBS := $(shell $(PYTHON) -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
DEMO_QUESTION := A gardener plants 6 rows of 14 tulips. A quarter of them do not come up, and she sells the rest in bunches of 7 for \$$4 a bunch. How much money does she get?
MINUTES ?= 10

.PHONY: setup rebuild demo test lint format bench fuzz screenshots clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

rebuild:
	rm -f $(LLAMA_STAMP) $(STAMP) $(DEV_STAMP)
	$(MAKE) setup

demo: $(STAMP)
	@echo '$$ lorid-edge solve "$(DEMO_QUESTION)"'
	@[ -t 1 ] || trace=--trace; \
	$(BIN)/lorid-edge solve --yes $$trace "$(DEMO_QUESTION)" || [ $$? -eq 3 ]

test: lint
	$(BIN)/python -m pytest $(if $(SLOW),-m "slow or not slow")

lint: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(DEV_STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

fuzz: $(DEV_STAMP)
	$(BIN)/python scripts/fuzz_readers.py --minutes $(MINUTES)

bench: $(DEV_STAMP)
	$(BIN)/python benchmarks/engine.py

screenshots: $(DEV_STAMP)
	$(BIN)/python scripts/screenshots.py

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# GCC builds llama.cpp's AMX kernels so that they crash at the first decode, unless it is told not to
# remove stores; it is told where it is the compiler and the CPU has AMX.
$(LLAMA_STAMP): scripts/llama_build_flags.sh | $(VENV)/bin/python
	@echo "Building $(LLAMA_CPP_PYTHON) for this machine with $(JOBS) jobs; this takes a few minutes."
	flags="$$(sh scripts/llama_build_flags.sh)" && \
	CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) CMAKE_ARGS="$$flags" \
	$(BIN)/python scripts/build_llama.py $(LLAMA_CPP_PYTHON)
	@touch $@

$(STAMP): pyproject.toml constraints.txt $(LLAMA_STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[serve]'
	@touch $@

# Tests, training and the comparison with PEFT need torch and much else that solving does not.
$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[serve,dev,train]'
	@touch $@
