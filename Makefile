# What a newcomer and CI call. TORCH_INDEX chooses where torch comes from (see README).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

PORT ?= 8000
DATA ?= ../shared/data/clips.csv

.PHONY: help setup demo test test-browser test-api test-kill test-container check train-mini train-ensemble mini-squares \
  train-captions clean

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

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
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --durations 10 -m "not browser and not kill and not container"

test-browser: $(STAMP)  ## try the page in a real Chromium (installed by apt where that can be)
	$(BIN)/pip install --constraint constraints.txt --editable '.[train,dev,browser]'
	command -v chromium || command -v chromium-browser || \
	  { test "$$(id -u)" = 0 && apt-get update && apt-get install -y --no-install-recommends chromium; } || \
	  echo "no Chromium: install it with your system's packages, else these tests are skipped"
	$(BIN)/pytest -q -m browser

test-api: $(STAMP)  ## ask a running server thousands of generated requests (schemathesis)
	M2D_TEST_API=whole $(BIN)/pytest -q -s -o faulthandler_timeout=3600 tests/test_schemathesis.py

test-kill: $(STAMP)  ## end the server's processes 20 times each, writers of an index at 200 moments
	$(BIN)/pytest -q -m kill -o faulthandler_timeout=3600 tests/test_operations.py tests/test_index_kills.py \
	  tests/test_live_service.py

test-container: $(STAMP)  ## build the image and run what docker/README.md says, without a Docker engine (root)
	docker/verify/verify

# Two processes of one thread each share a step between them faster than two threads do. Their number and
# the device are part of what makes two runs the same.
PROCESSES ?= 2
DEVICE ?= cpu
MINI := --without-licence NC --procedural 8 --threads 1 --device $(DEVICE) --zero-shot-where source=ESC
PARENT ?= model/mini
TRAIN := OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc-per-node $(PROCESSES) $(BIN)/m2d-clap train $(DATA) $(MINI)

train-mini: $(STAMP)  ## train the bundled checkpoint again from DATA=clips.csv, into runs/mini/gentle/best
	$(TRAIN) --out runs/mini/one --every 10 --patience 20
	$(TRAIN) --out runs/mini/gentle --stage 1-gentle-mini --parent runs/mini/one/best --every 4
	$(BIN)/m2d-clap evaluate runs/mini/gentle/best $(DATA) --split valid --zero-shot-where source=ESC

train-ensemble: train-mini mini-squares  ## the same, then a second model, and a third from both, into runs/mini/ensemble/best
	$(TRAIN) --out runs/mini/ensemble --stage 1-ensemble-mini --parent runs/mini/gentle/best \
	  --teacher runs/mini/gentle/best --teacher runs/mini/squares-gentle/best --every 4

mini-squares: $(STAMP)
	$(TRAIN) --out runs/mini/squares --stage 1-squares-mini --every 5
	$(TRAIN) --out runs/mini/squares-gentle --stage 1-gentle-mini --parent runs/mini/squares/best --every 4

train-captions: $(STAMP)  ## train a captioner on PARENT (the bundled checkpoint) from DATA, into runs/captions/best
	$(BIN)/m2d-clap train $(DATA) --stage caption-mini --parent $(PARENT) --out runs/captions \
	  --without-licence NC --procedural 8 --threads 1 --every 2
	$(BIN)/m2d-clap evaluate runs/captions/best $(DATA) --split valid --protocol captions \
	  --without-licence NC --procedural 8

check: $(STAMP)  ## ruff, mypy --strict and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	for package in model index training service; do $(BIN)/mypy -p m2d_clap.$$package || exit 1; done
	$(BIN)/lint-imports --no-cache

clean:  ## remove what setup made
	rm -rf $(VENV) .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
