# Each target makes what it needs: `make demo` and `make test` work on a fresh clone with Python 3.11 and venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.PHONY: demo test lint format docs bench clean

demo: $(VENV)/examples
	$(BIN)/python examples/bulk_upload.py $(ARGS)

test: $(VENV)/test lint
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(ARGS)

lint: $(VENV)/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: | $(BIN)/python
	cd benchmarks && $(CURDIR)/$(BIN)/python -m bench $(ARGS)

docs: $(VENV)/docs
	$(BIN)/sphinx-build -W --keep-going -n -q -b html -d docs/_build/doctrees docs docs/_build/html

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The marks say for which extra the environment was last made.
$(VENV)/%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov tests/node_modules
