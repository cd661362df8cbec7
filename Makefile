# Two commands: `make run` (the demo study up to its report, or yours: make run CONFIG=mine.yaml) and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES ?= $(shell nproc 2>/dev/null || echo 2)
BIN := .venv/bin
PYTEST = $(BIN)/pytest -q -n $(CORES) --dist loadfile --no-loadscope-reorder

.PHONY: run resume test test-unit test-workflow test-all lint docs bench clean
.NOTPARALLEL:
run: .venv/installed
	@$(BIN)/python -m merflow run --cores $(CORES) --no-hooks $(CONFIG:%=--config %)
	@$(BIN)/python -m merflow.runtime.summary $(CONFIG)

# Continue a killed run: make resume ARGS='--cores 8 --configfile mine.yaml', as it was given to snakemake.
resume: export MERFLOW_PROGRESS = 1
resume: ARGS ?= --cores $(CORES) --no-hooks $(CONFIG:%=--configfile %)
resume: .venv/installed
	@$(BIN)/python -m merflow.runtime.resume $(ARGS)

# Fast checks first: lint, types, unit tests; then the tests that run workflows.
test: test-unit test-workflow

test-unit: .venv/installed lint
	$(PYTEST) tests/unit

test-workflow: .venv/installed
	$(PYTEST) tests/workflow tests/slurm tests/conda

test-all: .venv/installed lint
	$(PYTEST) --slow

# Build the pages of docs/ as a site, site/index.html, which needs no server and no network.
docs: .venv/installed
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "Documentation: site/index.html"

# One table of all benchmarks; their peers are in bench/requirements*.txt.
bench: .venv/installed
	@$(BIN)/python bench/table.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "merflow needs Python 3.11; name it: make run PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

clean:
	rm -rf .snakemake site
	find results -mindepth 1 ! -path results/README.md -delete
