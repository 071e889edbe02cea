# Two commands do everything: `make chaos` (the main job) and `make test`.
# All make .venv by themselves; nothing else needs to be installed by hand.
.DEFAULT_GOAL := help
.PHONY: help chaos chaos-real demo sweep stress selftest test check bench sample soak mutants wasm clean

VENV := .venv
BIN  := $(VENV)/bin
RUN  := $(BIN)/chaoslab

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/.ready: pyproject.toml .ci/venv .ci/constraints.txt
	@sh .ci/venv $(VENV)

chaos: $(VENV)/.ready ## the whole matrix on the reference agent, planted bugs included (RESUME=1 goes on)
	@$(RUN) run matrix --planted $(if $(RESUME),--resume) $(ARGS)

chaos-real: $(VENV)/.ready ## do real processes and parts say what the simulator says? (what is absent is said)
	@$(BIN)/python -m tests.live.postgres --or-without $(RUN) agree $(ARGS)

demo: $(VENV)/.ready ## an agent charges a card twice, and why
	@$(RUN) demo

sweep: $(VENV)/.ready ## every fault at every call of the matrix, on the reference agent (RESUME=1 goes on)
	@$(RUN) sweep matrix --sessions 1 $(if $(RESUME),--resume) $(ARGS)

stress: $(VENV)/.ready ## scenarios drawn at random for 45 seconds, and what fails, shrunk
	@$(RUN) stress --time 45s $(if $(RESUME),--resume) $(ARGS)

selftest: $(VENV)/.ready ## are all planted bugs found, and is no right agent accused? (FULL=1: 10,000 executions each)
	@$(RUN) selftest --executions $(if $(FULL),10000,500) $(ARGS)

test: $(VENV)/.ready ## all tests, in parallel
	@$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

check: $(VENV)/.ready ## types, style, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.ready ## the numbers of this machine, as ratios
	@$(BIN)/python tests/bench/bench.py
	@$(BIN)/python tests/bench/checkers.py
	@$(BIN)/python -m tests.bench.report
	@$(BIN)/python -m tests.bench.toxiproxy
	@$(BIN)/python -m tests.live.postgres --or-without $(BIN)/python -m tests.bench.backends
	@$(BIN)/python -m tests.bench.power --jobs 2 --minutes 10 $(ARGS)

sample: $(VENV)/.ready ## the committed sample of a report, and its pictures where there is a browser
	@$(BIN)/python -m tests.bench.sample

soak: $(VENV)/.ready ## 200 runs in a row on real processes: is anything left? (ARGS="200 regions", ARGS="50 docker": of them)
	@$(BIN)/python tests/live/soak.py $(ARGS)

$(VENV)/.mutants: $(VENV)/.ready tests/mutants/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/mutants/requirements.txt
	@touch $@

mutants: $(VENV)/.mutants ## one small mistake at a time in the checks: does a test notice? (takes hours)
	@$(BIN)/python tests/mutants/run.py $(ARGS)

wasm: ## rebuild the Wasm modules and compare them with the committed ones
	@sh wasm_targets/build.sh --check

clean: ## removes what make made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
