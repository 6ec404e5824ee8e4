# What a newcomer and CI call. TORCH_INDEX chooses where torch comes from (see README).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

PORT ?= 8000
DATA ?= ../shared/data/clips.csv

.PHONY: help setup demo test test-kill check train-mini clean

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP)  ## install the project and its development tools into .venv

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make setup PYTHON=python3.12") if sys.version_info < (3, 11) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/pip install --constraint constraints.txt --index-url $(TORCH_INDEX) torch)
	$(BIN)/pip install --constraint constraints.txt --editable '.[train,dev]'
	mkdir -p $(VENV)/types && ln -sfn "$(CURDIR)" $(VENV)/types/m2d_clap
	touch $@

demo: $(STAMP)  ## index and serve made-up sounds, or LIBRARY=your/folder; ONCE=1 prints and ends
	$(BIN)/m2d-clap demo --port $(PORT) $(if $(LIBRARY),--library "$(LIBRARY)") $(if $(ONCE),--once)

test: $(STAMP)  ## run the tests (CPU, no network)
	$(BIN)/pytest -q

test-kill: $(STAMP)  ## end the server's processes 20 times each, during uploads
	$(BIN)/pytest -q -m kill tests/test_operations.py

train-mini: $(STAMP)  ## train the bundled checkpoint again from DATA=clips.csv, into runs/mini/best
	$(BIN)/m2d-clap train $(DATA) --out runs/mini --without-licence NC --procedural 8 --threads 2 --every 10 \
	  --zero-shot-where source=ESC
	$(BIN)/m2d-clap evaluate $(DATA) --checkpoint runs/mini/best --split valid --zero-shot-where source=ESC

check: $(STAMP)  ## ruff, mypy --strict and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	for package in model index training service; do $(BIN)/mypy -p m2d_clap.$$package || exit 1; done
	$(BIN)/lint-imports --no-cache

clean:  ## remove what setup made
	rm -rf $(VENV) .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
