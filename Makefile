# Short commands for development. The workflow is in Snakefile, settings of tools in pyproject.toml, CI in .ci/run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SLURM_INSTALLED := $(VENV)/.installed-slurm
BENCHMARK_PYTHON ?= python3.11
# versions of Python that `make release-test` tests a release with
PYTHONS ?= python3.11 python3.12 python3.13
BENCHMARK_VENV := benchmarks/.venv
BENCHMARK_INSTALLED := $(BENCHMARK_VENV)/.installed
NEURONPEDIA_VENV := cache/environments/neuronpedia
INTEROP := saelens dictionary_learning sparsify circuit_tracer saebench transformer_lens
INTEROP_INSTALLED := $(INTEROP:%=cache/environments/%/.installed)
DOCS_VENV := .venv-docs
DOCS_INSTALLED := $(DOCS_VENV)/.installed
# written with the wheel and the source distribution in dist/
BUILT := cache/build/.built
PACKAGES := cache/packages
# if $(PACKAGES) contains wheels, pip uses only these and no index
PIP_INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt \
	$(if $(wildcard $(PACKAGES)/*.whl),--no-index --find-links "$(CURDIR)/$(PACKAGES)")
# PYTHONPATH for `make gpu-test`: the working tree, and pure Python wheels in $(PACKAGES), which work without unpacking
NOTHING :=
SPACE := $(NOTHING) $(NOTHING)
ON_GPU = PYTHONPATH="$(subst $(SPACE),:,$(strip $(CURDIR)/src $(CURDIR)/workflow $(CURDIR) $(wildcard $(CURDIR)/$(PACKAGES)/*-none-any.whl)))" $(PYTHON)
GPU_TESTS = tests/sparse/test_triton_kernels.py tests/sparse/test_kernels.py tests/training/test_read_ahead.py tests/test_device.py
export PATH := $(CURDIR)/$(BIN):$(PATH)
# the packages sdlstudy, offline and peers, which are not installed
export PYTHONPATH := $(CURDIR)/workflow
# tests start many processes, and each would compile the package again without cached bytecode
unexport PYTHONDONTWRITEBYTECODE
export OMP_WAIT_POLICY ?= PASSIVE
ARGS ?=
# twice the two cores that the tests are made for, because tests also wait for jobs and files
WORKERS ?= 4
# what the tests of a marker need: a Slurm on this machine (root, Debian), or the environments of other libraries
MARKED = $(if $(filter slurm,$(ARGS)),$(SLURM_INSTALLED)) $(if $(filter peers,$(ARGS)),$(BENCHMARK_INSTALLED) $(NEURONPEDIA_VENV)/.installed)
# test processes share the cores, so each computes on one thread; tests of threading set their own number. Tests that start
# a cluster or disturb whole runs need the machine for themselves
PYTEST = OMP_NUM_THREADS=1 pytest --dist=loadfile --no-loadscope-reorder \
	--numprocesses=$(if $(filter slurm faults peers,$(ARGS)),0,$(WORKERS))

.PHONY: help run paper test test-processors check same docs peers interop-test benchmark gpu-test gpu-benchmark release-test packages clean

help: ## list all targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

run: $(INSTALLED) ## set up and run the default pipeline: results/quick (more flags by ARGS="...")
	snakemake $(ARGS) --quiet reason host --cores all

paper: $(INSTALLED) ## set up and run the pipeline at the paper's scale: results/paper
	snakemake $(ARGS) --quiet reason host --cores all --configfile config/paper.yaml

test: $(INSTALLED) $(MARKED) ## set up, check and test everything with WORKERS=4 processes (tests of a marker: ARGS="-m slurm")
	@python -m tests.compiled & compiled=$$!; $(MAKE) --no-print-directory check && wait $$compiled
	$(PYTEST) $(ARGS)

# a variable takes instructions or threads away. Sums are then added up in other orders, so a test that needs the bits, or
# the luck, of one processor fails. MKL_CBWR is the only one of MKL's that processors of other makers than Intel heed
PROCESSORS = ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 MKL_ENABLE_INSTRUCTIONS=SSE4_2 \
	MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=AVX2 NUMBA_CPU_NAME=generic NUMBA_NUM_THREADS=1
NUMERIC ?= tests/model tests/training tests/sparse tests/solvers tests/evaluation tests/data
test-processors: $(INSTALLED) ## run numeric tests with the instruction sets of other processors (select tests: NUMERIC=tests/solvers)
	@for variable in $(PROCESSORS); do \
		echo "$$variable"; env $$variable $(PYTEST) --quiet $(NUMERIC) $(ARGS) || failed=1; \
	done; exit $${failed:-0}

check: $(INSTALLED) ## run linters, formatters, type checks and import rules
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	mypy
	mypy benchmarks studies
	lint-imports
	snakemake --lint
	snakemake --lint --configfile config/tiny.yaml

same: $(INSTALLED) ## run the pipeline of a commit and of the working tree, and list numbers that differ (BASE=commit ARGS="tiny streams quick")
	python -m tests.same $(BASE) $(ARGS)

docs: $(INSTALLED) $(DOCS_INSTALLED) ## write the references of Python, commands and metrics, and build the docs site: site/
	$(BIN)/python -m docs.references
	$(DOCS_VENV)/bin/zensical build --strict --clean
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --quiet --strict --site-dir site/material

peers: $(BENCHMARK_INSTALLED) ## install other libraries, for methods that train with them (docs/peers.md)

interop-test: $(INSTALLED) $(INTEROP_INSTALLED) ## load every export with each library's own loader: resources/kept/interop_pairs.csv
	pytest -m interop tests/interop $(ARGS)

benchmark: $(BENCHMARK_INSTALLED) ## time training beside other libraries: benchmarks/results (needs an idle machine)
	$(BENCHMARK_VENV)/bin/python -m benchmarks $(ARGS)

gpu-test: ## test the GPU kernels, on a GPU or else with Triton's interpreter (installs nothing)
	$(ON_GPU) -m pytest -m "kernels or not kernels" $(GPU_TESTS) $(ARGS)

gpu-benchmark: ## measure equality, speed and memory on a GPU, resumable: benchmarks/results/gpu (installs nothing)
	$(ON_GPU) -m benchmarks.gpu $(ARGS)

release-test: ## build dist/, and test it in empty environments on each of PYTHONS, with the oldest and newest torch
	rm -rf dist cache/build
	$(MAKE) --no-print-directory $(BUILT)
	$(PYTHON) -m tests.release $(PYTHONS)

packages: ## download all Python packages into cache/packages, for a machine without a network
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip download --quiet --constraint constraints.txt --dest $(PACKAGES) '.[test,slurm]' 'setuptools>=77'

clean: ## remove the environment and caches of tools; results stay
	rm -rf $(VENV) $(BENCHMARK_VENV) cache/environments $(DOCS_VENV) .cache site .snakemake .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(BUILT):
	$(PYTHON) -m venv cache/build
	cache/build/bin/python -m pip install --quiet build
	cache/build/bin/python -m build
	touch $@

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "sdlcore needs Python 3.11 or newer, as python3 or by PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the packages into $(VENV)/, for a minute or more"
	@$(PIP_INSTALL) --editable '.[test]' \
		|| { echo "The packages in constraints.txt could not be installed; pip says above why. Where there is no network, run"; \
			echo "'make packages' on a machine that has one, with the same system and version of Python, in a clone of this"; \
			echo "repository; copy its $(PACKAGES) to $(CURDIR)/$(PACKAGES), and run this again."; \
			exit 1; } >&2
	touch $@

# an extra of its own, because with it every start of Snakemake queries a configured scheduler, and waits if that is down
$(SLURM_INSTALLED): $(INSTALLED)
	@{ command -v slurmctld && command -v munged; } > /dev/null \
		|| { apt-get update -qq && apt-get install --yes --no-install-recommends -qq slurm-wlm munge; } > /dev/null \
		|| { echo "this needs Slurm and munge, and could not install Debian's slurm-wlm and munge"; exit 1; }
	$(PIP_INSTALL) --editable '.[test,slurm]'
	touch $@

cache/environments/%/.installed: tests/interop/requirements/%.txt
	$(BENCHMARK_PYTHON) -m venv cache/environments/$*
	cache/environments/$*/bin/python -m pip install --quiet --requirement $<
	touch $@

$(DOCS_INSTALLED): docs/requirements.txt docs/constraints.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --constraint docs/constraints.txt --requirement docs/requirements.txt
	touch $@

$(BENCHMARK_INSTALLED): pyproject.toml $(wildcard benchmarks/*.txt)
	$(BENCHMARK_PYTHON) -m venv $(BENCHMARK_VENV)
	$(BENCHMARK_VENV)/bin/python -m pip install --quiet --constraint benchmarks/constraints.txt \
		--requirement benchmarks/requirements.txt --editable .
	$(BENCHMARK_VENV)/bin/python -m pip install --quiet --no-deps --requirement benchmarks/requirements-alone.txt
	touch $@

$(NEURONPEDIA_VENV)/.installed: Makefile
	$(PYTHON) -m venv $(NEURONPEDIA_VENV)
	$(NEURONPEDIA_VENV)/bin/python -m pip install --quiet --constraint constraints.txt neuronpedia==1.2.1 lazy_loader
	touch $@
