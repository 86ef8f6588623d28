# Two commands do all the set-up: `make run` serves, `make test` tests. Both need Python 3.11 or newer, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=

.PHONY: help run test lint format bench requirements golden clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

run: $(VENV)/.installed ## Serve https://127.0.0.1:8443 with a throw-away CA in .kubemint (ARGS="--port 9443")
	$(BIN)/kubemint dev $(ARGS)

test: $(VENV)/.installed-dev ## Run all tests; those that need a part this machine lacks say so and skip
	$(BIN)/python -m pytest -n auto --dist loadgroup --ignore tests/service $(ARGS)
	$(BIN)/python -m pytest -n auto --dist loadfile tests/service -m "not alone" $(ARGS)
	$(BIN)/python -m pytest tests/service -m alone $(ARGS)  # these watch how fast a service under attack answers

lint: $(VENV)/.installed-dev ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## Put the code into its standard form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-bench ## Certificates per second beside OpenBao's, in one run (needs wrk)
	$(BIN)/python -m bench.issuance $(ARGS)

requirements: $(VENV)/.installed-dev ## Pin and hash the dependencies again (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make requirements' pyproject.toml -o requirements/runtime.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make requirements' --group build -c requirements/runtime.txt -o requirements/build.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make requirements' pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make requirements' --group interop -c requirements/dev.txt -o requirements/interop.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make requirements' --group bench -c requirements/runtime.txt -o requirements/bench.txt

clean: ## Remove what was built (never .kubemint)
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kubemint needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python requirements/runtime.txt requirements/build.txt pyproject.toml
	$(PIP) install -q --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	$(PIP) install -q --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.txt
	$(PIP) install -q --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed requirements/bench.txt
	$(PIP) install -q --require-hashes -r requirements/bench.txt
	@touch $@
