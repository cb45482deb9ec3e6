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
INTEROP := saelens dictionary_learning sparsify circuit_tracer saebench
INTEROP_INSTALLED := $(INTEROP:%=cache/environments/%/.installed)
DOCS_VENV := .venv-docs
DOCS_INSTALLED := $(DOCS_VENV)/.installed
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
# test processes share the cores, so each computes on one thread; tests of threading set their own number
PYTEST = OMP_NUM_THREADS=1 pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

.PHONY: help run paper test test-all test-processors docs pages-test pages-made slurm slurm-test slurm-quick same faults fuzz peers peers-test neuronpedia-test interop-test check format benchmark gpu-test gpu-benchmark workflow-report lock packages dist release-test clean checked compiled

help: ## list all targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

run: $(INSTALLED) ## set up and run the default pipeline: results/quick (more flags by ARGS="...")
	snakemake $(ARGS) --quiet reason host --cores all

paper: $(INSTALLED) ## set up and run the pipeline at the paper's scale: results/paper
	snakemake $(ARGS) --quiet reason host --cores all --configfile config/paper.yaml

test: checked ## set up, check and test everything (with WORKERS=4 processes)
	$(PYTEST) $(ARGS)

same: $(INSTALLED) ## run the pipeline of a commit and of the working tree, and list numbers that differ (BASE=commit ARGS="tiny streams quick")
	python -m tests.same $(BASE) $(ARGS)

test-all: checked ## make test, and the tests marked slow
	$(PYTEST) --hypothesis-profile=thorough -m 'not slurm and not faults and not peers and not interop and not pages' $(ARGS)

test-processors: $(INSTALLED) ## run numeric tests with the instruction sets of other processors (select tests: ARGS="tests/solvers -k acs")
	python -m tests.processors --numprocesses=$(WORKERS) --dist=loadfile $(ARGS)

slurm: $(SLURM_INSTALLED)
	@{ command -v slurmctld && command -v munged; } > /dev/null \
		|| { apt-get update -qq && apt-get install --yes --no-install-recommends -qq slurm-wlm munge; } > /dev/null \
		|| { echo "this needs Slurm and munge, and could not install Debian's slurm-wlm and munge"; exit 1; }

slurm-test: slurm ## start Slurm on this machine, and run the tiny pipeline on it (root, Debian)
	pytest -m slurm tests/slurm $(ARGS)

slurm-quick: slurm ## start Slurm on this machine, and run the default pipeline on it: results/quick (root, Debian)
	python -m tests.slurm.cluster snakemake --workflow-profile profiles/slurm --cores 2 --quiet reason host $(ARGS)

faults: $(INSTALLED) ## test the tiny pipeline with killed jobs, full disks and damaged files (docs/pipeline.md; select tests: ARGS="-k kills")
	pytest -m faults tests/faults $(ARGS)

fuzz: $(INSTALLED) ## read odd images, configurations and dictionaries
	python -m tests.fuzz $(ARGS)

peers: $(BENCHMARK_INSTALLED) ## install other libraries, for methods that train with them (docs/peers.md)

peers-test: $(INSTALLED) $(BENCHMARK_INSTALLED) ## test adapters and re-implementations of other libraries against the libraries themselves
	pytest -m peers tests/peers tests/sources/synth $(ARGS)

neuronpedia-test: $(INSTALLED) $(NEURONPEDIA_VENV)/.installed ## upload latents with Neuronpedia's client to a server on this machine (port 3000)
	pytest -m peers tests/inside $(ARGS)

interop-test: $(INSTALLED) $(INTEROP_INSTALLED) ## load every export with each library's own loader: resources/kept/interop_pairs.csv
	pytest -m interop tests/interop $(ARGS)

docs: $(DOCS_INSTALLED) ## build the docs site with Zensical and with mkdocs-material, without a warning: site/
	$(DOCS_VENV)/bin/zensical build --strict --clean
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --quiet --strict --site-dir site/material

pages-test: $(INSTALLED) ## execute every code block of every page; blocks that a test cannot run are planned or parsed
	pytest -m 'pages or not pages' tests/pages $(ARGS)

pages-made: $(INSTALLED) ## write the generated parts of pages: tutorial pictures, Python and command-line references, metrics
	python -m tests.pages.pictures
	python -m tests.pages.architecture
	python -m tests.pages.command_line > docs/reference/command-line.md
	python -m tests.pages.setting_types
	python -m tests.pages.python_names
	python -m tests.pages.python_in_full
	python -m tests.pages.metrics > docs/metrics.md

checked: $(INSTALLED)
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target check compiled

compiled: $(INSTALLED)
	python -m tests.compiled

check: $(INSTALLED) ## run linters, formatters, type checks and import rules
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	mypy
	mypy benchmarks studies
	lint-imports
	snakemake --lint
	snakemake --lint --configfile config/tiny.yaml

format: $(INSTALLED) ## fix lint errors and format the code
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

benchmark: $(BENCHMARK_INSTALLED) ## time training beside other libraries: benchmarks/results (needs an idle machine)
	$(BENCHMARK_VENV)/bin/python -m benchmarks $(ARGS)

gpu-test: ## test the GPU kernels, on a GPU or else with Triton's interpreter (installs nothing)
	$(ON_GPU) -m pytest -m "kernels or not kernels" $(GPU_TESTS) $(ARGS)

gpu-benchmark: ## measure equality, speed, memory and recovery on a GPU, nine minutes a call: benchmarks/results/gpu (installs nothing)
	$(ON_GPU) -m benchmarks.gpu $(ARGS)

workflow-report: $(INSTALLED) ## write Snakemake's own report of the last run: results/snakemake-report.html
	snakemake --report results/snakemake-report.html $(ARGS)

lock: $(SLURM_INSTALLED) ## write the installed versions to constraints.txt
	sed -n '/^#/p' constraints.txt > constraints.new
	$(BIN)/python -m pip freeze --exclude-editable | grep -viE '^(torch|nvidia|triton)' >> constraints.new
	mv constraints.new constraints.txt

packages: ## download all Python packages into cache/packages, for a machine without a network
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip download --quiet --constraint constraints.txt --dest $(PACKAGES) '.[test,slurm]' 'setuptools>=77'

dist: ## build a wheel and a source distribution: dist/
	rm -rf dist cache/build
	$(PYTHON) -m venv cache/build
	cache/build/bin/python -m pip install --quiet build
	cache/build/bin/python -m build

release-test: dist ## test dist/ in empty environments, on each of PYTHONS with the oldest and newest torch (ARGS=--allow-missing)
	$(PYTHON) -m tests.release --pythons $(PYTHONS) $(ARGS)

clean: ## remove the environment and caches of tools; results stay
	rm -rf $(VENV) $(BENCHMARK_VENV) cache/environments $(DOCS_VENV) .cache site .snakemake .pytest_cache .ruff_cache .mypy_cache .hypothesis

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
