# One command a chore; `make` lists them. CI calls the same ones (.ci/run).
.DEFAULT_GOAL := help
.PHONY: help install weights demo report experiments ablation protocol test bench docs lint format deps clean-cache

VENV := .venv
BASE_PYTHON ?= $(shell command -v python3.11 || command -v python3)
STAMP := $(VENV)/.installed
TEST_PROCESSES ?= $(shell nproc 2>/dev/null || echo 2)
# DVC runs `python -m stages.NAME`: that python has to be the environment's.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

help: ## list the commands
	@echo "aigc-vqa: quality scores for AI-generated video"
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv with the pinned requirements (other targets do it when needed)

$(STAMP): requirements.txt pyproject.toml
	$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make BASE_PYTHON=/path/to/python3.11")'
	test -x $(VENV)/bin/python || $(BASE_PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --progress-bar off --quiet -r requirements.txt
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	test -e .git || $(VENV)/bin/dvc config --local core.no_scm true
	touch $@

demo: $(STAMP) ## run the whole pipeline on the embedded demo and show its metrics
	dvc repro
	@aigc-vqa metrics

experiments: $(STAMP) ## the experiments beside this commit, best on validation first, with what they changed
	@dvc exp show --md --only-changed --sort-by val_srocc --sort-order desc \
	  --drop 'Created|State|Executor|n_.*|(plcc|krocc)_ci.*|.*\.py|(data|weights|results)/.*'

report: $(STAMP) ## write results/report.html: the last run as one page that opens from disk
	aigc-vqa report --out results/report.html

ablation: $(STAMP) ## the paper's components switched one by one: SEEDS="1 2" SPLITS="0 1" DEMOS="1 2" JOBS=1
	aigc-vqa ablation $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SPLITS),--splits $(SPLITS)) $(if $(DEMOS),--demos $(DEMOS)) $(if $(JOBS),--jobs $(JOBS))

protocol: $(STAMP) ## repeat the experiment over splits: PRESET=kvq SPLITS=10 BY="group video"
	aigc-vqa protocol $(if $(PRESET),--preset $(PRESET)) $(if $(SPLITS),--splits $(SPLITS)) $(if $(BY),--by $(BY))

test: $(STAMP) ## run the tests
	OMP_NUM_THREADS=1 python -m pytest -n $(TEST_PROCESSES) --dist loadfile

weights: $(STAMP) ## fetch the weights that params.yaml names, or a preset: make weights PRESET=t2vqa_db
	aigc-vqa weights $(if $(PRESET),--preset $(PRESET))

bench: $(STAMP) ## time the project against its bare parts; the tables go to benchmarks/results
	python -m benchmarks

docs: $(STAMP) ## build the documentation into site/, offline; broken links are errors
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

lint: $(STAMP) ## ruff, format check and mypy
	ruff check .
	ruff format --check .
	mypy

format: $(STAMP) ## let ruff mend what it can
	ruff check --fix .
	ruff format .

deps: $(STAMP) ## write the rooms that stages import from into dvc.yaml, and its graph into README
	python -m tests.rules.dvc_deps
	python -m tests.rules.readme_graph

clean-cache: ## delete .cache: finished work of single videos, and trainings
	rm -rf .cache
