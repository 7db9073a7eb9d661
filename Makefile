# Everything a developer does here. Each target sets up what it needs and is quick when nothing changed.
.DEFAULT_GOAL := help
.PHONY: help install demo up down test lint format lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DO_NOT_TRACK := 1

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv and install the locked requirements into it

# The lock names every package with its hash, so pip need not resolve anything (--no-deps).
$(INSTALLED): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14) and "Python 3.11 to 3.13 is needed; set PYTHON=… to one.")'
	@echo "› Installing the locked requirements into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED) ## Run the whole pipeline here, no account needed (ARGS="--feed … --input …")
	@$(BIN)/sales demo $(ARGS)

up: $(INSTALLED) ## Start the embedded stack in the background
	@$(BIN)/sales up

down: $(INSTALLED) ## Stop it
	@$(BIN)/sales down

test: $(INSTALLED) ## Run every test (ARGS="-k name" for some)
	@echo "› Running the tests"
	@$(BIN)/python -m pytest $(ARGS)

lint: $(INSTALLED) ## Check style, types, SQL and the direction of imports
	@echo "› ruff" && $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "› mypy" && $(BIN)/mypy
	@echo "› import-linter" && $(BIN)/lint-imports
	@echo "› sqlfluff" && $(BIN)/sqlfluff lint --disable-progress-bar dbt/models dbt/data-tests sql
	@echo "› bandit" && $(BIN)/bandit --quiet --configfile pyproject.toml --recursive blocks cli flows local spark_jobs streaming tasks
	@echo "› detect-secrets" && git ls-files -z | xargs -0 sh -c '"$$0" --baseline .secrets.baseline "$$@" || test $$? -eq 3' $(BIN)/detect-secrets-hook # 3: lines moved, nothing new
	@if command -v terraform >/dev/null && [ -d terraform ]; then echo "› terraform fmt" && terraform fmt -check -recursive terraform; fi

format: $(INSTALLED) ## Format the Python code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lock: ## Renew requirements/*.txt from pyproject.toml (needs uv)
	uv pip compile -q --python-version 3.11 --no-emit-index-url --generate-hashes --no-annotate --no-header --extra local --extra dev -o requirements/dev.txt pyproject.toml
	uv pip compile -q --python-version 3.11 --no-emit-index-url --generate-hashes --no-annotate --no-header -c requirements/dev.txt -o requirements/runtime.txt pyproject.toml

clean: ## Stop the stack; remove what was built, the stack's data too
	@test ! -x $(BIN)/sales || $(BIN)/sales down
	rm -rf build .sales dbt/target dbt/logs .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
