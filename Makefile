# make run     every notebook in the quick profile, then build/index.html   (ONLY=pattern to choose);
#              again, it runs what has changed
# make site    the same pages from the stored outputs, without running anything, into build/site
# make test    style, unit tests, notebook checks, every notebook cell by cell
# make full    full profile, in place, where stored outputs are out of date (ONLY=pattern)
# make lab     JupyterLab                     make doctor   what is here, what is missing
# make cluster a Dask cluster on this machine, to try COURSE_CLUSTER with
# make exercises   learners' copies in build/exercises, with bodies to write and hints
# make check NOTEBOOK=02_mlp_moons   which exercises of a copy pass, fail or are not written
# make lint    the quick checks only          make format   repair style and quoted cells
# make test-lower   the same as make test, with the lowest versions that requirements.txt allows
# make badges REPO=owner/name [REF=main]      Colab badges and the set-up cell's default
# make reports renew reports/, the READMEs' tables and the gallery   make pdf   the reports as PDF
# make clean   remove what the commands above made, except .venv, .venv-lower and build/exercises

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := $(BIN)/python
NOTEBOOKS := $(sort $(wildcard assignment*/*.ipynb cw_*/*.ipynb))
WITHOUT_DATA := $(if $(COURSE_DATA)$(wildcard data/*),,-m "not real_data")
# One process a core, eight at most, one thread each; a file's tests, and a notebook's cells, stay together.
SIDE_BY_SIDE := -n logical --maxprocesses 8 --dist loadfile

# These reach the tools through the environment, so that no shell reads them.
export ONLY NOTEBOOK REPO REF

.DEFAULT_GOAL := help
.PHONY: help run site full lab cluster exercises check test test-lower lint format reports pdf doctor badges clean

help:
	@sed -n -e '/^#/!q' -e 's/^# //p' Makefile

# The environment is made once, and again when the files that describe it change.
$(VENV)/installed: requirements.txt pyproject.toml
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install -r requirements.txt
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	$(PY) -m pip install --quiet -r requirements-dev.txt
	@touch $@

$(VENV)/installed-cluster: $(VENV)/installed
	$(PY) -m pip install --quiet -e ".[cluster]"
	@touch $@

run: $(VENV)/installed
	$(PY) -m tools.run_notebooks --profile quick $(if $(ONLY),,--due)

site: $(VENV)/installed
	$(PY) -m tools.site

full: $(VENV)/installed
	$(PY) -m tools.run_notebooks --profile full --in-place --stale

lab: $(VENV)/installed
	$(PY) -m jupyter lab

cluster: $(VENV)/installed-cluster
	$(PY) -m tools.cluster

doctor: $(VENV)/installed
	$(PY) -m tools.doctor

exercises: $(VENV)/installed
	$(PY) -m tools.exercises

check: $(VENV)/installed
	@$(PY) -m tools.check_exercises

lint: $(VENV)/installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m tools.sync_cells --check
	$(PY) -m tools.check_notebooks
	$(PY) -m tools.reports --check

format: $(VENV)/installed-dev
	$(PY) -m tools.sync_cells --write
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

test: lint
	OMP_NUM_THREADS=1 $(PY) -m pytest $(SIDE_BY_SIDE) tests $(WITHOUT_DATA)
ifneq ($(NOTEBOOKS),)
	OMP_NUM_THREADS=1 COURSE_PROFILE=quick COURSE_HEADLESS=1 TQDM_DISABLE=1 $(PY) -m pytest $(SIDE_BY_SIDE) \
	    --nbval-lax --nbval-current-env --nbval-cell-timeout=600 --durations=10 $(NOTEBOOKS)
endif

# The usual rules make this environment too; the constraints only choose the versions.
test-lower:
	mkdir -p build
	$(PYTHON) -m tools.lower_bounds > build/lower-bounds.txt
	PIP_CONSTRAINT=build/lower-bounds.txt $(MAKE) VENV=.venv-lower .venv-lower/installed-dev
	$(MAKE) VENV=.venv-lower test

reports: $(VENV)/installed
	$(PY) -m tools.reports --write

pdf: $(VENV)/installed
	$(PY) -m tools.reports --pdf

badges: $(VENV)/installed
	$(PY) -m tools.badges

clean:
	rm -rf $(filter-out build/exercises,$(wildcard build/* build/.[!.]*)) .pytest_cache .ruff_cache .hypothesis .benchmarks
