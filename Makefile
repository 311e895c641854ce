# make demo : train on the bundled digits, evaluate, draw pictures and a report into ./demo
# make test : what every change must pass; make thorough : whole pages, processes, all combinations;
# make test-browser : the explorer's page in chromium. CI runs all three.
# Each makes the environment itself; it needs only Python 3.11 or newer.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CHROMIUM ?= /usr/bin/chromium

.PHONY: demo test thorough test-browser check lint types layers pytest coverage format slow proofs course reproduce bench-smoke docs \
  docs-serve clean

demo: $(VENV)/.demo
	$(BIN)/reparam demo --out demo

test: check

check: lint types layers pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports --no-cache

# One process per core, each of one thread: many small tensors gain nothing from more.
pytest: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow and not thorough" -n auto --dist worksteal --durations=20

# What takes many seconds each: the pages of the documentation, exports, generated requests, the pairs of all axes
thorough: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "thorough and not slow" -n auto --dist worksteal --durations=20

# The explorer's page in Debian's chromium, or in another that is named: make test-browser CHROMIUM=path
test-browser: $(VENV)/.browser
	@test -x "$(CHROMIUM)" || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	    && echo "installing chromium" && apt-get -qq update && apt-get -qq install -y chromium >/dev/null; } \
	  || { echo "make test-browser needs chromium: install it, or name it by CHROMIUM=path"; exit 1; }
	CHROMIUM=$(CHROMIUM) OMP_NUM_THREADS=1 $(BIN)/pytest tests/browser

coverage: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow" -n auto --dist worksteal --cov --cov-report=term

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The published sizes on MNIST: make slow DATA=folder-with-the-four-idx-files
slow: $(VENV)/.dev
	REPARAM_MNIST=$(DATA) $(BIN)/pytest -m slow -s

# Estimates over 200 seeds in 1 to 20 dimensions, quadrature, 200 healthy models: half an hour
proofs: $(VENV)/.dev
	$(BIN)/pytest -m slow tests/test_proofs.py -v --durations=0

# The pages of docs/course at full size, with all that they assert: minutes; with MNIST and Frey by DATA=folder
course: $(VENV)/.dev
	$(if $(DATA),REPARAM_DATA=$(abspath $(DATA))) OMP_NUM_THREADS=1 $(BIN)/pytest -m slow tests/test_course.py -v --durations=0

# Published numbers at full size, an hour or more: make reproduce DATA=folder [ONLY=name] [SEED=n]
reproduce: $(VENV)/.dev
	$(BIN)/python -m reproduce $(DATA) $(if $(ONLY),--only $(ONLY)) --seed $(or $(SEED),0)

# Whether the bench runs: its ratios are printed, and nothing depends on them.
bench-smoke: $(VENV)/.dev
	$(BIN)/reparam bench --quick

# The site, into ./site: the code of its pages is run, at full size unless QUICK=1, and results are kept in .cache.
# DATA=folder holds mnist/ and frey.npz, for those pages of the course that can use them.
SITE := NO_MKDOCS_2_WARNING=1 $(if $(DATA),REPARAM_DATA=$(abspath $(DATA))) $(if $(QUICK),REPARAM_QUICK=1)

docs: $(VENV)/.docs
	$(SITE) $(BIN)/mkdocs build

docs-serve: $(VENV)/.docs
	$(SITE) $(BIN)/mkdocs serve

# One environment, two depths: what the demo needs, and what the tests need on top.
$(VENV)/.made: 
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "reparam needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "installing PyTorch and what the demo needs into $(VENV); the first time takes a minute or more"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "installing PyTorch and what the tests need into $(VENV); the first time takes a minute or more"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.browser: pyproject.toml constraints.txt | $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,browser]'
	@touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

clean:
	rm -rf $(VENV) site .cache demo build dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
