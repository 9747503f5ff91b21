# Most people need only `make run` and `make test`. `make help` lists all targets.

VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
# The first interpreter that is new enough; `make setup PYTHON=python3.12` selects another one.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
# Some steps are silent for a minute. A dot every three seconds shows that they work.
DOTS := sh -c 'while sleep 3; do printf .; done & trap "kill $$!; echo" EXIT; "$$@"' dots
PIP_INSTALL := $(DOTS) $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check \
	--no-input --progress-bar off --retries 10 --timeout 60 --require-hashes
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.PHONY: help run observe stop setup test check format docs bench sbom lock

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

run: $(VENV)/.runtime ## start the service with demonstration data (PORT=8000)
	@PORT=$(PORT) exec $(BIN)/python -m stagenorm.serve

observe: $(VENV)/.runtime ## the same with Prometheus, Alertmanager and the relay
	@PORT=$(PORT) exec $(BIN)/python -m stagenorm.observe

stop: ## stop the embedded database, if it still runs after a kill -9
	@$(BIN)/python -m stagenorm.postgres stop

setup: $(VENV)/.dev $(VENV)/.node ## install the pinned requirements into .venv

test: setup check ## run all checks and all tests
	@$(BIN)/python -m pytest

check: setup ## run lint, format, types, import rules and Django's checks
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@DJANGO_DEBUG=1 $(BIN)/mypy
	@$(BIN)/lint-imports
	@DJANGO_DEBUG=1 $(BIN)/python manage.py check --fail-level WARNING
	@DJANGO_DEBUG=1 $(BIN)/python manage.py makemigrations --check --dry-run
	@DJANGO_DEBUG=1 $(BIN)/python manage.py spectacular --validate --fail-on-warn >/dev/null

format: setup ## format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: setup ## regenerate the generated parts of docs/
	@DJANGO_DEBUG=1 $(BIN)/python -m tests.house.write_configuration

bench: setup ## run the benchmarks; docs/benchmarks.md has their figures
	@$(BIN)/python -m pytest tests/benchmarks -n0 -p no:randomly -q

sbom: setup ## write the pinned packages as a CycloneDX document into sbom.json
	@$(BIN)/uv tool run --quiet --from cyclonedx-bom cyclonedx-py requirements \
		--pyproject pyproject.toml --output-reproducible -o sbom.json requirements/runtime.txt

lock: setup ## pin requirements/*.in (LOCK=--upgrade for newer releases)
	@$(UV_COMPILE) $(LOCK) -o requirements/dev.txt requirements/dev.in
	@$(UV_COMPILE) -c requirements/dev.txt -o requirements/runtime.txt requirements/runtime.in

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found on PATH." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "$(PYTHON) is not Python 3.11 or newer. Name one with PYTHON=python3.12." >&2; exit 1; }
	@mkdir -p $(VENV) 2>/dev/null && test -w $(VENV) || { echo "$(CURDIR)/$(VENV) cannot be" \
		"written. Use a checkout that belongs to you." >&2; exit 1; }
	@echo "Making $(VENV) …"
	@$(DOTS) $(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.txt | $(VENV)/bin/python
	@echo "Installing requirements/runtime.txt into $(VENV) (a minute or two) …"
	@$(PIP_INSTALL) -r requirements/runtime.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(VENV)/bin/python
	@echo "Installing requirements/dev.txt into $(VENV) (a minute or two) …"
	@$(PIP_INSTALL) -r requirements/dev.txt
	@touch $@ $(VENV)/.runtime

# The linters and the TypeScript client of tests/consumers, in a directory of their own. They need
# the packages of npm; a machine that only reaches those of Python skips their tests.
$(VENV)/.node: tests/consumers/package-lock.json tests/consumers/package.json | $(VENV)/.dev
	@echo "Installing tests/consumers/package-lock.json into $(VENV)/node …"
	@mkdir -p $(VENV)/node && cp $^ $(VENV)/node/
	@node=$$($(BIN)/python -m tests.consumers.node_tools) && cd $(VENV)/node && \
		"$$node/bin/node" "$$node/lib/node_modules/npm/bin/npm-cli.js" ci \
		--ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel error >/dev/null && \
		touch $(CURDIR)/$@ || echo "npm's packages were not installed: three tests are skipped."
