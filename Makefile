# make           the environment of requirements.lock in .venv, then the pipeline (dvc repro)
# make test      the same environment, then the linter and all tests
# make lock      requirements.lock anew from pyproject.toml (needs uv)
PYTHON ?= python3
ENV := .venv
# stages are started as `python`, so the environment's comes first
export PATH := $(CURDIR)/$(ENV)/bin:$(PATH)

.PHONY: all test export lock clean
all: $(ENV)/ready
	dvc repro

test: $(ENV)/ready
	ruff check .
	ruff format --check .
	lint-imports --no-cache --no-logo
	python -m pytest

export: $(ENV)/ready
	python -m pipeline.predict.export

$(ENV)/ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "error: $(PYTHON) is not Python 3.11, 3.12 or 3.13; try make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(ENV)
	@echo "installing requirements.lock into $(ENV): some 6 GB, minutes the first time"
	$(ENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@

lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	  --extra dev --extra cluster --extra search pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(ENV)
