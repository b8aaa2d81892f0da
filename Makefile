# Every target makes the one virtual environment it needs; a stamp per extra remembers what is in it.
SHELL := bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo pipeline test test-all docs versions pythons haswell lint style types audit bench bench-smoke roofline rows wheel clean

help:  ## show this list
	@echo "make TARGET [PYTHON=python3] [ARGS=...]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.stamp-demo  ## a real ONNX model: quantized by `dynq quantize`, run beside ONNX Runtime
	@$(PY) -m examples.onnx_model $(ARGS)

# As examples/pipeline/github.yml and gitlab.yml do on CI servers.
pipeline: $(VENV)/.stamp-demo $(VENV)/.stamp-gate  ## a real classifier: trained, quantized, gated before it ships
	@$(PY) -m examples.pipeline.build
	@$(PY) -m dynq_numba quantize build/pipeline/model.onnx -o build/pipeline/model.int8.onnx --quiet
	@$(PY) -m dynq_numba gate examples/pipeline/reviews.toml -o build/pipeline/reviews
	@$(PY) -m dynq_numba gate examples/pipeline/similarity.toml -o build/pipeline/similarity

# Kernels of the instruction sets $(1) are compiled first, so that workers find them: the quick tier meets few of those of
# portable. What does not stand a busy machine runs behind the others. 5 is pytest's status where nothing was to be run.
# Hundreds of processes import the package: bytecode is kept, whatever the environment says.
WORKERS ?= 2
unexport PYTHONDONTWRITEBYTECODE
define run_tests
@for isa in $$($(PY) -c 'from dynq_numba import available_isas as sets; print(*$(1))'); do \
    DYNQ_ISA=$$isa $(PY) -m dynq_numba warmup --quiet --jobs $(WORKERS) || exit; done
@$(PY) -m pytest --numprocesses $(WORKERS) --dist worksteal -m "not alone $(2)" $(ARGS) || [ $$? = 5 ]
@$(PY) -m pytest -m "alone $(2)" $(or $(ARGS),tests/process) || [ $$? = 5 ]
endef

test: $(VENV)/.stamp-test  ## the quick tier: every operator and promise, golden digests, documentation
	$(call run_tests,sets()[:1],and quick)

# REST="and not quick" leaves out what `make test` has just run. Here a missing extra is a failure; elsewhere tests that
# need it are skipped.
test-all: export DYNQ_TEST_EXTRAS = required
test-all: $(VENV)/.stamp-test-all  ## every test, those of the extras too
	$(call run_tests,sets(),$(REST))

docs: $(VENV)/.stamp-docs  ## the documentation site in build/docs; warnings are errors
	@$(PY) -m sphinx -b html -c docs -q -W --keep-going . build/docs
	@! grep -rnoE '<(script|link|img)[^>]*(src|href)="(https?:)?//|@import|url\(.?https?:' build/docs --include='*.html' --include='*.css'
	@echo build/docs/index.html

versions:  ## the oldest and the newest numba and numpy that are allowed (10 minutes)
	@bash tests/programs/versions.sh $(ARGS)

pythons: $(VENV)/.stamp-test  ## the quick tier on every python3.11 … python3.14 that is on PATH
	@bash tests/programs/pythons.sh $(ARGS)

haswell: $(VENV)/.stamp-test  ## golden results on a CPU with AVX2 and no VNNI, emulated by qemu-user
	@bash tests/programs/haswell.sh $(ARGS)

lint: style types  ## ruff and mypy

style: $(VENV)/.stamp-dev  ## ruff alone
	@$(PY) -m ruff check .

# mypy follows files, not the import hook of an editable install: show it the installed layout through links,
# and name the real files in what it reports.
types: $(VENV)/.stamp-dev  ## mypy alone
	@rm -rf $(VENV)/types && mkdir -p $(VENV)/types/dynq_numba
	@ln -s $(CURDIR)/dynq_numba/*.py $(CURDIR)/dynq_numba/py.typed $(VENV)/types/dynq_numba/
	@ln -s $(CURDIR)/dynq_numba/*/ $(CURDIR)/kernels $(VENV)/types/dynq_numba/
	@$(PY) -m mypy | sed -E 's#^$(VENV)/types/(dynq_numba/(kernels/))?#\2#'

# Strict: a package that no database was asked about is a failure, not a pass.
audit: $(VENV)/.stamp-test $(VENV)/.stamp-demo  ## known vulnerabilities of what test and demo install (asks pypi.org)
	@[ -x $(VENV)/audit/bin/pip-audit ] || { $(PYTHON) -m venv --clear $(VENV)/audit && \
	    $(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit; }
	@$(PY) -m pip freeze --exclude-editable > $(VENV)/audit/installed.txt
	@$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement $(VENV)/audit/installed.txt $(ARGS)

bench: $(VENV)/.stamp-bench  ## ours beside every peer; fills in the pages (30 minutes)
	@$(PY) -m bench roofline
	@$(PY) -m bench linear --avx2 --files transformer --budget 1 $(ARGS)
	@$(PY) -m bench linear --readme $(ARGS)
	@$(PY) -m bench operators --write
	@$(PY) -m bench models --write
	@$(PY) -m bench formats --write

bench-smoke: $(VENV)/.stamp-test  ## one quick round of every benchmark
	@$(PY) -m bench roofline --smoke
	@$(PY) -m bench exhaustive_activations --smoke
	@$(PY) -m bench exhaustive_regions --smoke
	@$(PY) -m bench matrix
	@$(PY) -m pytest bench -q
	@$(PY) -m bench linear --shapes 16,64,96 --only dynq numpy --rounds 1
	@$(PY) -m bench operators projections chain matmul sgemm rowwise attention conv sconv pooling --smoke --threads 1
	@$(PY) -m bench models --smoke
	@$(PY) -m bench formats --smoke
	@$(PY) -m bench looks --smoke
	@$(PY) -m bench steps "3 LSTM 8"
	@$(PY) -m bench startup 1
	@$(PY) -m bench calls
	@$(PY) -m bench recurrent_threads --smoke
	@$(PY) -m bench small_calls --smoke
	@$(PY) -m bench mixed --smoke
	@$(PY) -m bench breakdown 1 16,64,96
	@$(PY) -m bench assembly > /dev/null

rows: $(VENV)/.stamp-test  ## write out what is made from the operators' rows: names, packages, tables, reference
	@$(PY) tests/programs/rows.py --write

roofline: $(VENV)/.stamp-test  ## percent of this machine's measured peak
	@$(PY) -m bench roofline $(ARGS)

wheel: $(VENV)/.stamp-dev  ## sdist and wheel in dist/
	@rm -rf build  # setuptools would ship stale files from it
	@$(PY) -m build --outdir dist . > $(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	@ls -1 dist/*

clean:  ## remove the environment, build outputs and caches
	@rm -rf $(VENV) build dist *.egg-info .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dynq-numba needs Python 3.11 or newer, $(PYTHON) is %d.%d: make PYTHON=..." % sys.version_info[:2])'
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.stamp-%: pyproject.toml | $(VENV)/.stamp-venv
	@echo "installing dynq-numba[$*] into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[$*]'
	@touch $@
