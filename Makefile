# evsd: see README.md. Every target can be run again.

SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
PYTHON := /usr/bin/python3
RUN_DIR := var/run
PEERS := .cache/bench
BARBICAN := .cache/barbican
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
BUILD_TOOLS := $(CURDIR)/.cache/build-tools

.PHONY: help deps build dev run test test-fast lint format bench bench-data bench-keys bench-layers bench-starts lock docs clean distclean fuzz test-long

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

deps: ## install the system packages that are missing, and say which and why
	@tools/install_packages tools/packages.txt tools/packages-test.txt
	@$(PYTHON) tools/guest_kernel.py
	@tools/node_packages

build: $(STAMP) ## build .venv with evsd, evsctl and the plugin

# What compiles stays outside: .venv has what running needs, and no more.
$(STAMP): requirements/runtime.txt requirements/build.txt pyproject.toml setup.py \
          nbd_plugin/_datapath.pyx $(wildcard nbd_plugin/native/*)
	@tools/check_python $(PYTHON)
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --require-hashes -r requirements/runtime.txt
	$(VENV)/bin/pip install --quiet --require-hashes --upgrade --target $(BUILD_TOOLS) \
	    -r requirements/build.txt
	@# As a path: a finder of setuptools' own would be loaded at each start of Python, 15 ms.
	PYTHONPATH=$(BUILD_TOOLS) $(VENV)/bin/pip install --quiet --no-deps --no-build-isolation \
	    --config-settings editable_mode=compat --editable .
	@# evsd's user can't write here: its processes would compile all they load at each start.
	$(VENV)/bin/python -m compileall -q evsd nbd_plugin
	@touch $@

dev: $(DEV_STAMP) ## the same with all that testing, linting and documenting need

$(DEV_STAMP): $(STAMP) requirements/dev.txt
	$(VENV)/bin/pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

run: ## on a fresh Debian 12, as root: install, build, and show the main job step by step
	@test $$(id -u) = 0 || { echo "make run makes a block device, which only root may: run it as" \
	    "root. Without: make build, evsd, and evsctl attach --transport uri; see README.md" >&2; \
	    exit 1; }
	@tools/install_packages tools/packages.txt
	@$(MAKE) --no-print-directory build
	@$(VENV)/bin/python -m tools.tour $(RUN_DIR)

# A module's tests share what they start, so they stay together and in order. Two workers for each
# processor: half of the time a worker waits.
PARALLEL := -n $(shell expr 2 \* $$(nproc)) --dist loadfile --no-loadscope-reorder

MEASURE := $(VENV)/bin/python -m tests.measured
# Per cent of evsd's statements that the tests run; a whole run says 96.0.
COVERAGE_FLOOR := 95

test: deps lint ## everything that must hold
	$(MEASURE) prepare
	PYTHONPATH=$(CURDIR)/tests/measured $(VENV)/bin/pytest $(PARALLEL) --durations=20
	$(MEASURE) report $(COVERAGE_FLOOR)

test-fast: dev ## the tests without the guest kernel
	$(VENV)/bin/pytest $(PARALLEL) --ignore tests/guest

lint: dev ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: dev ## let ruff reformat
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

SECONDS_EACH := 600

fuzz: dev ## fuzz header and requests for SECONDS_EACH=600; new seeds go into tests/fuzz/seeds
	$(VENV)/bin/python -m tests.fuzz header --keep --seconds $(SECONDS_EACH)
	$(VENV)/bin/python -m tests.support.sanitized tests.fuzz requests --seconds $(SECONDS_EACH)

test-long: dev ## the model tests of data path and layers with 20,000 sequences each
	EVSD_SEQUENCES=20000 $(VENV)/bin/pytest --timeout 7200 tests/plugin/test_model.py \
	    tests/plugin/test_layers_model.py

bench: deps dev $(PEERS) $(BARBICAN) ## compare the data path and the KMS with their peers, as ratios
	$(VENV)/bin/python -m bench.datapath
	$(PEERS)/bin/python bench/plot.py
	$(VENV)/bin/python -m bench.kms

$(PEERS): requirements/bench.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --require-hashes -r requirements/bench.txt
	@touch $@

$(BARBICAN): requirements/barbican.txt
	$(PYTHON) -m venv $(BARBICAN)
	$(BARBICAN)/bin/pip install --quiet --require-hashes -r requirements/barbican.txt
	@touch $@

MARKED := "4k random read QD16" "4k random write QD16" "512 random" "256k"

# A mark that is missed must not keep the next table from being made.
bench-data: deps dev ## the data path's jobs that have a mark, and memory and start, in ten minutes
	-$(VENV)/bin/python -m bench.datapath --peers nbdkit "nbdkit luks filter" \
	    --only $(MARKED) "memory and start" $(if $(BEFORE),--before $(BEFORE))
	-$(VENV)/bin/python -m bench.datapath --directory .cache --peers nbdkit \
	    --only "256k sequential write" $(if $(BEFORE),--before $(BEFORE))
	$(VENV)/bin/python -m bench.datapath --busy --rounds 8 --peers nbdkit --only "4k random read QD16" "256k"

bench-layers: deps dev ## what snapshots cost: chains of layers beside qcow2 with LUKS inside
	$(VENV)/bin/python -m bench.layers

bench-keys: dev ## how times grow with 10,000 keys on the token
	$(VENV)/bin/python -m bench.keys

bench-starts: dev ## how long evsd and evsctl take to start, with 10,000 keys and 500 volumes too
	$(VENV)/bin/python -m bench.starts

docs: dev ## make man pages, shell completion and the OpenAPI file from the code
	$(VENV)/bin/python -m tools.generate_docs

lock: dev ## pin the dependencies anew
	$(VENV)/bin/uv pip compile --quiet --python $(PYTHON) --generate-hashes --no-header \
	    --no-annotate --no-emit-index-url --group dev pyproject.toml -o requirements/dev.txt
	$(VENV)/bin/uv pip compile --quiet --python $(PYTHON) --generate-hashes --no-header \
	    --no-annotate --no-emit-index-url --group bench -o requirements/bench.txt
	$(VENV)/bin/uv pip compile --quiet --python $(PYTHON) --generate-hashes --no-header \
	    --no-annotate --no-emit-index-url --group barbican -o requirements/barbican.txt
	$(VENV)/bin/uv pip compile --quiet --python $(PYTHON) --generate-hashes --no-header \
	    --no-annotate --no-emit-index-url pyproject.toml -c requirements/dev.txt \
	    -o requirements/runtime.txt
	$(VENV)/bin/uv pip compile --quiet --python $(PYTHON) --generate-hashes --no-header \
	    --no-annotate --no-emit-index-url --group build -c requirements/dev.txt \
	    -o requirements/build.txt

clean: ## detach what `make run` attached, stop its evsd, remove its state
	@tools/stop_run $(RUN_DIR)

distclean: clean ## also remove the environment and everything built
	rm -rf $(VENV) .cache build *.egg-info nbd_plugin/*.so nbd_plugin/_datapath.c
