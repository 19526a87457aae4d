# Every target sets up its own .venv; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= snake/ppo
RUNS ?= runs
ARGS ?=
SWEEP ?= sweeps/snake-pbt
SWEEP_ARGS ?= $(if $(filter sweeps/snake-pbt,$(SWEEP)),--name small --budget.env_steps 400_000 --budget.milestones 4) $(ARGS)
SEEDS ?= 30
FIRST ?= 0
KEEP ?=
comma := ,

.PHONY: help train test claims chaos corpus lint golden wheel docs docs-serve lock bench sweep ath cluster-up cluster-down submit hive monitoring clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

define SET_UP
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "hydrahive needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1); try: make PYTHON=python3.11" >&2; exit 1; }
@echo "setting up $(VENV) (some minutes, once)"
@$(PYTHON) -m venv $(VENV)
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[$(1)]'
@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null 2>&1 || :  # on all cores; some packages hold templates
endef

$(VENV)/installed: pyproject.toml constraints.txt  # what a node needs, and no tools of ours
	$(call SET_UP,app$(comma)games)
	@touch $@

$(VENV)/dev: pyproject.toml constraints.txt
	$(call SET_UP,dev)
	@touch $(VENV)/installed $@

$(VENV)/claims: pyproject.toml constraints.txt  # all environments besides
	$(call SET_UP,dev$(comma)all-games)
	@touch $(VENV)/installed $(VENV)/dev $@

train: $(VENV)/installed  ## train a snake on this machine; CONFIG=... chooses another experiment, ARGS=... adds options
	@$(BIN)/hydrahive train $(CONFIG) --workers auto --runs $(RUNS) $(ARGS)

lint: $(VENV)/dev  ## ruff, mypy --strict, the import contracts, and nothing that grows too large
	@$(BIN)/ruff check src tests docs/making
	@$(BIN)/ruff format --check src tests docs/making
	@$(BIN)/mypy --num-workers 2
	@$(BIN)/lint-imports
	@$(BIN)/python tests/house.py

test: lint  ## lint and all tests, the claims small; under 12 minutes on 2 cores
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

claims: $(VENV)/claims  ## all tests at full size, the claims among them (an hour and more); writes docs/benchmarks/claims.md
	@HYDRAHIVE_CLAIMS=full $(BIN)/python -m pytest -s

chaos: $(VENV)/dev  ## kill and freeze processes and nodes at random, SEEDS times; writes docs/benchmarks/chaos.md
	@$(BIN)/python tests/chaos/run.py --seeds $(SEEDS) --first $(FIRST) $(if $(KEEP),--keep $(KEEP)) $(if $(filter 0,$(FIRST)),--report docs/benchmarks/chaos.md)

golden: $(VENV)/dev  ## write the golden digests of this machine class, and of the portable one; docs/architecture.md says when
	@$(BIN)/python tests/golden/record.py --readme
	@$(BIN)/python tests/golden/record.py --portable

corpus: $(VENV)/claims  ## try a hundred environments of others; writes docs/benchmarks/corpus.md
	@$(BIN)/python tests/corpus/run.py --report docs/benchmarks/corpus.md

bench: $(VENV)/dev  ## speed: the simulation alone, and training against inline, free-running and RLlib
	@$(BIN)/hydrahive bench sim $(CONFIG)
	@$(BIN)/hydrahive bench train $(CONFIG) --against inline --against free-running --against rllib

sweep: $(VENV)/installed  ## a small sweep: population-based training on Snake; SWEEP=... chooses another
	@$(BIN)/hydrahive tune run $(SWEEP) --runs $(RUNS) $(SWEEP_ARGS)

ath: $(VENV)/dev  ## compare replays on Snake (15 minutes on 2 cores); writes docs/benchmarks/ath.md
	@$(BIN)/python experiments/benchmarks/ath.py

cluster-up: $(VENV)/installed  ## the head of a Ray cluster on this machine; ARGS=... goes to ray start
	@cluster/up.sh $(ARGS)

cluster-down: $(VENV)/installed  ## end what cluster-up and monitoring started here; runs and ledger stay
	@cluster/down.sh

submit: $(VENV)/installed  ## train CONFIG as a job on a cluster (RAY_API_SERVER_ADDRESS, else this machine's); ARGS=... adds options
	@cluster/submit.sh $(CONFIG) $(ARGS)

hive: $(VENV)/installed  ## a cluster, a training that others join, a gateway for volunteers, a server for tokens; ACCOUNT=... opens an account
	@HYDRAHIVE_ACCOUNT=$(ACCOUNT) cluster/hive.sh $(if $(filter file,$(origin CONFIG)),snake/hive,$(CONFIG)) $(ARGS)

monitoring: $(VENV)/installed  ## Prometheus, and Grafana where installed, for the cluster on this machine
	@cluster/monitoring.sh

wheel: $(VENV)/dev  ## dist/hydrahive-*.whl, to be installed with pip anywhere
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist . > /dev/null && ls dist/*.whl

docs: $(VENV)/dev  ## the manual as pages, in site/; `make docs-serve` shows it while it is written
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo site/index.html

docs-serve: $(VENV)/dev
	@$(BIN)/mkdocs serve

lock: $(VENV)/dev  ## write cluster/requirements.lock: what the image holds, by hash
	@$(BIN)/python -m pip install --dry-run --ignore-installed --quiet --disable-pip-version-check -c constraints.txt --report - \
		'.[app]' "$$(sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml)" 2> /dev/null | $(BIN)/python cluster/lock.py > cluster/requirements.lock

clean:  ## remove the environment and caches; runs stay
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
