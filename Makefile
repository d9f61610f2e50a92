# make           the environment of requirements.lock in .venv, then the pipeline (dvc repro)
# make test      the same environment, then the linter and all tests, two processes of them
# make lock      requirements.lock anew from pyproject.toml (needs uv)
PYTHON ?= python3
ENV := .venv
SUITS := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
# stages are started as `python`, so the environment's comes first
export PATH := $(CURDIR)/$(ENV)/bin:$(PATH)

.PHONY: all test export lock clean
all: $(ENV)/ready
	dvc repro

test: $(ENV)/ready
	ruff check .
	ruff format --check .
	lint-imports --no-cache --no-logo
	python -m pytest -n 2 --dist loadfile

export: $(ENV)/ready
	python -m pipeline.predict.export

# a Python that pyproject.toml takes and that can make an environment: PYTHON, or the one that uv brings
$(ENV)/ready: requirements.lock
	@if $(PYTHON) -c "$(SUITS)" 2>/dev/null; then $(PYTHON) -m venv $(ENV); \
	elif command -v uv >/dev/null; then uv venv --python 3.13 --seed --clear $(ENV); \
	else echo "error: $(PYTHON) is no Python 3.11 to 3.14 with venv (on Debian and Ubuntu: python3-venv);" \
	  "try make PYTHON=python3.13, or install uv, which brings one" >&2; exit 1; fi
	@echo "installing requirements.lock into $(ENV): some 6 GB, minutes the first time"
	$(ENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@

lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	  --extra dev --extra cluster --extra search pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(ENV)
