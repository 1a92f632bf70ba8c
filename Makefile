# Two commands do all the set-up: `make demo` and `make test`. See README.md.
PYTHON ?= python3
VENV ?= .venv
# GNU nproc takes OpenMP's variables for the machine's cores.
CORES ?= $(shell env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || sysctl -n hw.ncpu)
STUDY ?= config/config.yaml

# Not $(abspath): it takes a path with a space for two.
ENV := $(if $(filter /%,$(VENV)),,$(CURDIR)/)$(VENV)
BIN := $(ENV)/bin
PIP := "$(BIN)/python" -m pip install --quiet --disable-pip-version-check
# uv installs several times faster than pip; where it cannot be had, pip does.
# Compiled once, as pip does it: where PYTHONDONTWRITEBYTECODE is set, as in many containers, every job would compile anew.
install = $(PIP) uv && VIRTUAL_ENV="$(ENV)" "$(BIN)/uv" pip install --quiet --compile-bytecode $(1) -c constraints.txt \
	|| $(PIP) $(1) -c constraints.txt
export PATH := $(BIN):$(PATH)
# A dry run makes no page.
open = @! test -f "$(1)/summary.html" || echo "open $(1)/summary.html, the report on one page; all files by category: $(1)/report.html"
# Snakemake ends in a traceback where there is no such file, or none that is text.
study_is_read = @PYTHONPATH=workflow/scripts python -m isogloss.config.study_file "$(STUDY)"
# With none Snakemake would wait for ever.
cores = $(if $(filter 0,$(CORES)),$(error CORES=0: no job could start; give 1 or more),$(CORES))
pytest = OMP_NUM_THREADS=1 pytest -n $(CORES) --dist loadfile --no-loadscope-reorder tests

.PHONY: demo real planted study plan report test test-workflow test-browser test-all test-slurm lint format schema bench clean help

help:
	@sed -n 's/^## //p' Makefile

## make demo      papers A, B and C on the embedded toy world, to results/summary.html (no GPU, no download beyond packages)
# For every job that has run, Snakemake 9.27 looks for ready jobs once more in each timespan of its limit on starts, which is
# a second by default: after hundreds of jobs it does little else. Ten seconds leave that at a tenth.
demo: $(VENV)/.run
	$(study_is_read)
	snakemake --cores $(cores) --configfile "$(STUDY)" --rerun-incomplete --show-failed-logs --quiet host reason \
		--scheduler greedy --max-jobs-per-timespan 1000/10s
	$(call open,$(CURDIR)/results)

## make real      papers A, B and C on a small real model, to real/results/summary.html: model and text of REAL=FOLDER
##                (config/README.md), else fetched. REAL_ARGS=-n says what would run
# Two jobs at once share the memory, so each computes on one core.
real: $(VENV)/.run
	@PYTHONPATH=workflow/scripts python -m isogloss.config.real_folder real/sources.json "$(REAL)"
	OMP_NUM_THREADS=1 snakemake --cores $(cores) --directory real --configfile config/studies/real.yaml real/sources.json \
		--rerun-incomplete --show-failed-logs --quiet host reason --scheduler greedy --max-jobs-per-timespan 1000/10s \
		$(REAL_ARGS)
	$(call open,$(CURDIR)/real/results)

## make planted   which measures find planted shares: three seeds of a skewed and an equal toy world, to
##                planted/results/summary.html; SEEDS="0, 1, 2" takes those of tuning, to planted-tuning/results
PLANTED = planted$(if $(SEEDS),-tuning)
planted: $(VENV)/.run
	OMP_NUM_THREADS=1 snakemake --cores $(cores) --directory $(PLANTED) --configfile config/studies/planted-truth.yaml \
		$(if $(SEEDS),--config 'planted={"seeds": [$(SEEDS)]}') --rerun-incomplete --show-failed-logs \
		--quiet host reason --scheduler greedy --max-jobs-per-timespan 1000/10s $(PLANTED_ARGS)
	$(call open,$(CURDIR)/$(PLANTED)/results)

## make study     a study file for a model of the Hub or of a folder: MODEL=OWNER/NAME LANGUAGES="en es hi", and if you like
##                SEGMENTS=FOLDER SAES=RELEASE WIDTH=16k L0=medium NAME=my-study
study: $(VENV)/.run
	@PYTHONPATH=workflow/scripts python -m isogloss.new_study "$(MODEL)" --languages "$(LANGUAGES)" \
		--segments "$(SEGMENTS)" --saes "$(SAES)" --width "$(WIDTH)" --l0 "$(L0)" --name "$(NAME)"

## make plan      what a study will cost: tokens, FLOPs, bytes, GPU hours, jobs (STUDY=config/studies/NAME.yaml;
##                PLAN="--card-gb 40" for a card of 40 GB, PLAN=--help for the rest)
plan: $(VENV)/.run
	@PYTHONPATH=workflow/scripts python -m isogloss.plan "$(STUDY)" $(PLAN)

## make report    the report again, from tables that are there
report: $(VENV)/.run
	$(study_is_read)
	snakemake --cores $(cores) --configfile "$(STUDY)" --rerun-incomplete --show-failed-logs --force results/report.html

## make test      the tests, minutes on two cores
test: $(VENV)/.dev
	$(pytest) --durations=10 -m "not workflow and not long and not browser and not gpu and not slurm"

## make test-workflow  whole studies on stand-ins, and what a change of them runs again
test-workflow: $(VENV)/.dev
	$(pytest) --durations=10 -m "workflow and not long"

## make test-browser  the report in a real browser, the system's Chromium (Debian: apt install chromium)
test-browser: $(VENV)/.dev
	$(pytest) --durations=10 -m browser

## make test-all  all of these, those that are too long for them (every model class, a hundred kills, thousands of
##                generated inputs: two hours on two cores), and those for a GPU where there is one
test-all: $(VENV)/.dev
	$(pytest) --durations=25 -m "not gpu and not slurm"
	OMP_NUM_THREADS=1 pytest -m gpu tests

## make test-slurm  a study on a real Slurm, which this installs (Debian, as root)
test-slurm: $(VENV)/.dev
	pytest -m slurm tests

## make lint      ruff, pyright, snakefmt, snakemake --lint
lint: $(VENV)/.dev
	ruff check .
	ruff format --check .
	pyright
	snakefmt --check Snakefile workflow
	python tests/lint_workflow.py

## make format    formats Python and Snakemake files
format: $(VENV)/.dev
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

## make schema    writes the JSON Schema and the key reference in config/README.md from the typed configuration,
##                and config/families.md from what the tests go through
schema: $(VENV)/.run
	PYTHONPATH=workflow/scripts python -m isogloss.config.schema
	python tests/families.py

## make bench     ratios of isogloss to the plain way, measured in one run
bench: $(VENV)/.dev
	PYTHONPATH=workflow/scripts:tests python tests/bench.py
	PYTHONPATH=workflow/scripts:tests OMP_NUM_THREADS=1 python tests/bench_stages.py
	PYTHONPATH=workflow/scripts:tests OMP_NUM_THREADS=1 python tests/bench_sae_training.py
	PYTHONPATH=workflow/scripts:tests OMP_NUM_THREADS=1 python tests/bench_patterns.py --features 4096 --tokens 20000
	PYTHONPATH=workflow/scripts:tests OMP_NUM_THREADS=1 python tests/bench_latent.py
	PYTHONPATH=workflow/scripts:tests OMP_NUM_THREADS=1 python tests/bench_steering.py

## make clean     removes results, those of make real and make planted too (not the environment)
clean:
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	rm -rf .snakemake real planted planted-tuning

$(VENV)/.run: requirements.txt constraints.txt
	$(PYTHON) -c "import sys; sys.exit('isogloss needs Python 3.11 or newer, this is ' + sys.version.split()[0] if sys.version_info < (3, 11) else 0)"
	test -x "$(BIN)/python" || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(call install,-r requirements.txt)
	"$(BIN)/python" -m compileall -q workflow/scripts
	touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	$(call install,-r requirements-dev.txt)
	touch $@
