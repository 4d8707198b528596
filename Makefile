# `make help` lists the targets. All work happens in .venv, which is made at the first call.
#
# pip brings torch for CUDA, some 5 GB. For a machine without a GPU the small build will do; get it first:
#
#     python3 -m venv .venv
#     .venv/bin/pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu

PYTHON ?=
VENV = .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
INSTALLED_DEV = $(VENV)/.installed-dev
INSTALLED_FUZZ = $(VENV)/.installed-fuzz
FUZZ_SECONDS = 60

PYTHONS = $(if $(PYTHON),$(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
IS_NEW_ENOUGH = -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
DEMO = classify examples/images/ --labels-file examples/labels.txt --model tiny

.DEFAULT_GOAL = help
.NOTPARALLEL: # one pip at a time in one .venv, also with -j
.PHONY: help demo test test-long soak fuzz check wheel-check clean

help:
	@echo 'make demo         sort the example pictures with the embedded model'
	@echo 'make test         run the tests'
	@echo "make test-long    the same, with 100,000 texts, 100,000 damaged pictures and all of ImageNet's prompts"
	@echo 'make soak         classify 10,000 damaged pictures, or all files of CORPUS=DIR, and count what came'
	@echo 'make fuzz         give hostile bytes to each reader, FUZZ_SECONDS=60 long'
	@echo 'make check        lint, formatting, types, and generated docs'
	@echo 'make wheel-check  build the package, install it elsewhere, and use it there'
	@echo 'make clean        delete what was built (.venv stays)'
	@echo
	@echo 'PYTHON=python3.12 chooses the Python that .venv is made with (3.11 or later)'

demo: $(INSTALLED)
	@echo '$$ zsclip $(DEMO)'
	@$(BIN)/zsclip $(DEMO) --format table
	@echo
	@echo '$$ zsclip $(DEMO) --json | head -n 1'
	@$(BIN)/zsclip $(DEMO) --json | head -n 1

test: $(INSTALLED_DEV)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-long: export ZSCLIP_LONG_TESTS = 1
test-long: test

soak: $(INSTALLED_DEV)
	@$(BIN)/python tests/soak.py $(if $(CORPUS),"$(CORPUS)")

fuzz: $(INSTALLED_FUZZ)
	@PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS)

check: $(INSTALLED_DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python docs/make_cli.py --check
	@$(BIN)/python docs/make_datasets_table.py --check

wheel-check: $(INSTALLED_DEV)
	@$(BIN)/python tests/wheel_check.py

clean:
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find zsclip tests docs examples benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || for python in $(PYTHONS) none; do \
	    if [ $$python = none ]; then \
	        echo 'zsclip needs Python 3.11 or later: make PYTHON=/path/to/python3.11' >&2; exit 1; \
	    elif $$python $(IS_NEW_ENOUGH); then \
	        $$python -m venv $(VENV) && break || exit 1; \
	    fi; \
	done
	@echo 'installing zsclip and what it needs into $(VENV) (torch is large: this takes minutes)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@echo 'installing what the tests need into $(VENV)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

$(INSTALLED_FUZZ): $(INSTALLED_DEV)
	@echo 'installing atheris into $(VENV), if there is one for this Python'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary=atheris -e '.[fuzz]' || \
	    echo 'there is none: inputs are changed at random, without looking at what they reach'
	@touch $@
